//! What a model does between its embedding and its layers, and after them.

use crate::arch::forward::Forward;
use crate::arch::masks::MaskRequest;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::nn::{Builder, Module};

/// What a forward pass starts from.
#[derive(Clone, Copy)]
pub(in crate::arch) struct Input<'a> {
    /// The type of the embedded tokens.
    pub(in crate::arch) dtype: DType,
    /// Sequences.
    pub(in crate::arch) batch: u64,
    /// Tokens of each.
    pub(in crate::arch) length: u64,
    /// Tokens seen before, in the cache.
    pub(in crate::arch) past: u64,
    /// How it is run.
    pub(in crate::arch) run: Forward<'a>,
}

/// What the layers are given.
pub(in crate::arch) struct Entered {
    /// Hidden states.
    pub(in crate::arch) hidden: Tensor,
    /// Position ids, where there are any.
    pub(in crate::arch) positions: Option<Tensor>,
    /// The attention mask.
    pub(in crate::arch) mask: Option<Tensor>,
    /// That of sliding layers.
    pub(in crate::arch) sliding_mask: Option<Tensor>,
    /// ALiBi, `[batch * heads, 1, keys]`.
    pub(in crate::arch) alibi: Option<Tensor>,
    /// The padding mask, for what mixes tokens without attention.
    pub(in crate::arch) padding: Option<Tensor>,
    /// What else the model's `forward` has names for until it returns.
    pub(in crate::arch) locals: Vec<Tensor>,
}

impl Entered {
    /// Hidden states and nothing beside them.
    pub(in crate::arch) fn new(hidden: Tensor) -> Self {
        Self { hidden, positions: None, mask: None, sliding_mask: None, alibi: None, padding: None, locals: Vec::new() }
    }
}

impl Input<'_> {
    /// Those given, or `torch.arange(length) + past`, as `[1, length]`.
    pub(in crate::arch) fn positions(&self, cx: &Context) -> Tensor {
        self.run.positions.cloned().unwrap_or_else(|| crate::nn::positions(cx, self.length))
    }

    /// `create_causal_mask`
    pub(in crate::arch) fn mask(
        &self,
        cx: &Context,
        positions: Option<&Tensor>,
        padding: Option<&Tensor>,
    ) -> Option<Tensor> {
        self.request(positions, padding, self.dtype).make(cx)
    }

    /// `create_causal_mask(allow_is_causal_skip=False)`
    pub(in crate::arch) fn unskipped_mask(&self, cx: &Context) -> Tensor {
        self.request(None, self.run.attention_mask, self.dtype).make_always(cx)
    }

    /// `create_sliding_window_causal_mask`, or `create_chunked_causal_mask`
    pub(in crate::arch) fn sliding_mask(
        &self,
        cx: &Context,
        positions: Option<&Tensor>,
        window: Option<u64>,
        chunked: bool,
    ) -> Option<Tensor> {
        let request = self.request(positions, self.run.attention_mask, self.dtype);
        // no layer slides over a window of nothing
        let held = self.run.cache.map_or(0, |cache| cache.held_length(window.filter(|&window| window > 0)));
        MaskRequest { sliding_window: window, chunked, keys: held + self.length, ..request }.make(cx)
    }

    fn request<'b>(&self, positions: Option<&'b Tensor>, padding: Option<&'b Tensor>, dtype: DType) -> MaskRequest<'b> {
        MaskRequest {
            implementation: self.run.implementation,
            batch: self.batch,
            queries: self.length,
            keys: self.past + self.length,
            padding,
            positions: positions.filter(|_| self.run.cache.is_none()),
            bidirectional: false,
            sliding_window: None,
            chunked: false,
            dtype,
        }
    }
}

/// What comes before a model's layers.
pub(in crate::arch) trait Front: Module {
    /// From embedded tokens, `[batch, length, width]`, to the first layer's input.
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered;

    /// What the model makes after its last norm.
    fn make_last(&mut self, _builder: &Builder<'_>) {}

    /// What follows the last norm.
    fn leave(&self, _cx: &Context, hidden: Tensor) -> Tensor {
        hidden
    }
}
