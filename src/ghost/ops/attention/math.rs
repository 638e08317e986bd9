//! Attention in matrix products (`_scaled_dot_product_attention_math`, torch 2.11).

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

use super::AttentionOptions;

/// What is dropped out makes no difference to memory.
const ANY_DROPOUT: f64 = 0.5;

impl Context {
    /// Queries and keys are both scaled; scores and probabilities are whole tensors.
    pub(super) fn math_attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        bias: Option<Tensor>,
        options: AttentionOptions,
    ) -> Tensor {
        // half types are multiplied in fp32
        let dtype = query.dtype();
        let exact =
            |x: &Tensor| self.cast(x, if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype });
        let (query_exact, key, value) = (exact(query), exact(key), exact(value));
        // half of the scale goes to either factor
        #[expect(clippy::cast_precision_loss, reason = "a head's width")]
        let scale = (query_exact.dim(-1) as f64).powf(-0.25);
        let query = self.mul_scalar(&query_exact, scale);
        let bias = if options.causal { Some(self.causal_bias(query.dim(2), key.dim(2), query.dtype())) } else { bias };
        let groups = if options.grouped { query.dim(1) / key.dim(1) } else { 1 };
        let key = self.repeat_heads(&key, groups);
        let value = self.repeat_heads(&value, groups);
        let mut probabilities = {
            let scaled = self.mul_scalar(self.transpose(&key, -2, -1), scale);
            let mut scores = self.matmul(&query, scaled);
            match &bias {
                Some(bias) if bias.requires_grad() => scores = self.add_in_place(scores, bias),
                Some(bias) => self.update(Kernel::Add, &scores, &[bias]),
                None => {}
            }
            self.safe_softmax(scores)
        };
        if options.dropout {
            probabilities = self.dropout(&probabilities, ANY_DROPOUT);
        }
        // they are returned too, and let go of
        let _probabilities = self.cast(&probabilities, dtype);
        self.cast(self.matmul(&probabilities, &value), dtype)
    }

    /// `ones(rows, columns).tril()` as an additive mask.
    fn causal_bias(&self, rows: u64, columns: u64, dtype: DType) -> Tensor {
        let layout = Layout::contiguous(&[rows, columns]);
        let lower = {
            let ones = self.launch(Kernel::Ones, &[], layout, DType::Bool);
            self.launch(Kernel::Unary("tril"), &[&ones], layout, DType::Bool)
        };
        self.attention_bias(&lower, dtype, false)
    }

    /// `repeat_interleave` of the heads; backward sums the copies.
    fn repeat_heads(&self, x: &Tensor, groups: u64) -> Tensor {
        if groups == 1 {
            return x.clone();
        }
        let [batch, heads, length, width] = [x.dim(0), x.dim(1), x.dim(2), x.dim(3)];
        let expanded = self.expand(self.unsqueeze(x, 2), &[batch, heads, groups, length, width]);
        self.reshape(self.copy(&expanded), &[batch, heads * groups, length, width])
    }

    /// `_safe_softmax`: rows that are wholly masked give zeros; finding them takes a byte an element.
    fn safe_softmax(&self, scores: Tensor) -> Tensor {
        let dtype = scores.dtype();
        let out = self.softmax(&scores, dtype);
        {
            let masked = self.launch(Kernel::Unary("eq"), &[&scores], Layout::contiguous(scores.dims()), DType::Bool);
            let rows = Layout::contiguous(scores.layout().narrow(-1, 1).dims());
            let _masked_rows = self.launch(Kernel::Unary("all"), &[&masked], rows, DType::Bool);
            let _zero = self.launch(Kernel::Zeros, &[], Layout::contiguous(&[]), dtype);
        }
        out
    }
}
