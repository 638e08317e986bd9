//! Shapes with strides: where PyTorch copies and where it only looks differently at the same bytes is decided by them.

use std::fmt;

/// Most dimensions a tensor of any supported model has.
pub const MAX_RANK: usize = 6;

/// A tensor's sizes and strides, in elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    rank: usize,
    dims: [u64; MAX_RANK],
    strides: [u64; MAX_RANK],
}

impl Layout {
    /// A contiguous layout of the given sizes.
    ///
    /// # Panics
    /// More than [`MAX_RANK`] dimensions are given: a mistake in model code, never an effect of input.
    pub fn contiguous(dims: &[u64]) -> Self {
        assert!(dims.len() <= MAX_RANK, "a layout has at most {MAX_RANK} dimensions");
        let mut layout = Self { rank: dims.len(), dims: [1; MAX_RANK], strides: [1; MAX_RANK] };
        layout.dims[..dims.len()].copy_from_slice(dims);
        let mut stride = 1_u64;
        for i in (0..dims.len()).rev() {
            layout.strides[i] = stride;
            stride = stride.saturating_mul(dims[i].max(1));
        }
        layout
    }

    /// The sizes.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.rank]
    }

    /// The strides, in elements.
    pub fn strides(&self) -> &[u64] {
        &self.strides[..self.rank]
    }

    /// Number of dimensions.
    pub const fn rank(&self) -> usize {
        self.rank
    }

    /// Size of a dimension; negative counts from the end.
    ///
    /// # Panics
    /// There is no such dimension.
    pub fn dim(&self, index: isize) -> u64 {
        self.dims[self.axis(index)]
    }

    /// Number of elements; saturates (the ledger refuses such a tensor).
    pub fn numel(&self) -> u64 {
        self.dims().iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// A dimension counted from the front.
    ///
    /// # Panics
    /// There is no such dimension.
    pub fn axis_of(&self, index: isize) -> usize {
        self.axis(index)
    }

    fn axis(&self, index: isize) -> usize {
        let axis = if index < 0 { self.rank.checked_add_signed(index) } else { index.try_into().ok() };
        match axis {
            Some(axis) if axis < self.rank => axis,
            _ => panic!("dimension {index} of {self:?}"),
        }
    }

    /// Whether elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1_u64;
        for i in (0..self.rank).rev() {
            if self.dims[i] != 1 {
                if self.strides[i] != expected {
                    return false;
                }
                expected = expected.saturating_mul(self.dims[i]);
            }
        }
        true
    }

    /// Whether it covers its elements once each and without gaps, in whatever order.
    pub fn is_dense(&self) -> bool {
        if self.is_contiguous() {
            return true;
        }
        let mut order: [usize; MAX_RANK] = [0, 1, 2, 3, 4, 5];
        let order = &mut order[..self.rank];
        order.sort_unstable_by_key(|&i| (self.dims[i] != 1, self.strides[i]));
        let mut expected = 1_u64;
        for &i in order.iter() {
            if self.dims[i] != 1 {
                if self.strides[i] != expected {
                    return false;
                }
                expected = expected.saturating_mul(self.dims[i]);
            }
        }
        true
    }

    /// With two dimensions exchanged.
    #[must_use]
    pub fn transpose(mut self, a: isize, b: isize) -> Self {
        let (a, b) = (self.axis(a), self.axis(b));
        self.dims.swap(a, b);
        self.strides.swap(a, b);
        self
    }

    /// With a dimension cut to `len` elements.
    #[must_use]
    pub fn narrow(mut self, dim: isize, len: u64) -> Self {
        let axis = self.axis(dim);
        self.dims[axis] = len;
        self
    }

    /// With a dimension of one element put in before `axis`.
    #[must_use]
    pub fn unsqueeze(self, axis: usize) -> Self {
        assert!(self.rank < MAX_RANK && axis <= self.rank, "unsqueeze {axis} of {self:?}");
        let mut out = Self { rank: self.rank + 1, ..self };
        out.dims[axis + 1..=self.rank].copy_from_slice(&self.dims[axis..self.rank]);
        out.strides[axis + 1..=self.rank].copy_from_slice(&self.strides[axis..self.rank]);
        out.dims[axis] = 1;
        out.strides[axis] = if axis < self.rank { self.dims[axis].saturating_mul(self.strides[axis]) } else { 1 };
        out
    }

    /// With a dimension taken out, as indexing with one number does.
    #[must_use]
    pub fn select(self, dim: isize) -> Self {
        let axis = self.axis(dim);
        let mut out = Self { rank: self.rank - 1, ..self };
        for i in axis..out.rank {
            out.dims[i] = self.dims[i + 1];
            out.strides[i] = self.strides[i + 1];
        }
        out.dims[out.rank] = 1;
        out.strides[out.rank] = 1;
        out
    }

    /// With dimensions of size one stretched to `dims` without copying.
    #[must_use]
    pub fn expand(self, dims: &[u64]) -> Self {
        let mut out = Self::contiguous(dims);
        let lead = dims.len() - self.rank;
        for (i, &dim) in dims.iter().enumerate() {
            out.strides[i] = match i.checked_sub(lead) {
                Some(from) if self.dims[from] == dim => self.strides[from],
                _ => 0,
            };
        }
        out
    }

    /// The same elements under other sizes, where that needs no copy (`Tensor.view`).
    pub fn view(&self, dims: &[u64]) -> Option<Self> {
        let mut out = Self::contiguous(dims);
        if self.is_contiguous() {
            return Some(out);
        }
        let numel = self.numel();
        let mut view_d = dims.len();
        let mut chunk_base_stride = self.strides[self.rank - 1];
        let (mut tensor_numel, mut view_numel) = (1_u64, 1_u64);
        for d in (0..self.rank).rev() {
            tensor_numel *= self.dims[d];
            let chunk_ends =
                d == 0 || (self.dims[d - 1] != 1 && self.strides[d - 1] != tensor_numel * chunk_base_stride);
            if chunk_ends {
                while view_d > 0 && (view_numel < tensor_numel || dims[view_d - 1] == 1) {
                    view_d -= 1;
                    out.strides[view_d] = view_numel * chunk_base_stride;
                    view_numel *= dims[view_d];
                }
                if view_numel != tensor_numel {
                    return None;
                }
                if d > 0 {
                    chunk_base_stride = self.strides[d - 1];
                    tensor_numel = 1;
                    view_numel = 1;
                }
            }
        }
        (view_d == 0 && numel == out.numel()).then_some(out)
    }

    /// The sizes `self` and `other` broadcast to.
    pub fn broadcast(&self, other: &Self) -> Self {
        let rank = self.rank.max(other.rank);
        let mut dims = [1; MAX_RANK];
        for (i, dim) in dims[..rank].iter_mut().enumerate() {
            let of = |l: &Self| (i + l.rank).checked_sub(rank).map_or(1, |j| l.dims[j]);
            *dim = of(self).max(of(other));
        }
        Self::contiguous(&dims[..rank])
    }

    /// The layout `TensorIterator` gives a new output of an elementwise operation on these inputs: the inputs' order of
    /// dimensions is kept where they agree on one.
    pub fn elementwise(inputs: &[&Self]) -> Self {
        let first = inputs[0];
        if inputs.iter().all(|l| l.is_contiguous() && l.dims() == first.dims()) {
            return Self::contiguous(first.dims());
        }
        if first.is_dense() && inputs.iter().all(|l| *l == first) {
            return *first;
        }
        let shape = inputs.iter().skip(1).fold(*first, |shape, l| shape.broadcast(l));
        let rank = shape.rank;
        let strides = |l: &Self, d: usize| match (d + l.rank).checked_sub(rank) {
            Some(j) if l.dims[j] == shape.dims[d] && l.dims[j] != 1 => l.strides[j],
            _ => 0,
        };
        let compare = |a: usize, b: usize| {
            for l in inputs {
                let (sa, sb) = (strides(l, a), strides(l, b));
                if sa == 0 || sb == 0 {
                    continue;
                }
                if sa != sb {
                    return if sa < sb { -1 } else { 1 };
                }
                if shape.dims[a] > shape.dims[b] {
                    return 1;
                }
            }
            0
        };
        let mut perm = [0; MAX_RANK];
        for (i, p) in perm[..rank].iter_mut().enumerate() {
            *p = rank - 1 - i;
        }
        for i in 1..rank {
            let mut at = i;
            for j in (0..i).rev() {
                match compare(perm[j], perm[at]) {
                    1 => {
                        perm.swap(j, at);
                        at = j;
                    }
                    -1 => break,
                    _ => {}
                }
            }
        }
        let mut out = Self::contiguous(shape.dims());
        let mut stride = 1_u64;
        for &axis in &perm[..rank] {
            out.strides[axis] = stride;
            stride = stride.saturating_mul(shape.dims[axis]);
        }
        out
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.dims(), self.strides())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_heads_keep_their_order_through_elementwise_operations() {
        let heads = Layout::contiguous(&[2, 5, 4, 8]).transpose(1, 2);
        let cos = Layout::contiguous(&[2, 1, 5, 8]);
        assert_eq!(Layout::elementwise(&[&heads, &cos]), heads);
        assert!(!heads.is_contiguous() && heads.is_dense());
    }

    #[test]
    fn a_view_that_would_mix_strides_is_refused() {
        let heads = Layout::contiguous(&[2, 5, 4, 8]).transpose(1, 2);
        assert_eq!(heads.view(&[8, 5, 8]), None);
        assert_eq!(Layout::contiguous(&[1, 5, 4, 8]).transpose(1, 2).view(&[4, 5, 8]).map(|l| l.numel()), Some(160));
        assert_eq!(Layout::contiguous(&[2, 5, 32]).view(&[10, 4, 8]), Some(Layout::contiguous(&[10, 4, 8])));
    }

    #[test]
    fn expanded_dimensions_are_not_dense() {
        let kv = Layout::contiguous(&[2, 4, 1, 5, 8]).expand(&[2, 4, 3, 5, 8]);
        assert!(!kv.is_dense());
        assert_eq!(kv.view(&[2, 12, 5, 8]), None);
    }
}
