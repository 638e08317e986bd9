//! The selective scan of Mamba, a token at a time (`mamba_selective_scan` and `mamba_selective_state_update` of
//! `modeling_mamba.py`).

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// A scan over a sequence.
pub(super) struct Scan<'a> {
    /// `[batch, channels, length]`
    pub(super) x: &'a Tensor,
    /// Time steps, `[batch, channels, length]`.
    pub(super) dt: &'a Tensor,
    /// `[channels, state]`
    pub(super) a: &'a Tensor,
    /// `[batch, length, state]`
    pub(super) b: &'a Tensor,
    /// `[batch, length, state]`
    pub(super) c: &'a Tensor,
    /// `[channels]`
    pub(super) d: &'a Tensor,
    /// The gate, `[batch, channels, length]`.
    pub(super) z: &'a Tensor,
    /// Bias of the time steps.
    pub(super) bias: Option<&'a Tensor>,
}

impl Scan<'_> {
    /// The output, `[batch, channels, length]`, and the last state.
    pub(super) fn run(&self, cx: &Context) -> (Tensor, Tensor) {
        let [batch, channels, length] = [self.x.dim(0), self.x.dim(1), self.x.dim(2)];
        let dtype = self.x.dtype();
        let dt = time_steps(cx, self.dt, self.bias.map(|bias| cx.unsqueeze(cx.cast(bias, self.dt.dtype()), 1)));
        // indexed twice, so that gradients meet at `dt`
        let steps = || cx.unsqueeze(&dt, 3);
        let a = cx.unsqueeze(cx.unsqueeze(self.a, 0), 2);
        let discrete_a = cx.exp(cx.mul(a, steps()));
        let discrete_b = cx.mul(steps(), cx.cast(cx.unsqueeze(self.b, 1), DType::F32));
        let delta_b_u = cx.mul(&discrete_b, cx.cast(cx.unsqueeze(self.x, 3), DType::F32));
        let dims = [batch, channels, self.a.dim(-1)];
        let mut state = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&dims), dtype);
        let mut outputs = Vec::new();
        let mut _output = None;
        for _ in 0..length {
            state = cx.add(cx.mul(cx.select(&discrete_a, 2), &state), cx.select(&delta_b_u, 2));
            let c = cx.unsqueeze(cx.select(self.c, 1), 2);
            let output = cx.matmul(cx.cast(&state, dtype), c);
            outputs.push(cx.select(&output, 2));
            _output = Some(output);
        }
        let mut out = cx.stack_last(&outputs);
        _output = None;
        out = cx.add(&out, cx.mul(self.x, cx.unsqueeze(cx.unsqueeze(self.d, 0), 2)));
        out = cx.mul(&out, cx.silu(self.z));
        (out, state)
    }
}

/// One token after others.
pub(super) struct Step<'a> {
    /// `[batch, channels, state]`, written over.
    pub(super) state: &'a Tensor,
    /// `[batch, channels]`
    pub(super) x: &'a Tensor,
    /// `[batch, channels]`
    pub(super) dt: &'a Tensor,
    /// `[channels, state]`
    pub(super) a: &'a Tensor,
    /// `[batch, state]`
    pub(super) b: &'a Tensor,
    /// `[batch, state]`
    pub(super) c: &'a Tensor,
    /// `[channels]`
    pub(super) d: &'a Tensor,
    /// The gate, `[batch, channels]`.
    pub(super) z: &'a Tensor,
    /// Bias of the time steps.
    pub(super) bias: Option<&'a Tensor>,
}

impl Step<'_> {
    /// The output, `[batch, channels]`.
    pub(super) fn run(&self, cx: &Context) -> Tensor {
        let fp32 = |t: &Tensor| cx.cast(t, DType::F32);
        let dt = time_steps(cx, self.dt, self.bias.map(|bias| cx.cast(bias, self.dt.dtype())));
        let d_a = cx.exp(cx.mul(cx.unsqueeze(fp32(&dt), 2), fp32(self.a)));
        let d_b = cx.mul(cx.unsqueeze(fp32(&dt), 2), cx.unsqueeze(fp32(self.b), 1));
        let d_bx = cx.mul(&d_b, cx.unsqueeze(fp32(self.x), 2));
        let state = cx.add(cx.mul(fp32(self.state), &d_a), &d_bx);
        drop(cx.cast(&state, self.state.dtype()));
        let mut out = cx.select(cx.matmul(cx.cast(&state, self.c.dtype()), cx.unsqueeze(self.c, 2)), 2);
        out = cx.add(&out, cx.mul(self.x, self.d));
        out = cx.mul(&out, cx.silu(self.z));
        cx.cast(&out, self.x.dtype())
    }
}

/// `softplus(dt + bias)`
pub(super) fn time_steps(cx: &Context, dt: &Tensor, bias: Option<Tensor>) -> Tensor {
    let mut dt = dt.clone();
    if let Some(bias) = bias {
        dt = cx.add(&dt, bias);
    }
    dt = cx.softplus(&dt);
    dt
}

/// `apply_mask_to_padding_states`
pub(super) fn without_padding(cx: &Context, states: &Tensor, padding: Option<&Tensor>) -> Tensor {
    match padding {
        Some(padding) => cx.cast(cx.mul(states, cx.unsqueeze(padding, 2)), states.dtype()),
        None => states.clone(),
    }
}

/// `FalconMambaWeightlessRMSNorm`
pub(super) fn weightless_norm(cx: &Context, x: &Tensor) -> Tensor {
    let x32 = cx.cast(x, DType::F32);
    let variance = cx.mean_last(cx.pow(&x32, 2));
    let normed = cx.mul(&x32, cx.rsqrt(cx.add_scalar(variance, 1e-6)));
    cx.cast(normed, x.dtype())
}
