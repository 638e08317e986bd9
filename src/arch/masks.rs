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
    /// Queries attend to what comes after them too (`create_bidirectional_mask`).
    pub(super) bidirectional: bool,
    /// `sliding_window` of the layers it is for.
    pub(super) sliding_window: Option<u64>,
    /// That window is a chunk of the sequence: tokens attend within theirs (Llama 4).
    pub(super) chunked: bool,
    /// The type of an additive mask.
    pub(super) dtype: DType,
}

/// What a mask is computed from: each token's sequence, its place, and what may be looked at.
struct Places<'a> {
    padding: Option<&'a Tensor>,
    packed: Option<&'a Tensor>,
    batch: Tensor,
    _head: Tensor,
    queries: Tensor,
    keys: Tensor,
}

impl MaskRequest<'_> {
    /// The causal mask: boolean for sdpa, additive for eager; none where sdpa's own causal flag does.
    ///
    /// Whether sequences are packed is read back from the GPU. The answer is taken to be that they are, and likewise that a
    /// padding mask masks something: without either, sdpa takes no mask and needs less.
    pub(super) fn make(&self, cx: &Context) -> Option<Tensor> {
        // `flash_attention_mask`: the package is told where sequences begin instead, and what is padding
        if self.implementation == AttnImplementation::FlashAttention2 {
            let padding = self.padding.map(|padding| made(cx, padding.dims(), DType::Bool));
            padding.iter().for_each(|padding| all(cx, padding));
            return padding;
        }
        self.make_unless(cx, true)
    }

    /// The causal mask, whether or not sdpa's own causal flag would do (`allow_is_causal_skip=False`).
    pub(super) fn make_always(&self, cx: &Context) -> Tensor {
        self.make_unless(cx, false).expect("only what may be skipped is not made")
    }

    fn make_unless(&self, cx: &Context, skippable: bool) -> Option<Tensor> {
        cx.no_grad(|| {
            let eager = self.implementation == AttnImplementation::Eager;
            // to(dtype=torch.bool)
            let padding = self.padding.map(|padding| made(cx, padding.dims(), DType::Bool));
            let packed = self.positions.filter(|_| padding.is_none()).map(|_| self.packed_sequences(cx));
            if self.bidirectional && self.needs_none(cx, padding.as_ref()) {
                return None;
            }
            let _left_padding = self.chunked.then(|| self.left_padding(cx, padding.as_ref()));
            if skippable && !eager && !self.bidirectional && packed.is_none() && self.skips(cx, padding.as_ref()) {
                return None;
            }
            let mask = self.boolean(cx, padding.as_ref(), packed.as_ref());
            if !eager {
                return Some(cx.expand(mask, &[self.batch, 1, self.queries, self.keys]));
            }
            let (_zero, _lowest) = (made(cx, &[], self.dtype), made(cx, &[], self.dtype));
            Some(cx.launch(Kernel::Where, &[&mask], Layout::contiguous(mask.dims()), self.dtype))
        })
    }

    /// How much of each sequence's start is padding.
    fn left_padding(&self, cx: &Context, padding: Option<&Tensor>) -> Tensor {
        if let Some(padding) = padding {
            let _counted = (made(cx, padding.dims(), DType::I64), made(cx, padding.dims(), DType::Bool));
            let _equal = made(cx, padding.dims(), DType::Bool);
        }
        made(cx, &[self.batch], DType::I64)
    }

    fn slides(&self) -> bool {
        self.sliding_window.is_some_and(|window| self.keys >= window)
    }

    /// `_ignore_bidirectional_mask_sdpa`: for eager attention too.
    fn needs_none(&self, cx: &Context, padding: Option<&Tensor>) -> bool {
        if let Some(padding) = padding {
            drop(cx.any(padding));
        }
        padding.is_none() && !self.slides()
    }

    /// `_ignore_causal_mask_sdpa`
    fn skips(&self, cx: &Context, padding: Option<&Tensor>) -> bool {
        let square = self.queries == 1 || self.keys == self.queries;
        let from_start = self.keys == self.queries;
        match padding {
            _ if self.slides() => false,
            None => square || from_start,
            Some(padding) => {
                for _ in 0..u8::from(square) + u8::from(from_start) {
                    all(cx, padding);
                }
                false
            }
        }
    }

    /// `find_packed_sequence_indices`: `[batch, queries]`.
    fn packed_sequences(&self, cx: &Context) -> Tensor {
        let rows = |columns: u64, dtype| made(cx, &[self.batch, columns], dtype);
        let _first = rows(1, DType::I64);
        let _difference = {
            let _joined = rows(self.queries + 1, DType::I64);
            rows(self.queries, DType::I64)
        };
        let indices = {
            let _changes = rows(self.queries, DType::Bool);
            let indices = rows(self.queries, DType::I64);
            let _whole = rows(self.queries, DType::I64);
            if self.batch == 1 {
                drop(cx.scan_scratch(self.queries, DType::I64.bytes()));
            }
            indices
        };
        let last = made(cx, &[self.batch], DType::Bool);
        let _all = made(cx, &[], DType::Bool);
        drop(last);
        indices
    }

    /// `[batch, 1, queries, keys]`, a view of one for all sequences where they do not differ (`sdpa_mask`).
    fn boolean(&self, cx: &Context, padding: Option<&Tensor>, packed: Option<&Tensor>) -> Tensor {
        let range = |n: u64| cx.launch(Kernel::Arange, &[], Layout::contiguous(&[n]), DType::I64);
        let offset_range = |n: u64| {
            let _plain = range(n);
            range(n)
        };
        let places = Places {
            padding,
            packed,
            batch: range(self.batch),
            _head: range(1),
            queries: offset_range(self.queries),
            keys: offset_range(self.keys),
        };
        let keys = if self.bidirectional { 1 } else { self.keys };
        // key <= query
        let causal = || {
            let layout = Layout::contiguous(&[1, 1, self.queries, keys]);
            cx.launch(Kernel::Binary("not after"), &[&places.keys, &places.queries], layout, DType::Bool)
        };
        let sliding = || {
            if self.bidirectional {
                // the distance between any two tokens
                let difference = made(cx, &[1, 1, self.queries, self.keys], DType::I64);
                let distance = made(cx, &[1, 1, self.queries, self.keys], DType::I64);
                drop(difference);
                return made(cx, distance.dims(), DType::Bool);
            }
            let _start = made(cx, &[self.queries], DType::I64);
            causal()
        };
        // `chunked_overlay`: each sequence's own, for what is left of it is padding
        let chunk = || {
            let shifted = |dims: [u64; 4]| {
                let _from = (made(cx, &[self.batch, 1, 1, 1], DType::I64), made(cx, &dims, DType::I64));
                made(cx, &dims, DType::I64)
            };
            let _keys = shifted([self.batch, 1, 1, self.keys]);
            let _queries = shifted([self.batch, 1, self.queries, 1]);
            made(cx, &[self.batch, 1, self.queries, self.keys], DType::Bool)
        };
        let sliding = || if self.chunked { chunk() } else { sliding() };
        let spanned = || if self.sliding_window.is_some() { and(cx, &sliding, &causal) } else { causal() };
        let unpacked = || match places.packed {
            Some(packed) => and(cx, &spanned, &|| places.same_sequence(cx, packed)),
            None => spanned(),
        };
        let mask = match places.padding {
            Some(padding) => and(cx, &unpacked, &|| places.look_up(cx, padding, &places.keys, -1)),
            None => unpacked(),
        };
        cx.expand(mask, &[self.batch, 1, self.queries, self.keys])
    }
}

