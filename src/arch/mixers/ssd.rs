//! Mamba 2's scan in chunks and its single step (`mamba2_chunk_scan` and `mamba2_selective_state_update` of
//! `modeling_mamba2.py`): products are written out and summed, so that the largest tensors have six dimensions.

use super::scan::time_steps;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// A scan over a sequence.
pub(super) struct ChunkScan<'a> {
    /// `[batch, length, heads, head_dim]`
    pub(super) x: Tensor,
    /// Time steps, `[batch, length, heads]`.
    pub(super) dt: &'a Tensor,
    /// `[heads]`
    pub(super) a: &'a Tensor,
    /// `[batch, length, groups, state]`
    pub(super) b: Tensor,
    /// `[batch, length, groups, state]`
    pub(super) c: Tensor,
    /// `[heads]`
    pub(super) d: &'a Tensor,
    /// Bias of the time steps, `[heads]`.
    pub(super) dt_bias: &'a Tensor,
    /// `chunk_size`
    pub(super) chunk_size: u64,
}

impl ChunkScan<'_> {
    /// The output, `[batch, length, heads, head_dim]`, and the last state, `[batch, heads, head_dim, state]`.
    pub(super) fn run(&self, cx: &Context) -> (Tensor, Tensor) {
        let [batch, length, heads, head_dim] = [self.x.dim(0), self.x.dim(1), self.x.dim(2), self.x.dim(3)];
        let padded = length.next_multiple_of(self.chunk_size);
        let fp32 = |t: &Tensor| cx.cast(t, DType::F32);
        let mut dt = time_steps(cx, self.dt, Some(cx.cast(self.dt_bias, self.dt.dtype())));
        dt = cx.clamp(&dt, true);
        let mut x = fp32(&self.x);
        let each_head = |t: &Tensor| cx.repeat_interleave(fp32(t), 2, heads / t.dim(2));
        let mut b = each_head(&self.b);
        let mut c = each_head(&self.c);
        let d_residual = cx.mul(cx.unsqueeze(self.d, 1), cx.pad(&x, 1, padded - length));
        x = cx.mul(&x, fp32(&cx.unsqueeze(&dt, 3)));
        let mut a = cx.mul(fp32(self.a), fp32(&dt));
        (x, a, b, c) = {
            let chunked = |t: &Tensor| {
                let mut dims = vec![batch, padded / self.chunk_size, self.chunk_size];
                dims.extend(&t.dims()[2..]);
                cx.reshape(cx.pad(t, 1, padded - length), &dims)
            };
            (chunked(&x), chunked(&a), chunked(&b), chunked(&c))
        };
        // [batch, chunk, token, head] as [batch, head, chunk, token]
        a = cx.transpose(cx.transpose(&a, 2, 3), 1, 2);
        let a_cumsum = cx.cumsum_along(&a, -1);

        // within chunks
        let l = cx.exp(segment_sum(cx, a.clone()));
        let g = cx.sum_dim(cx.mul(cx.unsqueeze(&c, 3), cx.unsqueeze(&b, 2)), -1, false);
        let l_by_token = cx.transpose(cx.transpose(cx.transpose(&l, 1, 2), 2, 3), 3, 4);
        let m = cx.sum_dim(cx.mul(cx.unsqueeze(&g, 5), cx.unsqueeze(l_by_token, 5)), -1, false);
        let y_diag = cx.sum_dim(cx.mul(cx.unsqueeze(&m, 5), cx.unsqueeze(&x, 2)), 3, false);

        // each chunk's own state
        let last = cx.narrow(&a_cumsum, -1, self.chunk_size - 1, 1);
        let decay_states = cx.exp(cx.sub(&last, &a_cumsum));
        let decay = by_token(cx, &decay_states);
        let b_decay = cx.mul(&b, cx.unsqueeze(decay, 4));
        let mut states = cx.sum_dim(cx.mul(cx.unsqueeze(&b_decay, 4), cx.unsqueeze(&x, 5)), 2, false);

        // from chunk to chunk
        let first = Layout::contiguous(states.dims()).narrow(1, 1);
        let previous = cx.launch(Kernel::Zeros, &[], Layout::contiguous(first.dims()), states.dtype());
        states = cx.cat(&[&previous, &states], 1);
        let ends = cx.pad(&cx.select(&a_cumsum, -1), -1, 1);
        let decay_chunk = cx.transpose(cx.exp(segment_sum(cx, ends)), 1, 3);
        let wide = cx.unsqueeze(cx.unsqueeze(&decay_chunk, 4), 5);
        let new_states = cx.sum_dim(cx.mul(wide, cx.unsqueeze(&states, 2)), 1, false);
        states = cx.narrow(&new_states, 1, 0, new_states.dim(1) - 1);
        let final_state = cx.select(&new_states, 1);

        // what earlier chunks add
        let decay_out = cx.exp(&a_cumsum);
        let c_times_states = cx.mul(cx.unsqueeze(&c, 4), cx.unsqueeze(&states, 2));
        let y_off = cx.mul(cx.sum_dim(&c_times_states, -1, false), cx.unsqueeze(by_token(cx, &decay_out), 4));
        let mut output = cx.add(&y_diag, &y_off);
        output = cx.reshape(&output, &[batch, padded, heads, head_dim]);
        output = cx.add(&output, &d_residual);
        (cx.narrow(&output, 1, 0, length), final_state)
    }
}

