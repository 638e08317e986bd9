//! What a reduction over a large tensor needs for a moment: PyTorch's `gpu_reduce_kernel` lets several thread blocks share
//! a result, and they meet in global memory (`aten/src/ATen/native/cuda/Reduce.cuh`, torch 2.11).

use super::context::{Context, MULTIPROCESSORS};

/// `mnt_wrapper::MAX_NUM_THREADS`.
const MAX_THREADS: u64 = 512;
/// `at::cuda::warp_size`.
const WARP: u64 = 32;
/// `cudaDeviceProp::maxThreadsPerMultiProcessor` on compute capability 8.0 and 9.0.
const THREADS_PER_MULTIPROCESSOR: u64 = 2048;
/// `min_values_per_thread` of `setReduceConfig`.
const MIN_VALUES_PER_THREAD: u64 = 16;
/// `max_values_per_thread` of `setReduceConfig`.
const MAX_VALUES_PER_THREAD: u64 = 256;
/// `vt0`: values a thread loads at once.
const VECTOR: u64 = 4;
/// Results are accumulated in fp32.
const ACCUMULATOR: u64 = 4;
/// Kernels index with 32 bits; larger tensors are reduced part by part (`TensorIterator::can_use_32bit_indexing`).
const MAX_OFFSET: u64 = i32::MAX as u64;

/// A reduction of a contiguous fp32 tensor, seen as `outer × reduced × inner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reduction {
    outer: u64,
    reduced: u64,
    inner: u64,
}

/// Global memory the thread blocks of a reduction share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shared {
    staging: u64,
    semaphores: u64,
}

impl Reduction {
    /// All elements to one.
    pub(crate) const fn all(numel: u64) -> Self {
        Self { outer: 1, reduced: numel, inner: 1 }
    }

    /// Over the last dimension.
    pub(crate) fn last(dims: &[u64]) -> Self {
        let (reduced, outer) = dims.split_last().map_or((1, &[][..]), |(last, rest)| (*last, rest));
        Self { outer: outer.iter().product(), reduced, inner: 1 }
    }

    /// Over the dimension before the last.
    pub(crate) fn second_last(dims: &[u64]) -> Self {
        let (inner, rest) = dims.split_last().map_or((1, &[][..]), |(last, rest)| (*last, rest));
        Self { inner, ..Self::last(rest) }
    }

    /// Charges and releases what its kernels need.
    pub(crate) fn run(self, cx: &Context) {
        if let Some((first, second)) = self.halves() {
            first.run(cx);
            second.run(cx);
        } else if let Some(shared) = self.shared() {
            let staging = cx.scratch("partial results", shared.staging);
            let semaphores = cx.scratch("semaphores", shared.semaphores);
            drop(semaphores);
            drop(staging);
        }
    }

    /// `SplitUntil32Bit`: halves of the dimension that reaches furthest.
    fn halves(self) -> Option<(Self, Self)> {
        let numel = self.outer.saturating_mul(self.reduced).saturating_mul(self.inner);
        if numel.saturating_sub(1).saturating_mul(4) < MAX_OFFSET {
            return None;
        }
        let half = |n: u64| (n / 2, n - n / 2);
        let (first, second) = if self.outer > 1 {
            let (first, second) = half(self.outer);
            (Self { outer: first, ..self }, Self { outer: second, ..self })
        } else if self.reduced > 1 {
            let (first, second) = half(self.reduced);
            (Self { reduced: first, ..self }, Self { reduced: second, ..self })
        } else {
            let (first, second) = half(self.inner);
            (Self { inner: first, ..self }, Self { inner: second, ..self })
        };
        Some((first, second))
    }

    /// `setReduceConfig`: how threads and blocks divide the work; `None` where one block does for a result.
    fn shared(self) -> Option<Shared> {
        let outputs = self.outer * self.inner;
        if outputs == 0 || self.reduced == 0 {
            return None;
        }
        let along_rows = self.inner == 1;
        let mut output_vector = 1;
        let (across, along) = if along_rows {
            let vectorised = self.reduced >= 128;
            (if vectorised { self.reduced / VECTOR } else { self.reduced }, outputs)
        } else {
            output_vector = [4, 2, 1].into_iter().find(|v| self.inner.is_multiple_of(*v)).unwrap_or(1);
            (outputs / output_vector, self.reduced)
        };
        let (width, height) = block(MAX_THREADS / output_vector, across, along);
        let (mut step_input, mut step_output) = if along_rows { (width, 1) } else { (1, width) };
        let values_per_thread = |step: u64| self.reduced.div_ceil(step);
        let across_warps = values_per_thread(step_input) >= (height * 16).min(MAX_VALUES_PER_THREAD);
        if across_warps {
            step_input *= height;
        } else {
            step_output *= height;
        }
        let grid = (outputs / output_vector).div_ceil(step_output);
        let target = MULTIPROCESSORS * (THREADS_PER_MULTIPROCESSOR / (width * height));
        let values = values_per_thread(step_input);
        if !across_warps || values < MAX_VALUES_PER_THREAD || grid > target {
            return None;
        }
        let blocks = target
            .div_ceil(grid)
            .min(values.div_ceil(MIN_VALUES_PER_THREAD))
            .max(values.div_ceil(MAX_VALUES_PER_THREAD));
        let columns = if along_rows { 1 } else { width * output_vector };
        (blocks > 1).then_some(Shared { staging: ACCUMULATOR * outputs * blocks * columns, semaphores: 4 * grid })
    }
}

/// `ReduceConfig::set_block_dimension`.
fn block(max_threads: u64, across: u64, along: u64) -> (u64, u64) {
    let power = |n: u64| if n < max_threads { 1 << n.max(1).ilog2() } else { max_threads };
    let (across, along) = (power(across), power(along));
    let height = along.min(max_threads / across.min(WARP));
    (across.min(max_threads / height), height)
}

#[cfg(test)]
mod tests {
    use super::{Reduction, Shared};

    /// What torch 2.11 allocates on a card with 132 multiprocessors.
    #[test]
    fn buffers_are_those_of_pytorch() {
        let shared = |staging, semaphores| Some(Shared { staging, semaphores });
        assert_eq!(Reduction::all(32_000 * 2048).shared(), shared(2112, 4));
        assert_eq!(Reduction::all(2048 * 2048).shared(), shared(2048, 4));
        assert_eq!(Reduction::all(256 * 2048).shared(), shared(256, 4));
        assert_eq!(Reduction::all(32_000).shared(), None);
        assert_eq!(Reduction::last(&[32_000, 2048]).shared(), None);
        assert_eq!(Reduction::second_last(&[32_000, 2048]).shared(), shared(138_412_032, 64));
        assert_eq!(Reduction::second_last(&[2048, 2048]).shared(), shared(33_554_432, 64));
        assert_eq!(Reduction::second_last(&[256, 2048]).shared(), None);
    }

    #[test]
    fn halves_until_offsets_fit_in_32_bits() {
        assert_eq!(Reduction::all(1 << 29).halves(), None);
        let (first, second) = Reduction::all((1 << 29) + 1).halves().unwrap();
        assert_eq!((first.reduced, second.reduced), (1 << 28, (1 << 28) + 1));
        let (first, second) = Reduction::last(&[128_257, 8192]).halves().unwrap();
        assert_eq!((first.outer, second.outer), (64_128, 64_129));
    }
}
