//! Rotary position embeddings.

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::Grids;

/// `LlamaRotaryEmbedding`: inverse frequencies, and cosines and sines made of them once a forward.
pub struct Rotary {
    /// How many of a head's dimensions turn.
    pub dim: u64,
    /// `[dim / 2]`, fp32, with the copy transformers keeps of it.
    pub inv_freq: [Tensor; 2],
}

impl Rotary {
    /// The module's buffers.
    pub fn new(cx: &Context, dim: u64, on_gpu: bool) -> Self {
        let dims = [dim / 2];
        if !on_gpu {
            return Self { dim, inv_freq: [(); 2].map(|()| cx.meta(&dims, DType::F32)) };
        }
        let first = Self::frequencies(cx, dim);
        Self { dim, inv_freq: [first, cx.buffer("inv_freq", &dims, DType::F32)] }
    }

    /// What `post_init` does to its buffers once the model is made: frequencies are computed again and copied.
    pub fn initialise(&self, cx: &Context) {
        drop(Self::frequencies(cx, self.dim));
    }

    /// `compute_default_rope_parameters`: `1.0 / (base ** (torch.arange(0, dim, 2) / dim))`
    fn frequencies(cx: &Context, dim: u64) -> Tensor {
        let made = |dims: &[u64]| cx.launch(Kernel::Scratch("frequencies"), &[], Layout::contiguous(dims), DType::F32);
        let powers = {
            let exponents = {
                let _arange = made(&[dim / 2]);
                made(&[dim / 2])
            };
            let powers = made(&[dim / 2]);
            // the base, as a tensor of one fp64
            drop(made(&[2]));
            drop(exponents);
            powers
        };
        let reciprocal = made(&[dim / 2]);
        let frequencies = cx.buffer("inv_freq", &[dim / 2], DType::F32);
        drop((powers, reciprocal));
        frequencies
    }

    /// Cosines and sines of `positions` (`[1, length]`) in `dtype`: `[1, length, dim]` each.
    pub fn forward(&self, cx: &Context, positions: &Tensor, dtype: DType) -> (Tensor, Tensor) {
        self.tables(cx, positions, dtype, true)
    }

    /// As [`Rotary::forward`], of half the width: each number once (gpt-oss).
    pub fn forward_halves(&self, cx: &Context, positions: &Tensor, dtype: DType) -> (Tensor, Tensor) {
        self.tables(cx, positions, dtype, false)
    }

    /// Cosines and sines of three grids of `positions` (`[1, length]`, the same in each), `[batch, length, dim]` each
    /// (`Qwen2VLRotaryEmbedding`, `Qwen3VLTextRotaryEmbedding`).
    pub fn forward_grids(
        &self,
        cx: &Context,
        positions: &Tensor,
        batch: u64,
        dtype: DType,
        grids: Grids,
    ) -> (Tensor, Tensor) {
        cx.no_grad(|| {
            cx.with_autocast_off(|| {
                let (length, half) = (positions.dim(-1), self.dim / 2);
                let make = |dims: &[u64]| {
                    cx.launch(Kernel::Scratch("grids"), &[positions], Layout::contiguous(dims), DType::F32)
                };
                let positions = make(&[3, batch, 1, length]);
                let freqs = {
                    let _expanded = make(&[3 * batch, half, 1]);
                    cx.untracked_matmul(&self.inv_freq[0], &positions, &[3, batch, length, half])
                };
                let mut cos = cx.mul_scalar(cx.untracked("cos", &freqs), 1.0);
                let mut sin = cx.mul_scalar(cx.untracked("sin", &freqs), 1.0);
                let recompose = || {
                    let _freq = (grids == Grids::Sections).then(|| make(&[batch, length, half]));
                    make(&[batch, length, self.dim])
                };
                sin = rebound(sin, recompose());
                cos = rebound(cos, recompose());
                (cx.cast(&cos, dtype), cx.cast(&sin, dtype))
            })
        })
    }

