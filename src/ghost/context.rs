//! What operations run in: the ledger, the tape, autocast, and what executes them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use smallvec::SmallVec;

use super::checkpoint::Packing;
use super::executor::{Executor, Kernel, Value};
use super::layout::Layout;
use super::ledger::{Category, Ledger, Phase};
use super::tape::{Node, Recording, Tape};
use super::tensor::{Inner, Leaf, NodeRef, Storage, Tensor};
use crate::dtype::DType;

/// cuBLAS' workspace for a handle on compute capability 8.x: 8192 KiB + 128 KiB (`getChosenWorkspaceSize`, torch 2.11).
pub const CUBLAS_WORKSPACE: u64 = 8_519_680;

/// cublasLt's workspace, which `addmm` with a bias takes (torch 2.11, compute capability 8.x).
const CUBLASLT_WORKSPACE: u64 = 1 << 20;

/// Multiprocessors of the card whose launch heuristics are followed: those of the measurements in `tests/truth`.
pub(crate) const MULTIPROCESSORS: u64 = 132;

/// The state a run is in.
pub struct Context {
    ledger: Rc<Ledger>,
    executor: Option<Box<dyn Executor>>,
    pub(crate) tape: RefCell<Tape>,
    tape_number: Cell<u32>,
    tapes_made: Cell<u32>,
    pub(crate) grad_enabled: Cell<bool>,
    pub(crate) in_backward: Cell<bool>,
    pub(crate) category: Cell<Category>,
    pub(crate) autocast: Cell<Option<DType>>,
    autocast_cache: RefCell<HashMap<usize, Tensor>>,
    pub(crate) packing: RefCell<Packing>,
    /// What follows is not run: a recomputation has what it was for.
    pub(crate) muted: Cell<bool>,
    /// cuBLAS' and cublasLt's, of forward's thread and of the autograd engine's.
    workspaces: RefCell<[Option<Storage>; 4]>,
    workspace_bytes: u64,
    training: Cell<bool>,
    adapters_disabled: Cell<bool>,
    offload_gradients: Cell<Option<u64>>,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context that runs ghosts: no data, only the ledger.
    pub fn new() -> Self {
        Self {
            ledger: Rc::new(Ledger::new()),
            executor: None,
            tape: RefCell::default(),
            tape_number: Cell::new(0),
            tapes_made: Cell::new(0),
            grad_enabled: Cell::new(true),
            in_backward: Cell::new(false),
            category: Cell::new(Category::Activations),
            autocast: Cell::new(None),
            autocast_cache: RefCell::default(),
            packing: RefCell::default(),
            muted: Cell::new(false),
            workspaces: RefCell::new([None, None, None, None]),
            workspace_bytes: CUBLAS_WORKSPACE,
            training: Cell::new(true),
            adapters_disabled: Cell::new(false),
            offload_gradients: Cell::new(None),
        }
    }

    /// A context whose kernels are carried out by `executor`.
    pub fn with_executor(executor: Box<dyn Executor>) -> Self {
        Self { executor: Some(executor), ..Self::new() }
    }

    /// Whether kernels are carried out.
    pub(crate) const fn is_real(&self) -> bool {
        self.executor.is_some()
    }

    /// The ledger it charges.
    pub fn ledger(&self) -> &Rc<Ledger> {
        &self.ledger
    }

    /// Marks the start of a phase.
    pub fn set_phase(&self, phase: Phase) {
        self.ledger.begin(phase);
        if let Some(executor) = &self.executor {
            executor.begin(phase);
        }
    }

    /// Whether modules behave as in training (dropout).
    pub fn training(&self) -> bool {
        self.training.get()
    }

    /// `model.train()` or `model.eval()`.
    pub fn set_training(&self, training: bool) {
        self.training.set(training);
    }

    /// The autocast type in force.
    pub fn autocast_dtype(&self) -> Option<DType> {
        self.autocast.get()
    }

