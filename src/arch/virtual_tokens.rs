//! A batch with trained positions in front of it (`PeftModelForCausalLM.forward`, peft 0.21).

use super::cache::KvCache;
use super::decoder::Decoder;
use super::forward::Forward;
use super::network::Batch;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Tensor};
use crate::model::{DecoderConfig, ModelType};
use crate::nn::{PrefixEncoder, PrefixShape, PromptEmbedding, VirtualTokens};

/// What a decoder is called with; alive until it has returned.
pub(super) struct Prompted {
    /// Embedded tokens, where they do not come from the ids alone.
    pub(super) embeds: Option<Tensor>,
    /// A cache that holds something already.
    pub(super) cache: Option<KvCache>,
    pub(super) attention_mask: Option<Tensor>,
    pub(super) labels: Tensor,
    _locals: [Option<Tensor>; 2],
}

impl Decoder {
    /// `batch` with the virtual tokens of `run`, where there are any.
    pub(super) fn prompted(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> Prompted {
        let mut prompted = Prompted {
            embeds: None,
            cache: None,
            attention_mask: batch.attention_mask.clone(),
            labels: batch.labels.clone(),
            _locals: [None, None],
        };
        let Some(tokens) = run.virtual_tokens else { return prompted };
        let sequences = batch.ids.dim(0);
        let ahead =
            |dtype| cx.launch(Kernel::Input("virtual"), &[], Layout::contiguous(&[sequences, tokens.count()]), dtype);
        if let Some(mask) = &batch.attention_mask {
            // `torch.ones` are fp32, and so is the mask then
            let ones = ahead(DType::F32);
            prompted.attention_mask = Some(cx.cat(&[&ones, mask], 1));
            prompted._locals[0] = Some(ones);
        }
        match tokens {
            VirtualTokens::Prefix(prefix) => prompted.cache = Some(self.prefix_cache(cx, prefix, sequences)),
            VirtualTokens::Prompt(prompt) => {
                let embeds = self.embed(cx, &batch.ids, run);
                let ignored = ahead(DType::I64);
                prompted.labels = cx.cat(&[&ignored, &batch.labels], 1);
                prompted._locals[1] = Some(ignored);
                prompted.embeds = Some(in_front(cx, prompt, &embeds));
            }
        }
        prompted
    }

    /// `get_prompt`: a cache filled with the trained keys and values.
    fn prefix_cache(&self, cx: &Context, prefix: &PrefixEncoder, sequences: u64) -> KvCache {
        let layers = prefix.forward(cx, sequences, self.embedding_dtype());
        let model = self.config();
        // these alone are given a cache that knows the model's windows
        let windowed = matches!(model.model_type, ModelType::Gemma2 | ModelType::Gemma3Text);
        KvCache::beginning_with(cx, model, Category::Activations, layers, windowed)
    }
}

/// `cat((prompts, inputs_embeds), dim=1)`
fn in_front(cx: &Context, prompt: &PromptEmbedding, embeds: &Tensor) -> Tensor {
    let prompts = cx.cast(prompt.forward(cx, embeds.dim(0)), embeds.dtype());
    cx.cat(&[&prompts, embeds], 1)
}

/// Width of the embeddings in front: PEFT makes them as wide as the model, whose embeddings may be narrower.
pub(super) fn prompt_width(model: &DecoderConfig) -> Option<u64> {
    model.embedding.projection_dim.is_none_or(|width| width == model.hidden_size).then_some(model.hidden_size)
}

/// Keys and values in front of each layer's. PEFT reads the number of key-value heads where it is called
/// `num_key_value_heads`: of Falcon's shared heads it makes too many.
pub(super) fn prefix_shape(model: &DecoderConfig, tokens: u64) -> Option<PrefixShape> {
    let attention = &model.attention;
    if model.model_type == ModelType::Falcon && attention.num_kv_heads != attention.num_heads {
        return None;
    }
    // one split makes them all, and has a byte for the number of each
    let layers = u8::try_from(model.num_hidden_layers).ok()?.into();
    Some(PrefixShape { tokens, layers, heads: attention.num_kv_heads, head_dim: attention.head_dim })
}
