//! `scaled_dot_product_attention`: which kernel PyTorch picks on compute capability 8.x, and what each keeps.

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

/// A fused attention kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttentionKernel {
    /// FlashAttention-2: half types, no mask, heads up to 256 wide.
    Flash,
    /// Memory-efficient attention (CUTLASS): any type, masks, no grouped heads.
    Efficient,
    /// Written out in matrix products.
    Math,
}

/// How attention is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionOptions {
    /// A causal mask is part of the kernel (`is_causal`).
    pub causal: bool,
    /// Key and value heads are shared by groups of query heads (`enable_gqa`).
    pub grouped: bool,
    /// Whether attention probabilities are dropped out.
    pub dropout: bool,
}

impl AttentionKernel {
    /// The kernel `torch.nn.functional.scaled_dot_product_attention` takes (`sdp_utils.cpp`).
    pub fn choose(query: &Tensor, mask: Option<&Tensor>, options: AttentionOptions) -> Self {
        let half = matches!(query.dtype(), DType::F16 | DType::BF16);
        if half && mask.is_none() && query.dim(-1) <= 256 {
            Self::Flash
        } else if !options.grouped {
            Self::Efficient
        } else {
            Self::Math
        }
    }
}

impl Context {
    /// `scaled_dot_product_attention(query, key, value, mask)`, each `[batch, heads, length, head_dim]`.
    pub fn attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        options: AttentionOptions,
    ) -> Tensor {
        let (cast_q, cast_k, cast_v);
        let (query, key, value) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_q = self.autocast_to(query, dtype);
                cast_k = self.autocast_to(key, dtype);
                cast_v = self.autocast_to(value, dtype);
                (&cast_q, &cast_k, &cast_v)
            }
            None => (query, key, value),
        };
        match AttentionKernel::choose(query, mask, options) {
            AttentionKernel::Flash => self.flash_attention(query, key, value),
            AttentionKernel::Efficient => self.efficient_attention(query, key, value, mask),
            AttentionKernel::Math => self.math_attention(query, key, value, mask, options),
        }
    }

    /// An output of `[batch, heads, length, width]` laid out as `[batch, length, heads, width]`.
    fn heads_last(dims: &[u64], width: u64) -> Layout {
        Layout::contiguous(&[dims[0], dims[2], dims[1], width]).transpose(1, 2)
    }

    fn flash_attention(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
        let saved = [Some(query), Some(key), Some(value)];
        let node = self.record(&[query, key, value], &saved);
        let kernel = Kernel::Attention;
        let inputs = [query, key, value];
        let [batch, heads, length, width] = [query.dim(0), query.dim(1), query.dim(2), query.dim(3)];
        // outputs and gradients are made with `empty_like`
        let mut out = self.launch(kernel("flash"), &inputs, Layout::elementwise(&[query.layout()]), query.dtype());
        let statistics = Layout::contiguous(&[batch, heads, length]);
        let logsumexp = self.launch(kernel("logsumexp"), &inputs, statistics, DType::F32);
        let seed = self.launch(kernel("seed"), &[], Layout::contiguous(&[2]), DType::I64);
        let offset = self.launch(kernel("offset"), &[], Layout::contiguous(&[]), DType::I64);
        if let Some(mut node) = node {
            for kept in [&out, &logsumexp, &seed, &offset] {
                node.save_output(self, kept);
            }
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let saved = [incoming.saved(0), incoming.saved(1), incoming.saved(2)];
                let [query, key, value] = saved;
                let kernel = Kernel::AttentionBackward;
                let copied;
                // the kernel wants [batch, length, heads, width] with the last dimension dense
                let _grad = if grad.layout().strides().last() == Some(&1) {
                    grad
                } else {
                    copied = cx.copy(grad);
                    &copied
                };
                let like =
                    |t: &Tensor, what| cx.launch(kernel(what), &saved, Layout::elementwise(&[t.layout()]), t.dtype());
                let dq = like(query, "query");
                let dk = like(key, "key");
                let dv = like(value, "value");
                let rounded = length.next_multiple_of(128);
                let rounded_width = width.next_multiple_of(if width > 128 { 64 } else { 32 });
                let _delta =
                    cx.launch(kernel("delta"), &saved, Layout::contiguous(&[batch, heads, rounded]), DType::F32);
                let _dq_sum = cx.launch(
                    kernel("query sum"),
                    &saved,
                    Layout::contiguous(&[batch, rounded, heads, rounded_width]),
                    DType::F32,
                );
                let _expanded = (key.dim(1) != heads).then(|| {
                    let expanded = |t: &Tensor| {
                        let layout = Layout::contiguous(&[batch, t.dim(2), heads, t.dim(3)]);
                        cx.launch(kernel("expanded"), &saved, layout, t.dtype())
                    };
                    (expanded(key), expanded(value))
                });
                smallvec![Some(dq), Some(dk), Some(dv)]
            });
        }
        out
    }

    fn efficient_attention(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let saved = [Some(query), Some(key), Some(value), mask];
        let node = self.record(&[query, key, value], &saved);
        let kernel = Kernel::Attention;
        let inputs = [query, key, value];
        let [batch, heads, length] = [query.dim(0), query.dim(1), query.dim(2)];
        let mut out =
            self.launch(kernel("efficient"), &inputs, Self::heads_last(query.dims(), value.dim(3)), query.dtype());
        let rows = if node.is_some() { length.next_multiple_of(32) } else { 0 };
        let logsumexp =
            self.launch(kernel("logsumexp"), &inputs, Layout::contiguous(&[batch, heads, rows]), DType::F32);
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.save_output(self, &logsumexp);
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let saved = [incoming.saved(0), incoming.saved(1), incoming.saved(2)];
                let kernel = Kernel::AttentionBackward;
                let like =
                    |t: &Tensor, what| cx.launch(kernel(what), &saved, Self::heads_last(t.dims(), t.dim(3)), t.dtype());
                let dq = like(saved[0], "query");
                let dk = like(saved[1], "key");
                let dv = like(saved[2], "value");
                let _delta =
                    cx.launch(kernel("delta"), &saved, Layout::contiguous(&[batch, heads, length]), DType::F32);
                smallvec![Some(dq), Some(dk), Some(dv)]
            });
        }
        out
    }

    fn math_attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _mask: Option<&Tensor>,
        _options: AttentionOptions,
    ) -> Tensor {
        let scores = self.matmul(query, self.transpose(key, -1, -2));
        let probabilities = self.softmax(scores, query.dtype());
        self.matmul(probabilities, value)
    }
}
