//! Whisper (`modeling_whisper.py`).

use std::rc::Rc;

use super::bart::{BartLayer, Given, LAYER_NORM};
use super::cache::SeqCache;
use super::model::{Stacks, shared_table};
use crate::arch::forward::Forward;
use crate::arch::masks::MaskRequest;
use crate::arch::network::BatchShape;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor, trainable_copy};
use crate::model::{EncoderDecoderConfig, Positions, Stack};
use crate::nn::{Builder, Embedding, FreeParameters, Leaf, Linear, Module, NormLayer, Part};

/// `WhisperEncoder` and `WhisperDecoder`.
pub(super) struct Whisper {
    encoder: AudioEncoder,
    decoder: TextDecoder,
    /// `[mel bins, frames]` of every sequence.
    features: [u64; 2],
}

/// What a recording's spectrogram is: `num_mel_bins`, and `max_source_positions`, of which the second convolution leaves half.
fn audio(model: &EncoderDecoderConfig) -> [u64; 2] {
    match model.positions {
        Positions::Audio { num_mel_bins, max_source_positions } => [num_mel_bins, max_source_positions],
        _ => [1, 1],
    }
}

impl Stacks for Whisper {
    const DEFAULT_TARGETS: &'static [&'static str] = &["q_proj", "v_proj"];
    const SHIFTS_LATE: bool = false;

    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> (Embedding, Self) {
        let [num_mel_bins, max_source_positions] = audio(model);
        let encoder = AudioEncoder::new(builder, model);
        // the decoder's, which the head shares
        let shared = shared_table(builder, model);
        let decoder = TextDecoder::new(builder, model);
        (shared, Self { encoder, decoder, features: [num_mel_bins, 2 * max_source_positions] })
    }

    fn caches_in_training(&self) -> bool {
        true
    }

    fn tie(&mut self) {}

    fn leaves_with(&mut self, shared: &mut Embedding, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.encoder.leaves(visit);
        shared.leaves(visit);
        self.decoder.leaves(visit);
    }

    fn input(&self, cx: &Context, shape: BatchShape, dtype: DType) -> Tensor {
        let [bins, frames] = self.features;
        cx.input("input_features", &[shape.batch, bins, frames], dtype)
    }

    fn encode(&self, cx: &Context, _: &Embedding, features: &Tensor, run: Forward<'_>) -> Tensor {
        self.encoder.forward(cx, features, run)
    }

    fn decode(
        &self,
        cx: &Context,
        embed: &Embedding,
        ids: &Tensor,
        encoded: &Tensor,
        run: Forward<'_>,
        cache: Option<&SeqCache>,
    ) -> Tensor {
        self.decoder.forward(cx, embed, ids, encoded, run, cache)
    }

    fn logits(&self, cx: &Context, head: &Linear, hidden: &Tensor) -> Tensor {
        head.forward(cx, hidden)
    }
}

impl Module for Whisper {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.encoder.leaves(visit);
        self.decoder.leaves(visit);
    }
}

fn layers(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_decoder: bool) -> Vec<Rc<BartLayer>> {
    (0..stack.num_layers).map(|_| Rc::new(BartLayer::new(builder, model, stack, is_decoder))).collect()
}

