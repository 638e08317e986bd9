//! LoKr, as PEFT 0.21 computes it (`peft/tuners/lokr`).

use smallvec::SmallVec;

use super::adapter::{Adapter, parameter};
use super::delta;
use super::linear::Linear;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// What adapters are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoKrSpec {
    /// Rank of decomposed factors.
    pub r: u64,
    /// Whether the left factor is decomposed too.
    pub decompose_both: bool,
    /// What one factor of each size is to be near; `None`: near the square root.
    pub decompose_factor: Option<u64>,
    /// Dropout of the update's rows.
    pub rank_dropout: f64,
    /// Whether what was not dropped is scaled.
    pub rank_dropout_scale: bool,
}

/// A factor of the Kronecker product.
enum Factor {
    Whole(Tensor),
    /// A low-rank product.
    Decomposed([Tensor; 2]),
}

/// Two matrices whose Kronecker product is a layer's update.
pub struct LoKr {
    left: Factor,
    right: Factor,
    spec: LoKrSpec,
}

impl LoKr {
    /// An adapter for `base`.
    pub fn new(cx: &Context, base: &Linear, spec: LoKrSpec) -> Self {
        let (in_m, in_n) = factorization(base.in_features, spec.decompose_factor);
        let (out_l, out_k) = factorization(base.out_features, spec.decompose_factor);
        let whole = |rows: u64, columns: u64| spec.r.saturating_mul(2) >= rows.max(columns);
        let factor = |whole, names: [&'static str; 3], rows, columns| {
            let make = |name, dims: &[u64]| parameter(cx, base, name, dims);
            if whole {
                Factor::Whole(make(names[0], &[rows, columns]))
            } else {
                Factor::Decomposed([make(names[1], &[rows, spec.r]), make(names[2], &[spec.r, columns])])
            }
        };
        let left_whole = !spec.decompose_both || whole(out_l, in_m);
        Self {
            left: factor(left_whole, ["lokr_w1", "lokr_w1_a", "lokr_w1_b"], out_l, in_m),
            right: factor(whole(out_k, in_n), ["lokr_w2", "lokr_w2_a", "lokr_w2_b"], out_k, in_n),
            spec,
        }
    }

    /// `get_delta_weight`
    fn weight(&self, cx: &Context, base: &Linear) -> Tensor {
        let (left, right) = (self.left.matrix(cx), self.right.matrix(cx));
        let product = {
            // `torch.kron`: a product of views
            let [rows, columns] = [left.dim(0), left.dim(1)];
            let [inner_rows, inner_columns] = [right.dim(0), right.dim(1)];
            let left = cx.reshape(&left, &[rows, 1, columns, 1]);
            let right = cx.reshape(&right, &[1, inner_rows, 1, inner_columns]);
            cx.reshape(cx.mul(left, right), &[rows * inner_rows, columns * inner_columns])
        };
        let weight = cx.mul_scalar(&product, 1.0);
        drop((product, left, right));
        debug_assert_eq!(weight.dims(), [base.out_features, base.in_features]);
        delta::row_dropout(cx, weight, self.spec.rank_dropout, DType::F32, self.spec.rank_dropout_scale)
    }
}

impl Factor {
    fn matrix(&self, cx: &Context) -> Tensor {
        match self {
            Self::Whole(matrix) => matrix.clone(),
            Self::Decomposed([a, b]) => cx.mm(a, b),
        }
    }

    fn parameters(&self) -> &[Tensor] {
        match self {
            Self::Whole(matrix) => std::slice::from_ref(matrix),
            Self::Decomposed(factors) => factors,
        }
    }

    fn parameters_mut(&mut self) -> &mut [Tensor] {
        match self {
            Self::Whole(matrix) => std::slice::from_mut(matrix),
            Self::Decomposed(factors) => factors,
        }
    }
}

impl Adapter for LoKr {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        delta::beside(cx, base, x, || self.weight(cx, base))
    }

    fn parameters(&self) -> SmallVec<[&Tensor; 4]> {
        self.left.parameters().iter().chain(self.right.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        self.left.parameters_mut().iter_mut().chain(self.right.parameters_mut()).collect()
    }
}

/// `factorization`: two numbers, the smaller first, whose product is `dimension` (`peft/tuners/lokr/layer.py`).
fn factorization(dimension: u64, factor: Option<u64>) -> (u64, u64) {
    if let Some(factor) = factor.filter(|&factor| factor > 0 && dimension.is_multiple_of(factor)) {
        return (factor, dimension / factor);
    }
    let most = factor.unwrap_or(dimension);
    // the sum of two divisors only shrinks towards the square root, so that what is found is the last divisor up to it
    let root = dimension.isqrt().min(most);
    let small = (1..=root).rev().find(|&m| dimension.is_multiple_of(m)).unwrap_or(1);
    (small, dimension / small)
}

#[cfg(test)]
mod tests {
    use super::factorization;

    #[test]
    fn factorizations_are_those_of_pefts_documentation() {
        assert_eq!(factorization(256, None), (16, 16));
        assert_eq!(factorization(128, None), (8, 16));
        assert_eq!(factorization(127, None), (1, 127));
        assert_eq!(factorization(128, Some(4)), (4, 32));
    }
}
