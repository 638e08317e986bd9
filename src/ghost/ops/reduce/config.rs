//! How `gpu_reduce_kernel` spreads a reduction over threads (`aten/src/ATen/native/cuda/Reduce.cuh`, torch 2.11), for what
//! it needs when several blocks work on one output: partial results and a semaphore for every column of blocks.

use smallvec::SmallVec;

use crate::ghost::context::MULTIPROCESSORS;
use crate::ghost::layout::Layout;

/// `maxThreadsPerMultiProcessor` of every data-centre card.
const THREADS_PER_MULTIPROCESSOR: u64 = 2048;
const WARP: u64 = 32;
/// `mnt_wrapper::MAX_NUM_THREADS`
const MAX_THREADS: u64 = 512;
/// `vt0` and `input_vec_size` of sums and means.
const INPUT_VECTOR: u64 = 4;
const MIN_VALUES_PER_THREAD: u64 = 16;
const MAX_VALUES_PER_THREAD: u64 = 256;

/// One dimension of an iteration, strides in elements.
#[derive(Clone, Copy)]
struct Dim {
    size: u64,
    input: u64,
    /// Zero where the dimension is reduced.
    output: u64,
}

/// A reduction as `TensorIterator` sees it: reduced dimensions first, then by stride, neighbours merged.
#[derive(Clone)]
pub(super) struct Reduction {
    dims: SmallVec<[Dim; 6]>,
    element: u64,
}

impl Reduction {
    /// Of `from` to `to`, whose sizes are those of `from` or 1, aligned at the last dimension.
    pub(super) fn new(from: &Layout, to: &Layout, element: u64) -> Self {
        let lead = from.rank() - to.rank().min(from.rank());
        let kept = |i: usize| i.checked_sub(lead).map_or(1, |j| to.dims()[j]);
        let mut dims: SmallVec<[Dim; 6]> = SmallVec::new();
        let mut output = 1;
        for i in (0..from.rank()).rev() {
            let (size, input) = (from.dims()[i], from.strides()[i]);
            let reduced = kept(i) != size;
            if size != 1 {
                dims.push(Dim { size, input, output: if reduced { 0 } else { output } });
            }
            output *= kept(i);
        }
        dims.sort_by_key(|d| (d.output != 0, d.input));
        let mut merged: SmallVec<[Dim; 6]> = SmallVec::new();
        for dim in dims {
            match merged.last_mut() {
                Some(last)
                    if last.size * last.input == dim.input
                        && last.size * last.output == dim.output
                        && (last.output == 0) == (dim.output == 0) =>
                {
                    last.size *= dim.size;
                }
                _ => merged.push(dim),
            }
        }
        Self { dims: merged, element }
    }

    fn outputs(&self) -> u64 {
        self.dims.iter().filter(|d| d.output != 0).map(|d| d.size).product()
    }

    fn reduced_dims(&self) -> usize {
        self.dims.iter().filter(|d| d.output == 0).count()
    }

    /// Whether 32-bit offsets reach every element; where not, the reduction is split in halves.
    pub(super) fn fits_32_bits(&self) -> bool {
        let reach = |stride: fn(&Dim) -> u64| {
            let furthest: u64 = self.dims.iter().map(|d| (d.size - 1) * stride(d)).sum();
            1 + furthest * self.element
        };
        let limit = u64::from(u32::MAX >> 1);
        let numel: u64 = self.dims.iter().map(|d| d.size).product();
        numel <= limit && reach(|d| d.input) <= limit && reach(|d| d.output) <= limit
    }

    /// The two halves of the dimension that reaches furthest.
    pub(super) fn halves(&self) -> [Self; 2] {
        let extent = |d: &Dim| (d.size - 1) * d.input.max(d.output);
        let mut widest = 0;
        for i in 0..self.dims.len() {
            if extent(&self.dims[i]) >= extent(&self.dims[widest]) {
                widest = i;
            }
        }
        let with = |size| {
            let mut half = self.clone();
            half.dims[widest].size = size;
            half
        };
        let first = self.dims[widest].size / 2;
        [with(first), with(self.dims[widest].size - first)]
    }