    fn tables(&self, cx: &Context, positions: &Tensor, dtype: DType, twice: bool) -> (Tensor, Tensor) {
        cx.no_grad(|| {
            cx.with_autocast_off(|| {
                let length = positions.dim(-1);
                let positions = cx.cast(positions, DType::F32);
                let freqs =
                    cx.untracked_matmul(&self.inv_freq[0], &positions, &[positions.dim(0), length, self.dim / 2]);
                let emb = if twice { cx.cat(&[&freqs, &freqs], -1) } else { freqs.clone() };
                let cos = cx.mul_scalar(cx.untracked("cos", &emb), 1.0);
                let sin = cx.mul_scalar(cx.untracked("sin", &emb), 1.0);
                (cx.cast(&cos, dtype), cx.cast(&sin, dtype))
            })
        })
    }
}

impl Rotary {
    /// Turns of `positions` as complex numbers, `[1, length, dim / 2, 2]` in fp32 (DeepSeek V2); both names are of one tensor.
    pub fn forward_complex(&self, cx: &Context, positions: &Tensor) -> (Tensor, Tensor) {
        cx.no_grad(|| {
            cx.with_autocast_off(|| {
                let length = positions.dim(-1);
                let positions = cx.cast(positions, DType::F32);
                let freqs = cx.untracked_matmul(&self.inv_freq[0], &positions, &[1, length, self.dim / 2]);
                let polar = {
                    let _ones = cx.untracked("ones", &freqs);
                    let layout = Layout::contiguous(&[1, length, self.dim / 2, 2]);
                    cx.launch(Kernel::Unary("polar"), &[&freqs], layout, DType::F32)
                };
                let turns = cx.mul_scalar(&polar, 1.0);
                (turns.clone(), turns)
            })
        })
    }
}

/// How queries and keys are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotaryStyle {
    /// Whole heads.
    Whole,
    /// The first dimensions, sliced off before and joined after (Phi, StableLM).
    Sliced,
    /// As [`RotaryStyle::Sliced`], but what was turned goes as soon as it is joined (GPT-NeoX, GLM-4-MoE).
    Rejoined,
    /// The first dimensions, sliced and joined inside, even where all of them turn (Phi-3).
    Joined,
    /// Both halves by tables of half a head, joined (gpt-oss).
    Halves,
    /// As [`RotaryStyle::Joined`], but queries and keys are both turned before either is joined (Nemotron).
    Renamed,
    /// Whole heads in fp32, cast back (OLMo 2).
    InFp32,
    /// Whole heads, where they are (Liger's kernel).
    Fused,
    /// Whole heads, neighbouring dimensions with each other (Helium).
    Interleaved,
    /// As [`RotaryStyle::Interleaved`], the first dimensions alone (GLM).
    InterleavedFirst,
    /// As [`RotaryStyle::Interleaved`], what is turned cast to fp32 piece by piece (ERNIE 4.5).
    InterleavedInFp32,
    /// Whole heads cast to fp32 before they are turned, and back (Cohere).
    CastToFp32,
    /// As [`RotaryStyle::CastToFp32`], cast once for each product (ModernBERT).
    CastTwiceToFp32,
}

impl RotaryStyle {
    /// Whether cosines and sines are repeated for neighbouring dimensions.
    const fn interleaves(self) -> bool {
        matches!(self, Self::Interleaved | Self::InterleavedFirst | Self::InterleavedInFp32)
    }
}

/// What [`apply_rotary`] returns.
pub struct Turned {
    /// Queries.
    pub query: Tensor,
    /// Keys.
    pub key: Tensor,
    /// Names that live as long as the attention that turned them.
    pub locals: Vec<Tensor>,
}

