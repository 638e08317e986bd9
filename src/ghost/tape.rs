//! The tape: what forward left for backward, and the walk back along it.
//!
//! Order and lifetimes are those of PyTorch's autograd engine (`torch/csrc/autograd/engine.cpp`): nodes run from the last
//! recorded to the first; a node's incoming gradient lives until its outputs are computed, its saved tensors a moment
//! longer; a second gradient for the same tensor is added in place only where nothing else looks at the first.

use std::rc::Rc;

use smallvec::SmallVec;

use super::checkpoint::Frame;
use super::context::Context;
use super::executor::Kernel;
use super::layout::Layout;
use super::ledger::{Category, Phase};
use super::tensor::Tensor;
use crate::dtype::DType;

/// Gradients an operation's backward returns, one for each input, in order.
pub type Grads = SmallVec<[Option<Tensor>; 3]>;

/// What an operation's backward may use.
pub struct Incoming<'a> {
    /// The gradient of the first output.
    pub grad: &'a Tensor,
    /// The gradients of all outputs, where there are several.
    pub grads: &'a [Option<Tensor>],
    /// The tensors it saved, in the order it saved them.
    pub saved: &'a [Option<Tensor>],
    needs: &'a [Edge],
}

impl Incoming<'_> {
    /// Whether the gradient of an input is wanted.
    pub fn needs(&self, input: usize) -> bool {
        !matches!(self.needs[input].to, Target::None)
    }

    /// A tensor that was saved.
    ///
    /// # Panics
    /// It was not saved: a mistake in the operation.
    pub fn saved(&self, index: usize) -> &Tensor {
        self.saved[index].as_ref().expect("backward uses a tensor that forward did not save")
    }
}

