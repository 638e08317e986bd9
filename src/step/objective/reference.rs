//! What a policy is compared with.

use crate::arch::{Forward, Network};
use crate::ghost::Context;
use crate::job::Train;

/// A model that is not trained.
pub(super) enum Reference {
    /// A frozen copy of the model.
    Model(Box<dyn Network>),
    /// The model without its adapters.
    WithoutAdapters,
}

impl Reference {
    /// The reference of `job`; `load` loads a frozen copy of the model.
    pub(super) fn new(job: &Train, load: impl FnOnce() -> Box<dyn Network>) -> Self {
        if job.peft.is_some() { Self::WithoutAdapters } else { Self::Model(load()) }
    }

    /// Runs `body` on it, without gradients and without checkpointing.
    pub(super) fn run<T>(
        &self,
        cx: &Context,
        network: &dyn Network,
        run: Forward<'_>,
        body: impl FnOnce(&dyn Network, Forward<'_>) -> T,
    ) -> T {
        let run = Forward { checkpointing: false, input_require_grads: false, ..run };
        match self {
            Self::WithoutAdapters => cx.no_grad(|| cx.with_adapters_disabled(|| body(network, run))),
            Self::Model(model) => {
                let training = cx.training();
                cx.set_training(false);
                let result = cx.no_grad(|| body(model.as_ref(), run));
                cx.set_training(training);
                result
            }
        }
    }
}
