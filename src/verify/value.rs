//! The data of a ghost tensor: memory in storage order that its views share, and how this one looks at it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::VerifyError;
use super::array::{Array, Result};
use crate::dtype::DType;
use crate::ghost::Layout;

/// One ghost storage's memory.
pub(super) struct Held<A> {
    /// In one dimension; none where the storage stands for what a CUDA kernel needs and nothing here does.
    numbers: RefCell<Option<A>>,
    scratch: Option<Scratch>,
}

/// Bytes of a ghost storage that has no memory here.
struct Scratch {
    total: Rc<Cell<u64>>,
    bytes: u64,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

/// A look at some memory.
pub(super) struct Handle<A> {
    held: Rc<Held<A>>,
    layout: Layout,
    offset: usize,
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A layout's sizes.
pub(super) fn dims(layout: &Layout) -> Vec<usize> {
    layout.dims().iter().map(|&dim| size(dim)).collect()
}

/// Dimensions from the one whose elements lie farthest apart to the one whose lie closest.
pub(super) fn storage_order(layout: &Layout) -> Vec<usize> {
    let mut order: Vec<usize> = (0..layout.rank()).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(layout.strides()[axis]));
    order
}

impl<A: Array> Handle<A> {
    /// New memory in `layout`'s storage order.
    pub(super) fn new(flat: A, layout: &Layout) -> Self {
        let held = Rc::new(Held { numbers: RefCell::new(Some(flat)), scratch: None });
        Self { held, layout: *layout, offset: 0 }
    }

    /// What has no memory here; `total` counts its bytes as long as it is there.
    pub(super) fn scratch(total: &Rc<Cell<u64>>, bytes: u64, layout: &Layout) -> Self {
        total.set(total.get() + bytes);
        let scratch = Some(Scratch { total: Rc::clone(total), bytes });
        Self { held: Rc::new(Held { numbers: RefCell::new(None), scratch }), layout: *layout, offset: 0 }
    }

    /// Another look at the same memory, which begins `forward` elements later.
    pub(super) fn relaid(&self, layout: &Layout, forward: usize) -> Self {
        Self { held: Rc::clone(&self.held), layout: *layout, offset: self.offset + forward }
    }

    /// Its type.
    pub(super) fn dtype(&self) -> Result<DType> {
        Ok(self.look()?.dtype())
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Elements between one and the next along a dimension.
    pub(super) fn stride(&self, axis: usize) -> usize {
        size(self.layout.strides()[axis])
    }

    /// Writes over the whole memory, for everyone who looks at it.
    pub(super) fn replace(&self, flat: A) -> Result<()> {
        let whole = self.layout.is_dense() && self.offset == 0;
        let mut held = self.held.numbers.borrow_mut();
        let same = held.as_ref().is_some_and(|old| old.dims() == flat.dims() && old.dtype() == flat.dtype());
        if !whole || !same {
            return Err(VerifyError::Kernel("only whole tensors are written over".to_owned()));
        }
        *held = Some(flat);
        Ok(())
    }

    /// The array as it is looked at.
    pub(super) fn look(&self) -> Result<A> {
        let held = self.held.numbers.borrow();
        let Some(flat) = held.as_ref() else {
            let bytes = self.held.scratch.as_ref().map_or(0, |scratch| scratch.bytes);
            return Err(VerifyError::Kernel(format!("a kernel reads {bytes} bytes that nothing was written to")));
        };
        strided(flat, &self.layout, self.offset)
    }
}

/// `flat` under a layout: sizes that its strides divide the memory into, cut and put in order.
fn strided<A: Array>(flat: &A, layout: &Layout, offset: usize) -> Result<A> {
    let sizes = dims(layout);
    let total = flat.dims()[0];
    if offset == 0 && layout.is_contiguous() && sizes.iter().product::<usize>() == total {
        return flat.reshape(&sizes);
    }
    let strides: Vec<usize> = layout.strides().iter().map(|&stride| size(stride)).collect();
    let mut axes: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis] > 1 && strides[axis] > 0).collect();
    axes.sort_by_key(|&axis| std::cmp::Reverse(strides[axis]));
    // each dimension of the memory: how many there are, where to begin, how many to keep
    let (mut outer, mut rest) = (total, offset);
    let mut parts = Vec::new();
    for &axis in &axes {
        parts.push((outer / strides[axis], rest / strides[axis], sizes[axis]));
        (outer, rest) = (strides[axis], rest % strides[axis]);
    }
    parts.push((outer, rest, 1));
    let whole: Vec<usize> = parts.iter().map(|&(count, ..)| count).collect();
    if whole.iter().product::<usize>() != total {
        return Err(VerifyError::Kernel(format!("{layout:?} at {offset} does not divide {total} elements")));
    }
    let mut array = flat.reshape(&whole)?;
    for (dim, &(count, start, len)) in parts.iter().enumerate() {
        if len < count {
            array = array.narrow(dim, start, len)?;
        }
    }
    array = array.squeeze(axes.len())?;
    let mut ordered = axes.clone();
    ordered.sort_unstable();
    let order: Vec<usize> = ordered.iter().filter_map(|axis| axes.iter().position(|other| other == axis)).collect();
    array = array.permute(&order)?;
    for axis in 0..sizes.len() {
        if !ordered.contains(&axis) {
            array = array.unsqueeze(axis)?;
        }
    }
    array.widened(&sizes)
}
