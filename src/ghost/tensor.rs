//! Ghost tensors: a shape, a type, and a share in a storage on the ledger.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use super::executor::Value;
use super::layout::Layout;
use super::ledger::{Category, ChargeId, Ledger};
use crate::dtype::DType;

/// Bytes on the ledger, shared by the tensors that look at them; released with the last of them.
pub(crate) struct Storage {
    ledger: Rc<Ledger>,
    id: ChargeId,
}

impl Storage {
    /// A storage that is not on the ledger: what an aborted recomputation would have made.
    const UNCHARGED: ChargeId = ChargeId::MAX;

    pub(crate) fn charge(ledger: &Rc<Ledger>, bytes: u64, category: Category) -> Self {
        // PyTorch allocates nothing for an empty tensor
        let id = if bytes == 0 { Self::UNCHARGED } else { ledger.charge(bytes, category) };
        Self { ledger: Rc::clone(ledger), id }
    }

    pub(crate) fn uncharged(ledger: &Rc<Ledger>) -> Self {
        Self { ledger: Rc::clone(ledger), id: Self::UNCHARGED }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if self.id != Self::UNCHARGED {
            self.ledger.release(self.id);
        }
    }
}

/// A node on a tape, and which of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeRef {
    pub(crate) tape: u32,
    pub(crate) node: u32,
    pub(crate) slot: u8,
}

pub(crate) struct Inner {
    pub(crate) storage: Rc<Storage>,
    pub(crate) layout: Layout,
    pub(crate) dtype: DType,
    pub(crate) grad_fn: Option<NodeRef>,
    /// Only parameters have one.
    pub(crate) leaf: Option<Leaf>,
    pub(crate) value: Option<Value>,
    /// Whether it looks at the bytes of another tensor, which a view keeps alive.
    pub(crate) view: bool,
}

/// The gradient of a parameter.
#[derive(Default)]
pub(crate) struct Leaf {
    pub(crate) grad: RefCell<Option<Tensor>>,
    /// Uses on the tape whose gradients have not come yet; what came is summed until the last has.
    pub(crate) awaited: Cell<u32>,
    pub(crate) pending: RefCell<Option<Tensor>>,
}

/// A tensor without data. Cloning shares it, as a second Python name does; dropping the last name frees it.
#[derive(Clone)]
pub struct Tensor(pub(crate) Rc<Inner>);

impl Tensor {
    pub(crate) fn new(storage: Rc<Storage>, layout: Layout, dtype: DType, value: Option<Value>) -> Self {
        Self(Rc::new(Inner { storage, layout, dtype, grad_fn: None, leaf: None, value, view: false }))
    }

    pub(crate) fn new_view(of: &Self, layout: Layout, value: Option<Value>) -> Self {
        let Inner { storage, dtype, .. } = &*of.0;
        Self(Rc::new(Inner {
            storage: Rc::clone(storage),
            layout,
            dtype: *dtype,
            grad_fn: None,
            leaf: None,
            value,
            view: true,
        }))
    }

    /// Its sizes and strides.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Its sizes.
    pub fn dims(&self) -> &[u64] {
        self.0.layout.dims()
    }

    /// Size of a dimension; negative counts from the end.
    pub fn dim(&self, index: isize) -> u64 {
        self.0.layout.dim(index)
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Bytes of its elements (its storage may be larger).
    pub fn bytes(&self) -> u64 {
        self.0.layout.numel().saturating_mul(self.0.dtype.bytes())
    }

    /// Its data, where an executor keeps any.
    pub fn value(&self) -> Option<&Value> {
        self.0.value.as_ref()
    }

    /// Whether gradients flow to it.
    pub fn requires_grad(&self) -> bool {
        self.0.grad_fn.is_some() || self.0.leaf.is_some()
    }

    /// Whether it is a trainable parameter.
    pub fn is_leaf(&self) -> bool {
        self.0.leaf.is_some()
    }

    /// The same bytes without a history.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::new(Rc::clone(&self.0.storage), self.0.layout, self.0.dtype, self.0.value.clone())
    }

    /// The parameter's gradient, if it has one.
    pub fn grad(&self) -> Option<Self> {
        self.0.leaf.as_ref().and_then(|leaf| leaf.grad.borrow().clone())
    }

    /// Lets go of the parameter's gradient (`zero_grad(set_to_none=True)`).
    pub fn clear_grad(&self) {
        if let Some(leaf) = &self.0.leaf {
            leaf.grad.borrow_mut().take();
        }
    }

    /// What its storage turned out to be for.
    pub fn recategorise(&self, category: Category) {
        let storage = &self.0.storage;
        if storage.id != Storage::UNCHARGED {
            storage.ledger.recategorise(storage.id, category);
        }
    }

    /// Whether it looks at the bytes of `other`.
    pub fn same_storage(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0.storage, &other.0.storage)
    }

    /// Whether nothing else can see its bytes, so that a sum may be written over them.
    pub(crate) fn sole_owner(&self) -> bool {
        !self.0.view && Rc::strong_count(&self.0) == 1 && Rc::strong_count(&self.0.storage) == 1
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.0.dtype, self.0.layout)
    }
}