    /// Whether gradients are being recorded.
    pub fn grad_enabled(&self) -> bool {
        self.grad_enabled.get()
    }

    /// Runs `body` with what it makes charged to `category`.
    pub fn within<T>(&self, category: Category, body: impl FnOnce() -> T) -> T {
        let outer = self.category.replace(category);
        let result = body();
        self.category.set(outer);
        result
    }

    /// Whether modules run without what was added to them.
    pub fn adapters_disabled(&self) -> bool {
        self.adapters_disabled.get()
    }

    /// Gradients of parameters with at least so many elements go to the host as soon as they are there.
    pub fn offload_gradients(&self, least_elements: Option<u64>) {
        self.offload_gradients.set(least_elements);
    }

    /// Whether the gradient of `parameter` goes to the host.
    pub(crate) fn offloads_gradient(&self, parameter: &Tensor) -> bool {
        self.offload_gradients.get().is_some_and(|least| parameter.layout().numel() >= least)
    }

    /// Runs `body` with modules as they were before anything was added to them (PEFT's `disable_adapter`).
    pub fn with_adapters_disabled<T>(&self, body: impl FnOnce() -> T) -> T {
        let outer = self.adapters_disabled.replace(true);
        let result = body();
        self.adapters_disabled.set(outer);
        result
    }

    /// Runs `body` without recording (`torch.no_grad`).
    pub fn no_grad<T>(&self, body: impl FnOnce() -> T) -> T {
        let outer = self.grad_enabled.replace(false);
        let result = body();
        self.grad_enabled.set(outer);
        result
    }

    /// Runs `body` under autocast to `dtype`, or without autocast; leaving the outermost one clears its cache.
    pub fn with_autocast<T>(&self, dtype: Option<DType>, body: impl FnOnce() -> T) -> T {
        let outer = self.autocast.replace(dtype);
        let result = body();
        self.autocast.set(outer);
        if outer.is_none() && dtype.is_some() {
            self.clear_autocast_cache();
        }
        result
    }

    pub(crate) fn clear_autocast_cache(&self) {
        let cached = std::mem::take(&mut *self.autocast_cache.borrow_mut());
        let mut cached: Vec<_> = cached.into_values().collect();
        cached.sort_by_key(|t| t.0.grad_fn.map(|at| at.node));
    }

    /// Runs a kernel: charges its output and, where there is an executor, computes it.
    pub fn launch(&self, kernel: Kernel, inputs: &[&Tensor], layout: Layout, dtype: DType) -> Tensor {
        let storage = if self.muted.get() {
            Storage::uncharged(&self.ledger)
        } else {
            Storage::charge(&self.ledger, layout.numel().saturating_mul(dtype.bytes()), self.category.get())
        };
        let value = self.execute(&kernel, inputs, &layout, dtype);
        Tensor::new(Rc::new(storage), layout, dtype, value)
    }

    /// Memory an operation needs for a moment; released when dropped.
    pub(crate) fn scratch(&self, what: &'static str, bytes: u64) -> Tensor {
        self.within(Category::Temporary, || {
            self.launch(Kernel::Scratch(what), &[], Layout::contiguous(&[bytes]), DType::U8)
        })
    }

    /// `a` with the result of a kernel on it and `others` written over it; who else looks at the same bytes must not read
    /// them again.
    pub(crate) fn written_over(&self, kernel: Kernel, a: &Tensor, others: &[&Tensor]) -> Tensor {
        let value = self.overwrite(&kernel, a, others);
        if a.0.view {
            Tensor::new_view(a, *a.layout(), value)
        } else {
            Tensor::new(Rc::clone(&a.0.storage), *a.layout(), a.dtype(), value)
        }
    }

    /// Another look at the same bytes, outside the tape.
    pub(crate) fn alias(&self, kernel: Kernel, of: &Tensor, layout: Layout) -> Tensor {
        let value = self.look(&kernel, of, &layout);
        Tensor::new_view(of, layout, value)
    }