fn layer_leaves(layers: &mut [Rc<BartLayer>], visit: &mut dyn FnMut(Leaf<'_>)) {
    for layer in layers {
        if let Some(layer) = Rc::get_mut(layer) {
            layer.leaves(visit);
        }
    }
}

/// `sinusoids`, which `_init_weights` copies into the table, in the type the model is made in.
fn sinusoids(builder: &Builder<'_>, length: u64, channels: u64) {
    let half = channels / 2;
    let made = |dims: &[u64], dtype| builder.temporary(dims, dtype);
    let inverse_timescales = {
        let scaled = {
            let _range = made(&[half], DType::I64);
            made(&[half], builder.dtype)
        };
        let inverse = made(&[half], builder.dtype);
        drop(scaled);
        inverse
    };
    let scaled_time = {
        let _range = made(&[length], DType::I64);
        made(&[length, half], builder.dtype)
    };
    let waves = [(); 2].map(|()| made(&[length, half], builder.dtype));
    let _table = made(&[length, channels], builder.dtype);
    drop((waves, inverse_timescales, scaled_time));
}

/// `WhisperEncoder`
struct AudioEncoder {
    conv1: FreeParameters,
    conv2: FreeParameters,
    /// Sinusoidal, never trained.
    embed_positions: FreeParameters,
    layers: Vec<Rc<BartLayer>>,
    layer_norm: NormLayer,
    dropout: f64,
}

impl AudioEncoder {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Self {
        const KERNEL: u64 = 3;
        let [num_mel_bins, max_source_positions] = audio(model);
        let width = model.d_model;
        let conv = |name, from| builder.free(name, Part::Embedding, &[&[width, from, KERNEL], &[width]]);
        let encoder = Self {
            conv1: conv("conv1", num_mel_bins),
            conv2: conv("conv2", width),
            embed_positions: builder.free("embed_positions", Part::Fixed, &[&[max_source_positions, width]]),
            layers: layers(builder, model, &model.encoder, false),
            layer_norm: builder.norm("layer_norm", LAYER_NORM, width),
            dropout: model.dropout,
        };
        sinusoids(builder, max_source_positions, width);
        encoder
    }

    fn forward(&self, cx: &Context, features: &Tensor, run: Forward<'_>) -> Tensor {
        let conv = |x: &Tensor, conv: &FreeParameters, stride| {
            cx.conv1d_over_time(x, &conv.tensors[0], &conv.tensors[1], stride)
        };
        let mut embeds = {
            let mut first = conv(features, &self.conv1, 1);
            // the hook on what each of the model's classes calls its input embeddings: of the encoder, the first convolution
            if run.input_require_grads && !first.requires_grad() {
                first = trainable_copy(&first);
            }
            cx.gelu(first)
        };
        embeds = cx.gelu(conv(&embeds, &self.conv2, 2));
        embeds = cx.transpose(&embeds, 1, 2);
        let table = &self.embed_positions.tensors[0];
        let positions = cx.launch(Kernel::Arange, &[], Layout::contiguous(&[table.dim(0)]), DType::I64);
        let mut hidden = {
            let rows = cx.launch(Kernel::Embedding, &[&positions, table], *table.layout(), table.dtype());
            cx.add(&embeds, &rows)
        };
        hidden = cx.dropout(&hidden, self.dropout);
        let given = Given { implementation: run.implementation, mask: None, encoded: None, encoder_mask: None };
        for layer in &self.layers {
            hidden = if run.checkpointing {
                let (layer, given) = (Rc::clone(layer), given.clone());
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &given, None))
            } else {
                layer.forward(cx, &hidden, &given, None)
            };
        }
        self.layer_norm.forward(cx, &hidden)
    }
}

impl Module for AudioEncoder {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.conv1.leaves(visit);
        self.conv2.leaves(visit);
        self.embed_positions.leaves(visit);
        layer_leaves(&mut self.layers, visit);
        self.layer_norm.leaves(visit);
    }
}

/// `WhisperDecoder`
struct TextDecoder {
    embed_positions: Embedding,
    layers: Vec<Rc<BartLayer>>,
    layer_norm: NormLayer,
    dropout: f64,
}

impl TextDecoder {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Self {
        Self {
            embed_positions: builder.embedding("embed_positions", model.max_position_embeddings, model.d_model),
            layers: layers(builder, model, &model.decoder, true),
            layer_norm: builder.norm("layer_norm", LAYER_NORM, model.d_model),
            dropout: model.dropout,
        }
    }

    fn forward(
        &self,
        cx: &Context,
        embed: &Embedding,
        ids: &Tensor,
        encoded: &Tensor,
        run: Forward<'_>,
        cache: Option<&SeqCache>,
    ) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let implementation = run.implementation;
        let mut inputs_embeds = embed.forward(cx, ids);
        if run.input_require_grads && !inputs_embeds.requires_grad() {
            inputs_embeds = trainable_copy(&inputs_embeds);
        }
        let past = cache.map_or(0, SeqCache::length);
        let position_ids = {
            let made = |dims: &[u64]| cx.launch(Kernel::Arange, &[], Layout::contiguous(dims), DType::I64);
            let one = {
                let _range = made(&[length]);
                made(&[length])
            };
            let repeated = made(&[batch, length]);
            drop(one);
            repeated
        };
        let rows = cx.index_rows(&self.embed_positions.weight, cx.reshape(&position_ids, &[batch * length]));
        let positions = cx.reshape(rows, inputs_embeds.dims());
        let mut hidden = cx.add(&inputs_embeds, &positions);
        hidden = cx.dropout(&hidden, self.dropout);
        let mask = MaskRequest {
            implementation,
            batch,
            queries: length,
            keys: past + length,
            padding: None,
            positions: Some(&position_ids).filter(|_| cache.is_none()),
            bidirectional: false,
            sliding_window: None,
            chunked: false,
            dtype: inputs_embeds.dtype(),
        }
        .make(cx);
        let given = Given { implementation, mask, encoded: Some(encoded.clone()), encoder_mask: None };
        for (i, layer) in self.layers.iter().enumerate() {
            hidden = if run.checkpointing {
                let (layer, given) = (Rc::clone(layer), given.clone());
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &given, None))
            } else {
                layer.forward(cx, &hidden, &given, cache.map(|cache| (cache, i)))
            };
        }
        self.layer_norm.forward(cx, &hidden)
    }
}

impl Module for TextDecoder {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.embed_positions.leaves(visit);
        layer_leaves(&mut self.layers, visit);
        self.layer_norm.leaves(visit);
    }
}
