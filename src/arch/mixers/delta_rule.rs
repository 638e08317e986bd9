//! The gated delta rule, in chunks and for one token (`torch_chunk_gated_delta_rule` and
//! `torch_recurrent_gated_delta_rule` of `modeling_qwen3_next.py`).

use crate::dtype::DType;
use crate::ghost::{Context, Graph, Kernel, Layout, Tensor};

/// `chunk_size`
const CHUNK: u64 = 64;

/// What the rule is applied to.
pub(super) struct DeltaRule<'a> {
    /// `[batch, length, heads, key_dim]`
    pub(super) query: &'a Tensor,
    /// `[batch, length, heads, key_dim]`
    pub(super) key: &'a Tensor,
    /// `[batch, length, heads, value_dim]`
    pub(super) value: &'a Tensor,
    /// `[batch, length, heads]`
    pub(super) decay: &'a Tensor,
    /// `[batch, length, heads]`
    pub(super) beta: &'a Tensor,
}

/// The state behind the last token, `[batch, heads, key_dim, value_dim]`.
pub(super) struct LastState {
    pub(super) state: Tensor,
    /// What it was computed from, for backward.
    pub(super) graph: Option<Graph>,
}

/// All in fp32 as `[batch, heads, length, ...]`, queries and keys of length one.
struct Turned {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    decay: Tensor,
}

