//! What a training method makes of a loaded model: which parameters train, and which adapters it gets.

use crate::arch::Decoder;
use crate::ghost::{Tensor, trainable_copy};
use crate::nn::{Leaf, Module};

/// Every parameter trains. A tied head's weight becomes the embedding's.
pub(super) fn train_everything(decoder: &mut Decoder) {
    let tied = decoder.is_tied();
    let mut embedding: Option<Tensor> = None;
    decoder.leaves(&mut |mut leaf| {
        let is_head = leaf.name() == "lm_head";
        // the token table is the first of a model's leaves
        let is_embedding = embedding.is_none() && matches!(leaf, Leaf::Embedding(_));
        for parameter in leaf.dense_parameters() {
            match &embedding {
                Some(embedding) if is_head && tied => *parameter = embedding.clone(),
                _ => *parameter = trainable_copy(parameter),
            }
            if is_embedding {
                embedding = Some(parameter.clone());
            }
        }
    });
}

/// Every parameter, in the order `model.parameters()` lists them, tied ones once.
pub(super) fn parameters(decoder: &mut Decoder) -> Vec<Tensor> {
    let tied = decoder.is_tied();
    let mut all = Vec::new();
    decoder.leaves(&mut |mut leaf| {
        let skip_weight = tied && leaf.name() == "lm_head";
        let skip = usize::from(skip_weight);
        all.extend(leaf.dense_parameters().into_iter().skip(skip).map(|t| t.clone()));
        if let Leaf::Linear(linear) = leaf
            && let Some(lora) = &linear.lora
        {
            all.extend([lora.a.clone(), lora.b.clone()]);
        }
    });
    all
}
