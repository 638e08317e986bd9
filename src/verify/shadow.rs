//! Arrays without data: sizes, and a meter that counts the bytes candle would hold for them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::array::{Array, Binary, Compare, Result, Unary};
use super::gauge::{Gauge, LEAST_COUNTED, MOST_ALIGNED, POOL_GRANULE};
use crate::dtype::DType;

/// Where arrays lie; it makes a difference to what is counted, and to what a product in bf16 takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Host,
    /// On a GPU, which multiplies bf16 as it is, and whose pool leaves nothing out.
    Gpu,
}

impl Place {
    /// What an allocation counts.
    const fn counted(self, bytes: u64, dtype: DType) -> u64 {
        match self {
            Self::Host if bytes < LEAST_COUNTED || dtype.bytes() > MOST_ALIGNED as u64 => 0,
            Self::Host => bytes,
            Self::Gpu => bytes.next_multiple_of(POOL_GRANULE),
        }
    }
}

/// Bytes of what is alive.
#[derive(Debug, Default)]
pub(super) struct Meter {
    place: Place,
    /// All of them.
    all: Cell<u64>,
    /// Those an allocator that leaves small ones out counts.
    counted: Cell<u64>,
    peak: Cell<u64>,
}

impl Meter {
    pub(super) fn of(place: Place) -> Self {
        Self { place, ..Self::default() }
    }

    pub(super) fn all(&self) -> u64 {
        self.all.get()
    }

    fn take(&self, bytes: u64, counted: u64) {
        self.all.set(self.all.get() + bytes);
        self.counted.set(self.counted.get() + counted);
        self.peak.set(self.peak.get().max(self.counted.get()));
    }

    fn give(&self, bytes: u64, counted: u64) {
        self.all.set(self.all.get() - bytes);
        self.counted.set(self.counted.get() - counted);
    }
}

impl Gauge for Meter {
    fn count(&self, _on: bool) {}

    fn reset_peak(&self) {
        self.peak.set(self.counted.get());
    }

    fn peak(&self) -> u64 {
        self.peak.get()
    }

    fn live(&self) -> u64 {
        self.counted.get()
    }
}

/// Memory that arrays share.
struct Memory {
    meter: Rc<Meter>,
    bytes: u64,
    /// What a gauge counts of it.
    counted: u64,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.meter.give(self.bytes, self.counted);
    }
}

/// An array's sizes and strides.
#[derive(Clone)]
pub(super) struct Shadow {
    memory: Rc<Memory>,
    dims: Vec<usize>,
    strides: Vec<usize>,
    dtype: DType,
}

impl Shadow {
    fn new(meter: &Rc<Meter>, dims: &[usize], dtype: DType) -> Self {
        let bytes = dims.iter().product::<usize>() as u64 * dtype.bytes();
        let counted = meter.place.counted(bytes, dtype);
        meter.take(bytes, counted);
        let memory = Rc::new(Memory { meter: Rc::clone(meter), bytes, counted });
        Self { memory, dims: dims.to_vec(), strides: in_order(dims), dtype }
    }

    fn like(&self, dims: &[usize], dtype: DType) -> Self {
        Self::new(&self.memory.meter, dims, dtype)
    }

    fn elements(&self) -> u64 {
        self.memory.bytes / self.dtype.bytes()
    }
}