impl DeltaRule<'_> {
    fn turned(&self, cx: &Context) -> Turned {
        let turn = |x: &Tensor| cx.cast_contiguous(&cx.transpose(x, 1, 2), DType::F32);
        let [mut query, mut key, value, beta, decay] =
            [self.query, self.key, self.value, self.beta, self.decay].map(turn);
        query = unit_length(cx, &query);
        key = unit_length(cx, &key);
        query = cx.mul_scalar(&query, 1.0);
        Turned { query, key, value, beta, decay }
    }

    /// The output, `[batch, length, heads, value_dim]`, and the last state, `[batch, heads, key_dim, value_dim]`,
    /// where it is asked for.
    pub(super) fn chunks(&self, cx: &Context, keeps_state: bool) -> (Tensor, Option<LastState>) {
        let dtype = self.query.dtype();
        let Turned { mut query, mut key, mut value, mut beta, mut decay } = self.turned(cx);
        let [batch, heads, length, value_dim] = [value.dim(0), value.dim(1), value.dim(2), value.dim(3)];
        let padded = length.next_multiple_of(CHUNK);
        let pad = |x: &Tensor| cx.pad(x, 2, padded - length);
        (query, key, value) = (pad(&query), pad(&key), pad(&value));
        (beta, decay) = (pad(&beta), pad(&decay));
        let mut v_beta = cx.mul(&value, cx.unsqueeze(&beta, 3));
        let mut k_beta = cx.mul(&key, cx.unsqueeze(&beta, 3));
        let chunks = padded / CHUNK;
        let chunked = |x: &Tensor| cx.reshape(x, &[batch, heads, chunks, CHUNK, x.dim(-1)]);
        (query, key, k_beta, v_beta) = (chunked(&query), chunked(&key), chunked(&k_beta), chunked(&v_beta));
        decay = cx.reshape(&decay, &[batch, heads, chunks, CHUNK]);
        let upper = {
            let square =
                |kernel, of: &[&Tensor]| cx.launch(kernel, of, Layout::contiguous(&[CHUNK, CHUNK]), DType::Bool);
            square(Kernel::Unary("triu"), &[&square(Kernel::Ones, &[])])
        };
        let summed = cx.cumsum_along(&decay, -1);
        let mut pairwise = cx.sub(cx.unsqueeze(&summed, 4), cx.unsqueeze(&summed, 3));
        pairwise = cx.masked_fill(&pairwise, &upper);
        pairwise = cx.exp(&pairwise);
        let system = cx.mul(cx.matmul(&k_beta, cx.transpose(&key, -1, -2)), &pairwise);
        let within = cx.mul(cx.matmul(&query, cx.transpose(&key, -1, -2)), &pairwise);
        let decayed = cx.mul(&k_beta, cx.unsqueeze(cx.exp(&summed), 4));
        let new_values = cx.solve_triangular(&system, &v_beta);
        let read_keys = cx.solve_triangular(&system, &decayed);
        let zeros = |dims: &[u64]| cx.launch(Kernel::Zeros, &[], Layout::contiguous(dims), DType::F32);
        let mut state = zeros(&[batch, heads, key.dim(-1), value_dim]);
        let mut out = cx.launch(Kernel::Zeros, &[], *new_values.layout(), DType::F32);
        query = cx.mul(&query, cx.unsqueeze(cx.exp(&summed), 4));
        key = {
            let rest = cx.exp(cx.sub(cx.slice(&summed, -1, CHUNK - 1, 1), &summed));
            cx.mul(&key, cx.unsqueeze(&rest, 4))
        };
        let chunk_decay = {
            let last = cx.exp(cx.select(&summed, -1));
            cx.unsqueeze(cx.unsqueeze(&last, 3), 4)
        };
        let (mut _corrected, mut _across) = (None, None);
        let mut graph = None;
        for chunk in 0..chunks {
            let of = |x: &Tensor| cx.select_at(x, 2, chunk);
            let corrected = {
                let values = of(&new_values);
                cx.sub(&values, cx.matmul(of(&read_keys), &state))
            };
            _corrected = Some(corrected.clone());
            let across = cx.matmul(of(&query), &state);
            _across = Some(across.clone());
            let both = cx.add(&across, cx.matmul(of(&within), &corrected));
            out = cx.assigned_at(out, &both, 2, chunk);
            drop(both);
            let update = || {
                let kept = cx.mul(&state, of(&chunk_decay));
                cx.add(&kept, cx.matmul(cx.transpose(of(&key), -1, -2), &corrected))
            };
            state = match chunk + 1 {
                // nothing goes back through the last state, but the cache that it is copied into has its graph
                last if last == chunks && keeps_state => {
                    let (state, behind) = cx.apart(update);
                    graph = Some(behind);
                    state
                }
                last if last == chunks => cx.no_grad(update),
                _ => update(),
            };
        }
        let state = keeps_state.then_some(LastState { state, graph });
        out = cx.reshape(&out, &[batch, heads, padded, value_dim]);
        out = cx.narrow(&out, 2, 0, length);
        out = cx.cast_contiguous(&cx.transpose(&out, 1, 2), dtype);
        (out, state)
    }

    /// As [`Self::chunks`], of one token after those in `state`.
    pub(super) fn step(&self, cx: &Context, mut state: Tensor) -> (Tensor, Option<LastState>) {
        let dtype = self.query.dtype();
        let Turned { query, key, value, beta, decay } = self.turned(cx);
        let mut out = cx.launch(Kernel::Zeros, &[], *value.layout(), DType::F32);
        let now = |x: &Tensor| cx.select(x, 2);
        let (query_now, key_now, value_now) = (now(&query), now(&key), now(&value));
        let decay_now = cx.unsqueeze(cx.unsqueeze(cx.exp(now(&decay)), 2), 3);
        state = cx.mul(&state, &decay_now);
        let beta_now = cx.unsqueeze(now(&beta), 2);
        let read = cx.sum_dim(cx.mul(&state, cx.unsqueeze(&key_now, 3)), -2, false);
        let delta = cx.mul(cx.sub(&value_now, &read), &beta_now);
        state = cx.add(&state, cx.mul(cx.unsqueeze(&key_now, 3), cx.unsqueeze(&delta, 2)));
        drop(cx.sum_dim(cx.mul(&state, cx.unsqueeze(&query_now, 3)), -2, false));
        out = cx.cast(cx.contiguous(cx.transpose(&out, 1, 2)), dtype);
        (out, Some(LastState { state, graph: None }))
    }
}

/// `l2norm`
fn unit_length(cx: &Context, x: &Tensor) -> Tensor {
    let inverse = cx.rsqrt(cx.add_scalar(cx.sum_dim(cx.mul(x, x), -1, true), 1e-6));
    cx.mul(x, &inverse)
}