    /// A new tensor under other sizes: nothing else knows it, so that it is no view.
    pub(crate) fn relaid(&self, a: Tensor, layout: Layout) -> Tensor {
        let value = self.look(&Kernel::View, &a, &layout);
        Tensor::new(Rc::clone(&a.0.storage), layout, a.dtype(), value)
    }

    fn execute(&self, kernel: &Kernel, inputs: &[&Tensor], layout: &Layout, dtype: DType) -> Option<Value> {
        let executor = self.executor.as_ref()?;
        let value = (!self.muted.get()).then(|| executor.run(kernel, &values(inputs), layout, dtype));
        executor.ran(kernel, &self.ledger);
        value
    }

    fn overwrite(&self, kernel: &Kernel, target: &Tensor, others: &[&Tensor]) -> Option<Value> {
        let executor = self.executor.as_ref()?;
        let value = target
            .0
            .value
            .as_ref()
            .filter(|_| !self.muted.get())
            .map(|value| executor.write_over(kernel, value, &values(others), target.layout(), target.dtype()));
        executor.ran(kernel, &self.ledger);
        value
    }

    fn look(&self, kernel: &Kernel, of: &Tensor, layout: &Layout) -> Option<Value> {
        let executor = self.executor.as_ref()?;
        of.0.value.as_ref().map(|value| executor.view(kernel, value, layout, of.dtype()))
    }

    /// Writes the result of a kernel on `target` and `others` over `target`, for everyone who looks at it; ghosts have
    /// nothing to write.
    pub(crate) fn update(&self, kernel: Kernel, target: &Tensor, others: &[&Tensor]) {
        if self.is_real() {
            self.overwrite(&kernel, target, others);
        }
    }

    /// A buffer of a model.
    pub fn buffer(&self, name: &'static str, dims: &[u64], dtype: DType) -> Tensor {
        self.within(Category::Buffers, || self.launch(Kernel::Parameter(name), &[], Layout::contiguous(dims), dtype))
    }

    /// A parameter of a model.
    pub fn parameter(&self, name: &'static str, dims: &[u64], dtype: DType, trainable: bool) -> Tensor {
        let tensor = self
            .within(Category::Weights, || self.launch(Kernel::Parameter(name), &[], Layout::contiguous(dims), dtype));
        if trainable { trainable_copy(&tensor) } else { tensor }
    }

    /// A tensor that takes no memory: only its shape and type are known (PyTorch's meta device).
    pub fn meta(&self, dims: &[u64], dtype: DType) -> Tensor {
        Tensor::new(Rc::new(Storage::uncharged(&self.ledger)), Layout::contiguous(dims), dtype, None)
    }

    /// Runs `body` with autocast switched off; its cache stays.
    pub fn with_autocast_off<T>(&self, body: impl FnOnce() -> T) -> T {
        let outer = self.autocast.replace(None);
        let result = body();
        self.autocast.set(outer);
        result
    }

    /// An input of the step, made before it begins.
    pub fn input(&self, name: &'static str, dims: &[u64], dtype: DType) -> Tensor {
        self.launch(Kernel::Input(name), &[], Layout::contiguous(dims), dtype)
    }

    /// Begins a node for an operation on `inputs`, if any of them wants a gradient. Tensors given in `saved` are saved now,
    /// before the operation runs.
    pub fn record(&self, inputs: &[&Tensor], saved: &[Option<&Tensor>]) -> Option<Recording> {
        let wanted = self.grad_enabled.get() && inputs.iter().any(|t| t.requires_grad());
        wanted.then(|| Recording::new(self, inputs, saved))
    }

