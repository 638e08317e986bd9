//! What a training method makes of a loaded model: which parameters train, and which adapters it gets.

mod method;
mod selection;
mod stacked;
mod targets;

pub(super) use method::Adapted;

use super::error::EstimateError;
use crate::arch::Network;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor, trainable_copy};
use crate::job::Peft;
use crate::model::Model;
use crate::nn::{Leaf, Part, VirtualTokens, orthogonal_regularization};

/// Every parameter trains. A tied head's weight becomes the embedding's.
fn train_everything(cx: &Context, network: &mut dyn Network) {
    replace_parameters(cx, network, |_, never_trains, parameter| (!never_trains).then(|| trainable_copy(parameter)));
}

/// Makes of `network` what is trained: all of it, or what `peft` puts into a frozen model.
///
/// # Errors
/// PEFT or this version has no such method for the model, or no layer has a name that is asked for.
pub(super) fn apply(
    cx: &Context,
    network: &mut dyn Network,
    model: &Model,
    peft: Option<&Peft>,
) -> Result<Adapted, EstimateError> {
    let Some(peft) = peft else {
        train_everything(cx, network);
        return Ok(Adapted::default());
    };
    method::adapt(cx, network, model, peft)
}

/// `prepare_model_for_kbit_training`: half-precision parameters that are not quantised become fp32, one after another.
pub(super) fn prepare_for_kbit_training(cx: &Context, network: &mut dyn Network) {
    replace_parameters(cx, network, |name, _, parameter| {
        let half = matches!(parameter.dtype(), DType::F16 | DType::BF16);
        half.then(|| cx.parameter(name, parameter.dims(), DType::F32, false))
    });
    cx.ledger().empty_cache();
}

/// Replaces parameters in order, each told its leaf's name and whether it never trains; a tied head follows its embedding.
fn replace_parameters(
    cx: &Context,
    network: &mut dyn Network,
    replace: impl Fn(&'static str, bool, &Tensor) -> Option<Tensor>,
) {
    let tied = network.is_tied();
    if tied {
        // the head's name for the shared weight goes first, so that the old weight goes when its embedding's does
        network.leaves(&mut |mut leaf| {
            if leaf.part() == Part::Head
                && let Some(weight) = leaf.dense_parameters().into_iter().next()
            {
                *weight = cx.meta(&[0], weight.dtype());
            }
        });
    }
    let mut embedding: Option<Tensor> = None;
    network.leaves(&mut |mut leaf| {
        let name = leaf.name();
        let never_trains = leaf.never_trains();
        let is_head = leaf.part() == Part::Head;
        let is_table = matches!(leaf, Leaf::Embedding(_));
        for (i, parameter) in leaf.dense_parameters().into_iter().enumerate() {
            match &embedding {
                Some(embedding) if is_head && tied && i == 0 => *parameter = embedding.clone(),
                _ => {
                    if let Some(new) = replace(name, never_trains, parameter) {
                        *parameter = new;
                    }
                }
            }
            // the token table is the first of a model's embeddings
            if is_table {
                embedding.get_or_insert_with(|| parameter.clone());
            }
        }
    });
}

/// What a method adds to the loss (`AdaLoraModel.forward`).
pub(super) fn regularized(cx: &Context, loss: Tensor, adapted: &Adapted) -> Tensor {
    orthogonal_regularization(cx, loss, &adapted.orthogonal)
}

/// Every parameter that is trained, in the order `model.parameters()` lists them, tied ones once.
pub(super) fn trainable(network: &mut dyn Network, adapted: &Adapted) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    let mut first: Option<Tensor> = None;
    network.leaves(&mut |mut leaf| {
        let is_table = matches!(leaf, Leaf::Embedding(_));
        for parameter in leaf.dense_parameters() {
            // the head may be the first embedding, the token table
            let tied = first.as_ref().is_some_and(|first| first.same_storage(parameter));
            if is_table {
                first.get_or_insert_with(|| parameter.clone());
            }
            if parameter.requires_grad() && !tied {
                all.push(parameter.clone());
            }
        }
        if let Leaf::Linear(linear) = leaf
            && let Some(adapter) = &linear.adapter
        {
            all.extend(adapter.parameters().into_iter().filter(|parameter| parameter.requires_grad()).cloned());
        }
    });
    all.extend(adapted.virtual_tokens.iter().flat_map(VirtualTokens::parameters).cloned());
    all
}

/// Parameters that were added: adapters, trained or not, copies of modules, virtual tokens.
pub(super) fn added(network: &mut dyn Network, adapted: &Adapted) -> u64 {
    let numel = |tensor: &Tensor| tensor.layout().numel();
    let mut count: u64 = adapted.originals.iter().map(numel).sum();
    network.leaves(&mut |leaf| {
        if let Leaf::Linear(linear) = leaf
            && let Some(adapter) = &linear.adapter
        {
            count += adapter.parameters().into_iter().map(numel).sum::<u64>();
        }
    });
    count + adapted.virtual_tokens.iter().flat_map(VirtualTokens::parameters).map(numel).sum::<u64>()
}