/// `[batch, head, chunk, token]` as `[batch, chunk, token, head]`.
fn by_token(cx: &Context, x: &Tensor) -> Tensor {
    cx.transpose(cx.transpose(x, 1, 2), 2, 3)
}

/// `segment_sum`: sums between any two places of the last dimension.
fn segment_sum(cx: &Context, mut x: Tensor) -> Tensor {
    let size = x.dim(-1);
    let mut dims = x.dims().to_vec();
    dims.push(size);
    x = cx.expand(cx.unsqueeze(&x, x.dims().len()), &dims);
    let outside = |mask: &mut Option<Tensor>| {
        let layout = Layout::contiguous(&[size, size]);
        let made = |kernel, of: &[&Tensor]| cx.launch(kernel, of, layout, DType::Bool);
        let lower = made(Kernel::Unary("tril"), &[&made(Kernel::Ones, &[])]);
        *mask = Some(lower.clone());
        made(Kernel::Unary("not"), &[&lower])
    };
    let mut mask = None;
    x = cx.masked_fill(&x, &outside(&mut mask));
    let mut sums = cx.cumsum_along(&x, -2);
    sums = cx.masked_fill(&sums, &outside(&mut mask));
    sums
}

/// One token after others.
pub(super) struct Step<'a> {
    /// `[batch, heads, head_dim, state]`, written over.
    pub(super) state: &'a Tensor,
    /// `[batch, heads, head_dim]`
    pub(super) x: &'a Tensor,
    /// `[batch, heads, head_dim]`
    pub(super) dt: &'a Tensor,
    /// `[heads, head_dim, state]`
    pub(super) a: &'a Tensor,
    /// `[batch, groups, state]`
    pub(super) b: &'a Tensor,
    /// `[batch, groups, state]`
    pub(super) c: &'a Tensor,
    /// `[heads, head_dim]`
    pub(super) d: &'a Tensor,
    /// `[heads, head_dim]`
    pub(super) dt_bias: &'a Tensor,
    /// The gate, `[batch, heads, head_dim]`, where no norm follows that has it.
    pub(super) z: Option<Tensor>,
}

impl Step<'_> {
    /// The output, `[batch, heads, head_dim]`.
    pub(super) fn run(&self, cx: &Context) -> Tensor {
        let [batch, heads, head_dim] = [self.x.dim(0), self.x.dim(1), self.x.dim(2)];
        let [groups, state_size] = [self.b.dim(1), self.b.dim(2)];
        let mut dt = time_steps(cx, self.dt, Some(cx.cast(self.dt_bias, self.dt.dtype())));
        dt = cx.unsqueeze(&dt, 3);
        let d_a = cx.exp(cx.mul(cx.cast(&dt, DType::F32), cx.cast(self.a, DType::F32)));
        let each_head = |t: &Tensor, dims: &[u64]| {
            let groups_dims = [batch, groups, heads / groups, state_size];
            cx.reshape(cx.contiguous(cx.expand(cx.unsqueeze(t, 2), &groups_dims)), dims)
        };
        let b = each_head(self.b, &[batch, heads, 1, state_size]);
        let d_b = cx.mul(&dt, &b);
        let d_bx = cx.mul(&d_b, cx.unsqueeze(self.x, 3));
        let mut states = cx.add(cx.mul(self.state, &d_a), &d_bx);
        drop(cx.cast(&states, self.state.dtype()));
        let c = each_head(self.c, &[batch, heads, state_size]);
        states = cx.cast(&states, c.dtype());
        let flat = cx.reshape(&states, &[batch * heads, head_dim, state_size]);
        let mut out = cx.bmm(flat, cx.reshape(&c, &[batch * heads, state_size, 1]));
        out = cx.reshape(&out, &[batch, heads, head_dim]);
        out = cx.cast(cx.add(&out, cx.mul(self.x, self.d)), out.dtype());
        if let Some(z) = &self.z {
            out = cx.mul(&out, cx.silu(z));
        }
        cx.cast(&out, self.x.dtype())
    }
}