    pub(crate) fn push(&self, node: Node, outputs: &mut [&mut Tensor]) {
        let mut tape = self.tape.borrow_mut();
        let index = u32::try_from(tape.nodes.len()).expect("a step has fewer than 2^32 operations");
        tape.nodes.push(node);
        for (slot, output) in (0_u8..).zip(outputs.iter_mut()) {
            let at = NodeRef { tape: self.tape_number.get(), node: index, slot };
            match Rc::get_mut(&mut output.0) {
                Some(inner) => inner.grad_fn = Some(at),
                None => {
                    let Inner { storage, layout, dtype, value, .. } = &*output.0;
                    let mut tensor = Tensor::new(Rc::clone(storage), *layout, *dtype, value.clone());
                    if let Some(inner) = Rc::get_mut(&mut tensor.0) {
                        inner.grad_fn = Some(at);
                    }
                    **output = tensor;
                }
            }
        }
    }

    pub(crate) fn tape_number(&self) -> u32 {
        self.tape_number.get()
    }

    pub(crate) fn next_tape(&self) {
        self.tapes_made.set(self.tapes_made.get() + 1);
        self.tape_number.set(self.tapes_made.get());
    }

    /// cuBLAS keeps a workspace for each thread that multiplies matrices: forward's and the autograd engine's.
    pub(crate) fn touch_cublas(&self) {
        self.touch_workspace(usize::from(self.in_backward.get()), self.workspace_bytes);
    }

    /// As [`Context::touch_cublas`], for products with a bias.
    pub(crate) fn touch_cublaslt(&self) {
        self.touch_workspace(2 + usize::from(self.in_backward.get()), CUBLASLT_WORKSPACE);
    }

    fn touch_workspace(&self, which: usize, bytes: u64) {
        if !self.muted.get() && self.workspaces.borrow()[which].is_none() {
            let workspace = Storage::charge(&self.ledger, bytes, Category::Workspace);
            self.workspaces.borrow_mut()[which] = Some(workspace);
        }
    }

    /// The tensor in the type an autocast operation runs in. Casts of trainable fp32 parameters are kept until autocast ends.
    pub(crate) fn autocast_to(&self, tensor: &Tensor, dtype: DType) -> Tensor {
        if tensor.dtype() == dtype || !tensor.dtype().is_float() {
            return tensor.clone();
        }
        if !(tensor.is_leaf() && tensor.dtype() == DType::F32) {
            return self.cast(tensor, dtype);
        }
        let key = Rc::as_ptr(&tensor.0) as usize;
        if let Some(cached) = self.autocast_cache.borrow().get(&key) {
            return cached.clone();
        }
        let cast = self.cast(tensor, dtype);
        self.autocast_cache.borrow_mut().insert(key, cast.clone());
        cast
    }
}

/// The data of the tensors that have any.
fn values<'a>(tensors: &[&'a Tensor]) -> SmallVec<[&'a Value; 4]> {
    tensors.iter().filter_map(|tensor| tensor.0.value.as_ref()).collect()
}

/// The same bytes as a leaf of the tape.
pub fn trainable_copy(tensor: &Tensor) -> Tensor {
    let Inner { storage, layout, dtype, value, .. } = &*tensor.0;
    Tensor(Rc::new(Inner {
        storage: Rc::clone(storage),
        layout: *layout,
        dtype: *dtype,
        grad_fn: None,
        leaf: Some(Leaf::default()),
        value: value.clone(),
        view: false,
    }))
}

/// A tape of its own for a recomputation; its graph goes when the recomputation ends.
pub(crate) struct TapeSwap {
    outer: Tape,
    outer_number: u32,
}

impl TapeSwap {
    pub(crate) fn enter(cx: &Context) -> Self {
        let outer = std::mem::take(&mut *cx.tape.borrow_mut());
        let outer_number = cx.tape_number.get();
        cx.next_tape();
        Self { outer, outer_number }
    }

    pub(crate) fn leave(self, cx: &Context) {
        let inner = std::mem::replace(&mut *cx.tape.borrow_mut(), self.outer);
        cx.tape_number.set(self.outer_number);
        drop(inner);
    }
}