/// An operation's backward. What it captures is shapes and numbers; tensors come from what was saved.
pub type Backward = Box<dyn FnOnce(&Context, &Incoming<'_>) -> Grads>;

pub(crate) enum Target {
    None,
    Node { node: u32, slot: u8 },
    Leaf(Tensor),
}

pub(crate) struct Edge {
    to: Target,
    /// The input's sizes and type, where the gradient may come in others (broadcasting, promotion).
    expect: Option<Box<(Layout, DType)>>,
}

pub(crate) enum Saved {
    None,
    Tensor(Tensor),
    /// Recomputed when it is needed: the n-th tensor its checkpointed region saves.
    Recomputed(Rc<Frame>, usize),
}

#[derive(Default)]
pub(crate) struct Node {
    edges: SmallVec<[Edge; 3]>,
    saved: SmallVec<[Saved; 3]>,
    /// Kept until the whole graph goes, as attributes of a custom function's context are.
    _held: Vec<Tensor>,
    backward: Option<Backward>,
    grads: SmallVec<[Option<Tensor>; 1]>,
}

#[derive(Default)]
pub(crate) struct Tape {
    pub(crate) nodes: Vec<Node>,
}

/// A node in the making: created before its operation runs, since that is when inputs are saved.
pub struct Recording {
    edges: SmallVec<[Edge; 3]>,
    saved: SmallVec<[Saved; 3]>,
    held: Vec<Tensor>,
}

impl Recording {
    pub(crate) fn new(cx: &Context, inputs: &[&Tensor], saved: &[Option<&Tensor>]) -> Self {
        let edges = inputs.iter().map(|input| Edge::to(cx, input)).collect();
        let saved = saved
            .iter()
            .map(|tensor| match tensor {
                Some(tensor) => cx.pack(tensor),
                None => Saved::None,
            })
            .collect();
        Self { edges, saved, held: Vec::new() }
    }

    /// Saves an output.
    pub fn save_output(&mut self, cx: &Context, output: &Tensor) {
        self.saved.push(cx.pack(&output.detach()));
    }

    /// Keeps a tensor until the whole graph is gone.
    pub fn hold(&mut self, tensor: Tensor) {
        self.held.push(tensor);
    }

    /// Gradients of broadcast or promoted inputs are summed and cast to what the inputs are.
    pub fn expecting(&mut self, inputs: &[&Tensor], output: &Layout, dtype: DType) {
        for (edge, input) in self.edges.iter_mut().zip(inputs) {
            if !matches!(edge.to, Target::None) && (input.dims() != output.dims() || input.dtype() != dtype) {
                edge.expect = Some(Box::new((*input.layout(), input.dtype())));
            }
        }
    }

    /// Puts the node on the tape and makes `outputs` its outputs.
    pub fn finish(
        self,
        cx: &Context,
        outputs: &mut [&mut Tensor],
        backward: impl FnOnce(&Context, &Incoming<'_>) -> Grads + 'static,
    ) {
        let node = Node {
            edges: self.edges,
            saved: self.saved,
            _held: self.held,
            backward: Some(Box::new(backward)),
            grads: outputs.iter().map(|_| None).collect(),
        };
        cx.push(node, outputs);
    }
}

impl Edge {
    fn to(cx: &Context, input: &Tensor) -> Self {
        let to = if let Some(leaf) = &input.0.leaf {
            if !cx.is_recomputing() {
                leaf.awaited.set(leaf.awaited.get() + 1);
            }
            Target::Leaf(input.clone())
        } else {
            match input.0.grad_fn {
                Some(at) if at.tape == cx.tape_number() => Target::Node { node: at.node, slot: at.slot },
                // recomputation: its own graph is never walked, but what hangs on the outer one is saved all the same
                Some(_) => Target::Node { node: u32::MAX, slot: 0 },
                None => Target::None,
            }
        };
        Self { to, expect: None }
    }
}

impl Context {
    /// Backpropagates from a scalar. Parameters' gradients appear or grow; saved tensors go as they are used.
    pub fn backward(&self, loss: &Tensor) {
        self.set_phase(Phase::Backward);
        let was = self.in_backward.replace(true);
        let grad_enabled = self.grad_enabled.replace(false);
        let category = self.category.replace(Category::Temporary);
        let root = self.launch(Kernel::Ones, &[], Layout::contiguous(loss.dims()), loss.dtype());
        if let Some(at) = loss.0.grad_fn {
            self.tape.borrow_mut().nodes[at.node as usize].grads[at.slot as usize] = Some(root.clone());
            for index in (0..=at.node as usize).rev() {
                self.run_node(index);
            }
        }
        drop(root);
        self.category.set(category);
        self.grad_enabled.set(grad_enabled);
        self.in_backward.set(was);
    }

    fn run_node(&self, index: usize) {
        let (edges, packed, backward, grads) = {
            let mut tape = self.tape.borrow_mut();
            let node = &mut tape.nodes[index];
            if node.grads.iter().all(Option::is_none) {
                return;
            }
            (
                std::mem::take(&mut node.edges),
                std::mem::take(&mut node.saved),
                node.backward.take(),
                std::mem::take(&mut node.grads),
            )
        };
        let Some(backward) = backward else { return };
        let mut outputs = {
            let saved: SmallVec<[Option<Tensor>; 3]> = packed.iter().map(|saved| self.unpack(saved)).collect();
            let first = grads.iter().flatten().next().expect("a node runs when it has a gradient");
            let incoming = Incoming { grad: first, grads: &grads, saved: &saved, needs: &edges };
            let mut outputs = backward(self, &incoming);
            // the function's own references to what it saved go before its outputs are checked
            drop(saved);
            for (output, edge) in outputs.iter_mut().zip(&edges) {
                if let (Some(grad), Some(expect)) = (output.as_mut(), &edge.expect) {
                    self.fit(grad, &expect.0, expect.1);
                }
            }
            outputs
        };
        drop(grads);
        drop(packed);
        for (output, edge) in outputs.iter_mut().zip(&edges) {
            let Some(grad) = output.take() else { continue };
            match &edge.to {
                Target::None => {}
                Target::Leaf(parameter) => self.accumulate_parameter(parameter, grad),
                Target::Node { node, slot } => self.accumulate(*node as usize, *slot as usize, grad),
            }
        }
        // leaves stay with the graph
        self.tape.borrow_mut().nodes[index].edges = edges;
    }

    /// Sums a gradient over broadcast dimensions and casts it to its input's type (`validate_outputs`).
    fn fit(&self, grad: &mut Tensor, layout: &Layout, dtype: DType) {
        if grad.dims() != layout.dims() {
            *grad = self.sum_to(grad, layout);
        }
        if grad.dtype() != dtype {
            *grad = self.cast(&*grad, dtype);
        }
    }

    fn accumulate(&self, node: usize, slot: usize, grad: Tensor) {
        let old = self.tape.borrow_mut().nodes[node].grads[slot].take();
        let sum = self.sum(old, grad);
        self.tape.borrow_mut().nodes[node].grads[slot] = Some(sum);
    }

    /// A gradient added to the one that came before it: in place only where nothing else can see that one.
    fn sum(&self, old: Option<Tensor>, grad: Tensor) -> Tensor {
        match old {
            None => grad,
            Some(old) if old.sole_owner() && old.layout().is_dense() => {
                if self.is_real() {
                    self.written_over(Kernel::Add, &old, &[&grad])
                } else {
                    old
                }
            }
            Some(old) => {
                let layout = Layout::elementwise(&[old.layout(), grad.layout()]);
                self.launch(Kernel::Add, &[&old, &grad], layout, old.dtype())
            }
        }
    }

    /// A parameter takes its gradient when all its uses have sent theirs.
    fn accumulate_parameter(&self, parameter: &Tensor, grad: Tensor) {
        let leaf = parameter.0.leaf.as_ref().expect("gradients accumulate in parameters");
        let old = leaf.pending.take();
        let sum = self.sum(old, grad);
        let awaited = leaf.awaited.get().saturating_sub(1);
        leaf.awaited.set(awaited);
        if awaited > 0 {
            leaf.pending.replace(Some(sum));
            return;
        }
        let mut held = leaf.grad.borrow_mut();
        if let Some(held) = held.as_mut() {
            if self.is_real() {
                *held = self.written_over(Kernel::Add, held, &[&sum]);
            }
            return;
        }
        let same_layout =
            sum.layout() == parameter.layout() || (sum.layout().is_contiguous() && parameter.layout().is_contiguous());
        let grad = if Rc::strong_count(&sum.0) == 1 && same_layout {
            sum.detach()
        } else {
            self.launch(Kernel::Copy, &[&sum], *parameter.layout(), sum.dtype())
        };
        grad.recategorise(Category::Gradients);
        *held = Some(grad).filter(|_| !self.offloads_gradient(parameter));
    }

    /// Runs `body`, whose graph nothing goes back through: what it saved lives as long as the graph that is returned.
    pub fn apart(&self, body: impl FnOnce() -> Tensor) -> (Tensor, Graph) {
        let before = self.tape.borrow().nodes.len();
        let out = body();
        let nodes = self.tape.borrow_mut().nodes.split_off(before);
        (out.detach(), Graph { _nodes: nodes })
    }

    /// Takes the graph recorded so far off the tape; dropping it lets go of what custom functions and leaves kept on it.
    pub fn take_graph(&self) -> Graph {
        let nodes = std::mem::take(&mut self.tape.borrow_mut().nodes);
        self.next_tape();
        Graph { _nodes: nodes }
    }
}

/// A graph that is no longer recorded on.
pub struct Graph {
    _nodes: Vec<Node>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ghost::{Entry, Playback};

    /// Charges of a category from the `from`-th entry on, in bytes; the tests expect as many as torch 2.11 makes.
    fn charged(cx: &Context, from: usize, wanted: Category) -> Vec<u64> {
        let bytes = |entry: &Entry| match *entry {
            Entry::Charge { bytes, category, .. } if category == wanted => Some(bytes),
            _ => None,
        };
        cx.ledger().entries()[from..].iter().filter_map(bytes).collect()
    }

    fn live(cx: &Context) -> u64 {
        Playback::default().play(&cx.ledger().entries()).live()
    }

    #[test]
    fn a_gradient_is_handed_on_where_an_operation_does_not_change_it() {
        let cx = Context::new();
        let [a, b] = ["a", "b"].map(|name| cx.parameter(name, &[256], DType::F32, true));
        let loss = cx.sum_all(cx.add(&a, &b));
        let from = cx.ledger().len();
        cx.backward(&loss);
        // both would own the expanded scalar that the sum sends back: each gets a copy
        assert_eq!(charged(&cx, from, Category::Gradients), [1024, 1024]);
        assert_eq!(charged(&cx, from, Category::Temporary), [4]);
    }

    #[test]
    fn a_parameter_used_twice_gets_one_gradient() {
        let cx = Context::new();
        let a = cx.parameter("a", &[256], DType::F32, true);
        let loss = cx.sum_all(cx.add(cx.silu(&a), cx.tanh(&a)));
        let from = cx.ledger().len();
        cx.backward(&loss);
        // tanh's comes first and is the sum's place, silu's is added to it and goes
        assert_eq!(charged(&cx, from, Category::Gradients), [1024]);
        assert_eq!(charged(&cx, from, Category::Temporary), [4, 1024]);
    }

    #[test]
    fn a_sum_takes_new_memory_where_the_first_gradient_is_seen_elsewhere() {
        let cx = Context::new();
        let a = cx.parameter("a", &[256], DType::F32, true);
        let loss = cx.sum_all(cx.mul(cx.silu(&a), cx.add(&a, &a)));
        let from = cx.ledger().len();
        cx.backward(&loss);
        // of the products one is silu's; the other reaches `a` twice through the sum, which cannot be added in place
        assert_eq!(charged(&cx, from, Category::Gradients), [1024]);
        assert_eq!(charged(&cx, from, Category::Temporary), [4, 1024, 1024, 1024]);
        drop(loss);
        drop(cx.take_graph());
        assert_eq!(live(&cx), 2 * 1024);
    }

    #[test]
    fn what_was_saved_goes_and_a_second_step_adds_in_place() {
        let cx = Context::new();
        let weight = cx.parameter("weight", &[64, 64], DType::F32, true);
        let x = cx.input("x", &[32, 64], DType::F32);
        let step = || {
            let loss = cx.sum_all(cx.silu(cx.linear(&x, &weight, None)));
            cx.backward(&loss);
            drop(loss);
            drop(cx.take_graph());
        };
        step();
        let after = live(&cx);
        let gradient = weight.grad();
        step();
        assert_eq!(live(&cx), after);
        let same = gradient.zip(weight.grad()).map(|(first, second)| first.same_storage(&second));
        assert_eq!(same, Some(true));
    }
}
