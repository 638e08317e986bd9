//! Which parameters an optimizer for matrices treats in its own way.

use crate::ghost::Tensor;
use crate::job::{Optim, TargetModules, Train};
use crate::nn::{Leaf, Module, Part};

/// Says of each of `parameters` whether it is one of those: Muon's are the matrices of hidden layers (not embeddings, not
/// the head); GaLore's and APOLLO's are the weights of linear layers that `optim_target_modules` names. Empty where the
/// optimizer treats all alike.
pub(crate) fn own_matrices(job: &Train, model: &mut (impl Module + ?Sized), parameters: &[Tensor]) -> Vec<bool> {
    let is_muon = job.optim == Optim::Muon;
    if !is_muon && !job.optim.is_low_rank() {
        return Vec::new();
    }
    let mut found: Vec<Tensor> = Vec::new();
    model.leaves(&mut |mut leaf| {
        let is_end = matches!(leaf.part(), Part::Embedding | Part::Head);
        let named = match (&job.optim_target_modules, &leaf) {
            (Some(TargetModules::Names(names)), Leaf::Linear(linear)) => {
                let path = path(linear.part, linear.name);
                names.iter().any(|name| path.contains(name.as_str()))
            }
            (Some(TargetModules::AllLinear), Leaf::Linear(_)) => true,
            _ => false,
        };
        let conv1d = matches!(&leaf, Leaf::Linear(linear) if linear.conv1d);
        let own = if is_muon { is_end } else { named && !conv1d };
        if own {
            found.extend(leaf.dense_parameters().into_iter().map(|parameter| (*parameter).clone()));
        }
    });
    let is_found = |parameter: &Tensor| found.iter().any(|other| other.same_storage(parameter));
    let is_tied_head =
        |parameter: &Tensor| !is_muon && parameters.first().is_some_and(|first| first.same_storage(parameter));
    // of a tied pair `named_parameters()` has the embedding's name
    parameters
        .iter()
        .map(|parameter| {
            let matrix = parameter.dims().len() == 2;
            matrix && is_found(parameter) != is_muon && !is_tied_head(parameter)
        })
        .collect()
}

/// Where a linear layer stands in transformers' names for the parts of a Llama-like model.
fn path(part: Part, name: &str) -> String {
    match part {
        Part::Attention => format!("model.layers.0.self_attn.{name}"),
        Part::Mlp => format!("model.layers.0.mlp.{name}"),
        _ => name.to_owned(),
    }
}