fn in_order(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

impl Array for Shadow {
    type Device = Rc<Meter>;

    fn zeros(device: &Self::Device, dims: &[usize], dtype: DType) -> Result<Self> {
        Ok(Self::new(device, dims, dtype))
    }

    fn ones(device: &Self::Device, dims: &[usize], dtype: DType) -> Result<Self> {
        Ok(Self::new(device, dims, dtype))
    }

    fn floats(device: &Self::Device, len: usize, _numbers: &mut dyn FnMut() -> f32) -> Result<Self> {
        Ok(Self::new(device, &[len], DType::F32))
    }

    fn integers(device: &Self::Device, len: usize, _numbers: &mut dyn FnMut() -> i64) -> Result<Self> {
        Ok(Self::new(device, &[len], DType::I64))
    }

    fn dims(&self) -> Vec<usize> {
        self.dims.clone()
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn reshape(&self, dims: &[usize]) -> Result<Self> {
        assert!(self.is_contiguous(), "only what lies in order is looked at under other sizes");
        Ok(Self { dims: dims.to_vec(), strides: in_order(dims), ..self.clone() })
    }

    fn narrow(&self, dim: usize, _start: usize, len: usize) -> Result<Self> {
        let mut out = self.clone();
        out.dims[dim] = len;
        Ok(out)
    }

    fn permute(&self, order: &[usize]) -> Result<Self> {
        let of = |list: &[usize]| order.iter().map(|&i| list[i]).collect();
        Ok(Self { dims: of(&self.dims), strides: of(&self.strides), ..self.clone() })
    }

    fn broadcast(&self, dims: &[usize]) -> Result<Self> {
        let lead = dims.len() - self.dims.len();
        let stride = |i: usize| match i.checked_sub(lead) {
            Some(from) if self.dims[from] == dims[i] => self.strides[from],
            _ => 0,
        };
        Ok(Self { dims: dims.to_vec(), strides: (0..dims.len()).map(stride).collect(), ..self.clone() })
    }

    fn squeeze(&self, dim: usize) -> Result<Self> {
        let mut out = self.clone();
        out.dims.remove(dim);
        out.strides.remove(dim);
        Ok(out)
    }

    fn unsqueeze(&self, dim: usize) -> Result<Self> {
        let mut out = self.clone();
        let stride = self.dims.get(dim).map_or(1, |size| size * self.strides[dim]);
        out.dims.insert(dim, 1);
        out.strides.insert(dim, stride);
        Ok(out)
    }

    fn is_contiguous(&self) -> bool {
        let expected = in_order(&self.dims);
        self.dims.iter().zip(&self.strides).zip(&expected).all(|((&dim, stride), own)| dim <= 1 || stride == own)
    }

    fn copy(&self) -> Result<Self> {
        Ok(self.like(&self.dims, self.dtype))
    }

    fn cast(&self, dtype: DType) -> Result<Self> {
        Ok(if dtype == self.dtype { self.clone() } else { self.like(&self.dims, dtype) })
    }

    fn unary(&self, _function: Unary) -> Result<Self> {
        self.copy()
    }

    fn affine(&self, _factor: f64, _number: f64) -> Result<Self> {
        self.copy()
    }

    fn binary(&self, other: &Self, _function: Binary) -> Result<Self> {
        assert_eq!((&self.dims, self.dtype), (&other.dims, other.dtype), "sizes and types of two operands");
        self.copy()
    }

    fn compare(&self, other: &Self, _how: Compare) -> Result<Self> {
        assert_eq!((&self.dims, self.dtype), (&other.dims, other.dtype), "sizes and types of two operands");
        Ok(self.like(&self.dims, DType::U8))
    }

    fn sum(&self, dims: &[usize]) -> Result<Self> {
        let mut out = self.dims.clone();
        dims.iter().for_each(|&dim| out[dim] = 1);
        Ok(self.like(&out, self.dtype))
    }

    fn max(&self, dim: usize) -> Result<Self> {
        self.sum(&[dim])
    }

    fn matmul(&self, other: &Self) -> Result<Self> {
        let [b, m, n] = [self.dims[0], self.dims[1], other.dims[2]];
        if self.dtype != DType::BF16 || self.memory.meter.place == Place::Gpu {
            return Ok(self.like(&[b, m, n], self.dtype));
        }
        let widened = |of: &Self| of.like(&[usize::try_from(of.elements()).unwrap_or(usize::MAX)], DType::F32);
        let _operands = (widened(self), widened(other));
        let _product = self.like(&[b, m, n], DType::F32);
        Ok(self.like(&[b, m, n], DType::BF16))
    }

    fn cat(parts: &[&Self], dim: usize) -> Result<Self> {
        let mut dims = parts[0].dims.clone();
        dims[dim] = parts.iter().map(|part| part.dims[dim]).sum();
        Ok(parts[0].like(&dims, parts[0].dtype))
    }

    fn rows(&self, ids: &Self) -> Result<Self> {
        let mut dims = self.dims.clone();
        dims[0] = ids.dims[0];
        Ok(self.like(&dims, self.dtype))
    }

    fn pick(&self, ids: &Self) -> Result<Self> {
        Ok(self.like(&ids.dims, self.dtype))
    }

    fn put(&self, _ids: &Self, _source: &Self) -> Result<()> {
        Ok(())
    }

    fn add_rows(&self, _ids: &Self, _source: &Self) -> Result<Self> {
        self.copy()
    }

    fn numbers(&self) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }
}

/// Plays a ledger's entries as they come, to know what its ghosts hold.
#[derive(Default)]
pub(super) struct Mirror {
    seen: Cell<usize>,
    sizes: RefCell<Vec<u64>>,
    live: Cell<u64>,
}

impl Mirror {
    /// What the ghosts on `ledger` hold now, cuBLAS' workspaces aside.
    pub(super) fn live(&self, ledger: &crate::ghost::Ledger) -> u64 {
        use crate::ghost::{Category, Entry};
        let mut sizes = self.sizes.borrow_mut();
        ledger.visit_from(self.seen.get(), |entry| {
            self.seen.set(self.seen.get() + 1);
            match *entry {
                Entry::Charge { id, bytes, category } => {
                    let bytes = if category == Category::Workspace { 0 } else { bytes };
                    let id = id as usize;
                    if sizes.len() <= id {
                        sizes.resize(id + 1, 0);
                    }
                    sizes[id] = bytes;
                    self.live.set(self.live.get() + bytes);
                }
                Entry::Release { id } => self.live.set(self.live.get() - sizes[id as usize]),
                _ => {}
            }
        });
        self.live.get()
    }
}
