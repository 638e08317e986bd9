//! Attention masks, as `transformers.masking_utils` makes them.

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::job::AttnImplementation;

/// What a mask is made for.
pub(super) struct MaskRequest<'a> {
    /// `attn_implementation`
    pub(super) implementation: AttnImplementation,
    /// Sequences.
    pub(super) batch: u64,
    /// Queries.
    pub(super) queries: u64,
    /// Keys, those in the cache included.
    pub(super) keys: u64,
    /// A padding mask that is passed, `[batch, keys]`.
    pub(super) padding: Option<&'a Tensor>,
    /// Position ids, where transformers looks for packed sequences in them: without a padding mask and without a cache.
    pub(super) positions: Option<&'a Tensor>,
    /// `sliding_window` of the layers it is for.
    pub(super) sliding_window: Option<u64>,
    /// The type of an additive mask.
    pub(super) dtype: DType,
}

impl MaskRequest<'_> {
    /// The causal mask: boolean for sdpa, additive for eager; none where sdpa's own causal flag does.
    ///
    /// Whether sequences are packed is read back from the GPU. The answer is taken to be that they are, and likewise that a
    /// padding mask masks something: without either, sdpa takes no mask and needs less.
    pub(super) fn make(&self, cx: &Context) -> Option<Tensor> {
        cx.no_grad(|| {
            let eager = self.implementation == AttnImplementation::Eager;
            let padding =
                self.padding.map(|padding| cx.launch(Kernel::Cast, &[padding], *padding.layout(), DType::Bool));
            let packed =
                self.positions.filter(|_| padding.is_none()).map(|positions| self.packed_sequences(cx, positions));
            let slides = self.sliding_window.is_some_and(|window| self.keys >= window);
            if !eager && padding.is_none() && packed.is_none() && !slides {
                return None;
            }
            let mask = self.boolean(cx, slides, padding.is_some(), packed.is_some());
            if !eager {
                return Some(cx.expand(mask, &[self.batch, 1, self.queries, self.keys]));
            }
            let scalar = || cx.launch(Kernel::Scratch("mask value"), &[], Layout::contiguous(&[]), self.dtype);
            let (_zero, _lowest) = (scalar(), scalar());
            let layout = Layout::contiguous(&[self.batch, 1, self.queries, self.keys]);
            Some(cx.launch(Kernel::Where, &[&mask], layout, self.dtype))
        })
    }

    /// `find_packed_sequence_indices`: `[batch, queries]`.
    fn packed_sequences(&self, cx: &Context, positions: &Tensor) -> Tensor {
        let rows = |columns: u64, dtype| {
            cx.launch(Kernel::Scratch("positions"), &[positions], Layout::contiguous(&[self.batch, columns]), dtype)
        };
        let _first = rows(1, DType::I64);
        let difference = {
            let _joined = rows(self.queries + 1, DType::I64);
            rows(self.queries, DType::I64)
        };
        let indices = {
            let changes = rows(self.queries, DType::Bool);
            let indices = rows(self.queries, DType::I64);
            drop(changes);
            indices
        };
        drop(difference);
        indices
    }

    /// `[batch, 1, queries, keys]`, or one for all sequences where they do not differ.
    fn boolean(&self, cx: &Context, slides: bool, padded: bool, packed: bool) -> Tensor {
        let range = |n: u64| cx.launch(Kernel::Arange, &[], Layout::contiguous(&[n]), DType::I64);
        let offset_range = |n: u64| {
            let _plain = range(n);
            range(n)
        };
        let _indices = (range(self.batch), range(1), offset_range(self.queries), offset_range(self.keys));
        let part = |batch, queries| {
            cx.launch(Kernel::Where, &[], Layout::contiguous(&[batch, 1, queries, self.keys]), DType::Bool)
        };
        let and = |mask: &mut Tensor, other: &Tensor, batch: u64| {
            let _other = other;
            *mask = part(batch, self.queries);
        };
        let mut mask = part(1, self.queries);
        if slides {
            let window = part(1, self.queries);
            and(&mut mask, &window, 1);
        }
        if padded || packed {
            let causal = mask.clone();
            and(&mut mask, &causal, 1);
            drop(causal);
            let own = part(self.batch, if packed { self.queries } else { 1 });
            and(&mut mask, &own, self.batch);
        }
        mask
    }
}