/// `apply_rotary_pos_emb` on `query` and `key`, `[batch, heads, length, head_dim]`.
pub fn apply_rotary(
    cx: &Context,
    style: RotaryStyle,
    query: &Tensor,
    key: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
) -> Turned {
    if style == RotaryStyle::Fused {
        let (query, key) = cx.fused_rope(query, key, cos, sin);
        return Turned { query, key, locals: Vec::new() };
    }
    let table = |of: &Tensor| {
        let of = cx.unsqueeze(of, 1);
        if style.interleaves() { interleave(cx, &of) } else { of }
    };
    let (cos, sin) = (table(cos), table(sin));
    let dim = cos.dim(-1);
    let pass = |x: &Tensor| not_turned(cx, x, dim);
    let (query, key, locals) = match style {
        RotaryStyle::Whole | RotaryStyle::Interleaved | RotaryStyle::Fused => {
            let query = rotate(cx, query, &cos, &sin);
            (query, rotate(cx, key, &cos, &sin), Vec::new())
        }
        RotaryStyle::InFp32 => {
            let turned_query = rotate(cx, query, &cos, &sin);
            let turned_key = rotate(cx, key, &cos, &sin);
            let query = cx.cast(&turned_query, query.dtype());
            (query, cx.cast(&turned_key, key.dtype()), Vec::new())
        }
        RotaryStyle::Renamed => {
            let (query_turn, query_pass) = (cx.narrow(query, -1, 0, dim), pass(query));
            let (key_turn, key_pass) = (cx.narrow(key, -1, 0, dim), pass(key));
            let turned_query = rotate(cx, &query_turn, &cos, &sin);
            let turned_key = rotate(cx, &key_turn, &cos, &sin);
            let query = cx.cat(&[&turned_query, &query_pass], -1);
            (query, cx.cat(&[&turned_key, &key_pass], -1), Vec::new())
        }
        RotaryStyle::InterleavedInFp32 => {
            let turn = |x: &Tensor| {
                let straight = cx.mul(cx.cast(x, DType::F32), &cos);
                let turned = cx.mul(cx.cast(rotate_half(cx, x), DType::F32), &sin);
                cx.add(straight, turned)
            };
            let (turned_query, turned_key) = (turn(query), turn(key));
            let query = cx.cast(&turned_query, query.dtype());
            (query, cx.cast(&turned_key, key.dtype()), Vec::new())
        }
        RotaryStyle::CastToFp32 => {
            let (query32, key32) = (cx.cast(query, DType::F32), cx.cast(key, DType::F32));
            let turned_query = rotate(cx, &query32, &cos, &sin);
            let turned_key = rotate(cx, &key32, &cos, &sin);
            let query = cx.cast(&turned_query, query.dtype());
            (query, cx.cast(&turned_key, key.dtype()), Vec::new())
        }
        RotaryStyle::CastTwiceToFp32 => {
            let turn = |x: &Tensor| {
                let straight = cx.mul(cx.cast(x, DType::F32), &cos);
                let turned = {
                    let half = rotate_half(cx, &cx.cast(x, DType::F32));
                    cx.mul(half, &sin)
                };
                cx.add(straight, turned)
            };
            let (turned_query, turned_key) = (turn(query), turn(key));
            let query = cx.cast(&turned_query, query.dtype());
            (query, cx.cast(&turned_key, key.dtype()), Vec::new())
        }
        RotaryStyle::Sliced => {
            let (mut query_turned, query_pass) = (cx.narrow(query, -1, 0, dim), pass(query));
            let (mut key_turned, key_pass) = (cx.narrow(key, -1, 0, dim), pass(key));
            query_turned = rotate(cx, &query_turned, &cos, &sin);
            key_turned = rotate(cx, &key_turned, &cos, &sin);
            let query = cx.cat(&[&query_turned, &query_pass], -1);
            let key = cx.cat(&[&key_turned, &key_pass], -1);
            (query, key, vec![query_turned, query_pass, key_turned, key_pass])
        }
        RotaryStyle::Rejoined | RotaryStyle::InterleavedFirst => rejoined(cx, [query, key], &cos, &sin),
        RotaryStyle::Halves => {
            let turn = |x: &Tensor| {
                let [first, second] = cx.split_in(x.clone(), -1);
                let turned = {
                    let straight = cx.mul(&first, &cos);
                    cx.sub(straight, cx.mul(&second, &sin))
                };
                let other = {
                    let straight = cx.mul(&second, &cos);
                    cx.add(straight, cx.mul(&first, &sin))
                };
                cx.cat(&[&turned, &other], -1)
            };
            let query = turn(query);
            (query, turn(key), Vec::new())
        }
        RotaryStyle::Joined => {
            let (query_turn, query_pass) = (cx.narrow(query, -1, 0, dim), pass(query));
            let (key_turn, key_pass) = (cx.narrow(key, -1, 0, dim), pass(key));
            let query = cx.cat(&[&rotate(cx, &query_turn, &cos, &sin), &query_pass], -1);
            (query, cx.cat(&[&rotate(cx, &key_turn, &cos, &sin), &key_pass], -1), Vec::new())
        }
    };
    Turned { query, key, locals }
}

