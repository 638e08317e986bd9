//! Cross entropy.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `cross_entropy(logits, labels)` with mean reduction: a log-softmax that is saved, and a loss, which autocast asks for
    /// in fp32.
    pub fn cross_entropy(&self, logits: impl Borrow<Tensor>, labels: &Tensor) -> Tensor {
        let logits = logits.borrow();
        // the log-softmax is told its type, so that autocast casts no more than the loss' input
        let mut probabilities = self.log_softmax(logits);
        if self.autocast_dtype().is_some() {
            probabilities = self.cast(&probabilities, DType::F32);
        }
        self.nll_loss(&probabilities, labels)
    }

    fn log_softmax(&self, a: &Tensor) -> Tensor {
        let node = self.record(&[a], &[]);
        let mut out = self.launch(Kernel::LogSoftmax, &[a], Layout::contiguous(a.dims()), a.dtype());
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, saved) = (incoming.grad, incoming.saved(0));
                smallvec![Some(cx.launch(Kernel::LogSoftmaxBackward, &[grad, saved], *saved.layout(), saved.dtype()))]
            });
        }
        out
    }

    fn nll_loss(&self, log_probabilities: &Tensor, labels: &Tensor) -> Tensor {
        let node = self.record(&[log_probabilities], &[Some(log_probabilities), Some(labels)]);
        let scalar = Layout::contiguous(&[]);
        let dtype = log_probabilities.dtype();
        let mut out = self.launch(Kernel::NllLoss, &[log_probabilities, labels], scalar, dtype);
        let total_weight = self.launch(Kernel::NllTotalWeight, &[log_probabilities, labels], scalar, dtype);
        if let Some(mut node) = node {
            node.save_output(self, &total_weight);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let saved = incoming.saved(0);
                let inputs = [incoming.grad, saved, incoming.saved(1), incoming.saved(2)];
                smallvec![Some(cx.within(crate::ghost::Category::Logits, || {
                    cx.launch(Kernel::NllLossBackward, &inputs, *saved.layout(), saved.dtype())
                }))]
            });
        }
        out
    }
}