impl Places<'_> {
    /// `packed[batch, queries] == packed[batch, keys]`
    fn same_sequence(&self, cx: &Context, packed: &Tensor) -> Tensor {
        let of_queries = self.look_up(cx, packed, &self.queries, -2);
        let of_keys = self.look_up(cx, packed, &self.keys, -1);
        let dims = [self.batch.dim(0), 1, of_queries.dim(2), of_keys.dim(3)];
        cx.launch(Kernel::Binary("equal"), &[&of_queries, &of_keys], Layout::contiguous(&dims), DType::Bool)
    }

    /// `table[batch, places]`: indices that only broadcast are written out.
    fn look_up(&self, cx: &Context, table: &Tensor, places: &Tensor, axis: isize) -> Tensor {
        let (batch, length) = (self.batch.dim(0), places.dim(0));
        let dims = if axis == -1 { [batch, 1, 1, length] } else { [batch, 1, length, 1] };
        let written = |varies: bool| (!varies).then(|| made(cx, &dims, DType::I64));
        let _indices = (written(length == 1), written(batch == 1));
        made(cx, &dims, table.dtype())
    }
}

/// Zeros where it is carried out: each row of a batch is one sequence without padding.
fn made(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    cx.launch(Kernel::Where, &[], Layout::contiguous(dims), dtype)
}

/// `fast_all`: booleans are summed as whole numbers.
fn all(cx: &Context, padding: &Tensor) {
    let whole = cx.cast_sum(padding);
    let _equal = made(cx, &[], DType::Bool);
    drop(whole);
}

/// `and_masks`
fn and(cx: &Context, first: &dyn Fn() -> Tensor, second: &dyn Fn() -> Tensor) -> Tensor {
    let mut result = cx.launch(Kernel::Ones, &[], Layout::contiguous(&[]), DType::Bool);
    for mask in [first, second] {
        let mask = mask();
        let shape = result.layout().broadcast(mask.layout());
        result = cx.launch(Kernel::Binary("and"), &[&result, &mask], Layout::contiguous(shape.dims()), DType::Bool);
    }
    result
}