/// The first dimensions turned and joined with the others, under the names they had.
fn rejoined(cx: &Context, [query, key]: [&Tensor; 2], cos: &Tensor, sin: &Tensor) -> (Tensor, Tensor, Vec<Tensor>) {
    let dim = cos.dim(-1);
    let (mut query_turned, query_pass) = (cx.narrow(query, -1, 0, dim), not_turned(cx, query, dim));
    let (mut key_turned, key_pass) = (cx.narrow(key, -1, 0, dim), not_turned(cx, key, dim));
    query_turned = rotate(cx, &query_turned, cos, sin);
    key_turned = rotate(cx, &key_turned, cos, sin);
    query_turned = cx.cat(&[&query_turned, &query_pass], -1);
    key_turned = cx.cat(&[&key_turned, &key_pass], -1);
    (query_turned, key_turned, Vec::new())
}

/// The dimensions from `dim` on.
fn not_turned(cx: &Context, x: &Tensor, dim: u64) -> Tensor {
    cx.narrow(x, -1, dim, x.dim(-1) - dim)
}

/// `x[..., : dim // 2].repeat_interleave(2, dim=-1)`: a copy.
fn interleave(cx: &Context, x: &Tensor) -> Tensor {
    let half = cx.narrow(x, -1, 0, x.dim(-1) / 2);
    let mut dims = x.dims().to_vec();
    dims.push(2);
    if let Some(last) = dims.iter_mut().rev().nth(1) {
        *last /= 2;
    }
    cx.reshape(cx.expand(cx.unsqueeze(half, x.dims().len()), &dims), x.dims())
}

/// `x * cos + rotate_half(x) * sin`
fn rotate(cx: &Context, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let straight = cx.mul(x, cos);
    let turned = cx.mul(rotate_half(cx, x), sin);
    cx.add(straight, turned)
}

/// A name bound again.
fn rebound(_old: Tensor, new: Tensor) -> Tensor {
    new
}

/// Halves, or neighbours: strides differ, and no allocation.
fn rotate_half(cx: &Context, x: &Tensor) -> Tensor {
    let half = x.dim(-1) / 2;
    let first = cx.narrow(x, -1, 0, half);
    let second = cx.narrow(x, -1, half, half);
    let turned = cx.neg(second);
    cx.cat(&[&turned, &first], -1)
}

/// `torch.arange(length)` and the sum with the tokens seen before it, as `[1, length]`.
pub(crate) fn positions(cx: &Context, length: u64) -> Tensor {
    let range = cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length]), DType::I64);
    let sum = cx.launch(Kernel::Unary("add_scalar"), &[&range], Layout::contiguous(&[length]), DType::I64);
    drop(range);
    cx.unsqueeze(sum, 0)
}
