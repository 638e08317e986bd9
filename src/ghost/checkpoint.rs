//! Gradient checkpointing (`torch.utils.checkpoint`, `use_reentrant=False`).
//!
//! A checkpointed region saves placeholders. The first of them that backward needs runs the region again, which fills
//! them all and stops as soon as the last is filled; each recomputed tensor goes when it has been used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::context::{Context, TapeSwap};
use super::tape::Saved;
use super::tensor::Tensor;

type Region = Box<dyn Fn(&Context, &Tensor)>;

/// One checkpointed region.
pub(crate) struct Frame {
    input: Tensor,
    region: RefCell<Option<Region>>,
    autocast: Option<crate::dtype::DType>,
    /// How many tensors it saved in forward.
    saved: Cell<usize>,
    recomputed: RefCell<Vec<Option<Tensor>>>,
    ran: Cell<bool>,
}

/// What saving a tensor means just now.
#[derive(Clone, Default)]
pub(crate) enum Packing {
    #[default]
    Keep,
    /// In a checkpointed region: keep a placeholder.
    Placeholder(Rc<Frame>),
    /// Running a region again: fill its placeholders.
    Refill(Rc<Frame>),
}

impl Context {
    /// Runs `region` on `input` keeping only `input` for backward.
    pub fn checkpoint<T>(&self, input: &Tensor, region: impl Fn(&Self, &Tensor) -> T + 'static) -> T {
        let frame = Rc::new(Frame {
            input: input.clone(),
            region: RefCell::new(None),
            autocast: self.autocast.get(),
            saved: Cell::new(0),
            recomputed: RefCell::new(Vec::new()),
            ran: Cell::new(false),
        });
        let outer = self.packing.replace(Packing::Placeholder(Rc::clone(&frame)));
        let output = region(self, input);
        self.packing.replace(outer);
        *frame.region.borrow_mut() = Some(Box::new(move |cx, input| drop(region(cx, input))));
        output
    }

    /// Saves a tensor the way the current region does.
    pub(crate) fn pack(&self, tensor: &Tensor) -> Saved {
        let packing = self.packing.borrow().clone();
        match packing {
            Packing::Keep => Saved::Tensor(tensor.clone()),
            Packing::Placeholder(frame) => {
                let index = frame.saved.get();
                frame.saved.set(index + 1);
                Saved::Recomputed(frame, index)
            }
            Packing::Refill(frame) => {
                if self.muted.get() {
                    return Saved::None;
                }
                let mut recomputed = frame.recomputed.borrow_mut();
                recomputed.push(Some(tensor.detach()));
                // nothing after the last saved tensor is needed: PyTorch stops here, before the kernel runs
                if recomputed.len() == frame.saved.get() {
                    self.muted.set(true);
                }
                Saved::Tensor(tensor.detach())
            }
        }
    }

    /// Whether tensors that are saved just now are kept.
    pub(crate) fn saves_for_backward(&self) -> bool {
        self.grad_enabled() && !matches!(*self.packing.borrow(), Packing::Placeholder(_))
    }

    /// Whether an operation on `tensor` keeps what it saves, recording aside.
    pub(crate) fn saves_for_backward_of(&self, tensor: &Tensor) -> bool {
        tensor.requires_grad() && !matches!(*self.packing.borrow(), Packing::Placeholder(_))
    }

    pub(crate) fn is_recomputing(&self) -> bool {
        matches!(*self.packing.borrow(), Packing::Refill(_))
    }

    pub(crate) fn unpack(&self, saved: &Saved) -> Option<Tensor> {
        match saved {
            Saved::None => None,
            Saved::Tensor(tensor) => Some(tensor.clone()),
            Saved::Recomputed(frame, index) => {
                if !frame.ran.replace(true) {
                    self.recompute(frame);
                }
                frame.recomputed.borrow_mut()[*index].take()
            }
        }
    }

    fn recompute(&self, frame: &Rc<Frame>) {
        let region = frame.region.borrow();
        let Some(region) = region.as_ref() else { return };
        let outer = self.packing.replace(Packing::Refill(Rc::clone(frame)));
        let grad_enabled = self.grad_enabled.replace(true);
        let autocast = self.autocast.replace(frame.autocast);
        let category = self.category.replace(super::ledger::Category::Activations);
        let swap = TapeSwap::enter(self);
        region(self, &frame.input);
        self.muted.set(false);
        swap.leave(self);
        if frame.autocast.is_some() {
            self.clear_autocast_cache();
        }
        self.category.set(category);
        self.autocast.set(autocast);
        self.grad_enabled.set(grad_enabled);
        self.packing.replace(outer);
    }
}