    /// Bytes of partial results and of semaphores, where blocks share outputs (`setReduceConfig`).
    pub(super) fn scratch(&self, accumulator: u64) -> Option<[u64; 2]> {
        let outputs = self.outputs();
        let inputs = self.dims.iter().map(|d| d.size).product::<u64>() / outputs;
        let reduced = self.reduced_dims();
        let fastest = reduced == self.dims.len() || self.dims[0].input < self.dims[reduced].input;
        let (mut dim0, dim1) = if fastest { (inputs, outputs) } else { (outputs, inputs) };
        let unit_stride = self.dims.get(if fastest { 0 } else { reduced }).is_none_or(|d| d.input == 1);
        let mut output_vector = 1;
        if unit_stride && fastest && dim0 >= 128 && reduced == 1 {
            dim0 /= INPUT_VECTOR;
        } else if unit_stride && !fastest {
            output_vector = self.output_vector(reduced);
            dim0 /= output_vector;
        }
        let [width, height] = block(dim0, dim1, MAX_THREADS / output_vector);
        let (mut step_input, mut step_output) = if fastest { (width, 1) } else { (1, width) };
        let split = inputs.div_ceil(step_input) >= (height * 16).min(MAX_VALUES_PER_THREAD);
        if split {
            step_input *= height;
        } else {
            step_output *= height;
        }
        let target_grid = MULTIPROCESSORS * (THREADS_PER_MULTIPROCESSOR / (width * height));
        let grid = (outputs / output_vector).div_ceil(step_output);
        let values = inputs.div_ceil(step_input);
        if !split || values < MAX_VALUES_PER_THREAD || grid > target_grid {
            return None;
        }
        let blocks = target_grid
            .div_ceil(grid)
            .min(values.div_ceil(MIN_VALUES_PER_THREAD))
            .max(values.div_ceil(MAX_VALUES_PER_THREAD));
        let width = if fastest { 1 } else { width * output_vector };
        (blocks > 1).then(|| [accumulator * outputs * blocks * width, 4 * grid])
    }

    /// `get_output_vec_size`: the most neighbouring outputs a thread can take at once.
    fn output_vector(&self, reduced: usize) -> u64 {
        let mut vector = 4;
        let mut narrow = |n: u64| {
            while !n.is_multiple_of(vector) {
                vector /= 2;
            }
        };
        narrow(self.dims[reduced].size);
        self.dims.iter().enumerate().filter(|&(i, _)| i != reduced).for_each(|(_, d)| narrow(d.input));
        vector
    }
}

/// `set_block_dimension`
fn block(dim0: u64, dim1: u64, max_threads: u64) -> [u64; 2] {
    let power = |n: u64| if n < max_threads { 1 << n.max(1).ilog2() } else { max_threads };
    let (dim0, dim1) = (power(dim0), power(dim1));
    let width = dim0.min(WARP);
    let height = dim1.min(max_threads / width);
    [dim0.min(max_threads / height), height]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_gradient_over_many_rows_is_shared_by_blocks() {
        let scratch = |rows, columns| {
            let from = Layout::contiguous(&[rows, columns]);
            Reduction::new(&from, &Layout::contiguous(&[columns]), 2).scratch(4)
        };
        assert_eq!(scratch(512, 768), None);
        assert_eq!(scratch(2048, 768), Some([12_582_912, 24]));
        assert_eq!(scratch(2048, 3072), Some([50_331_648, 96]));
    }

    #[test]
    fn reductions_past_32_bits_are_halved() {
        let from = Layout::contiguous(&[65_537, 16_384]);
        let whole = Reduction::new(&from, &Layout::contiguous(&[16_384]), 2);
        assert!(!whole.fits_32_bits());
        assert!(whole.halves().iter().all(Reduction::fits_32_bits));
    }
}
