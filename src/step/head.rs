//! The head a job puts on a model.

use std::borrow::Cow;

use super::error::EstimateError;
use crate::job::{Head, Job, JobError, Objective, Peft, Train, Workload};
use crate::model::{EncoderClass, EncoderConfig, Model, ModelType};

/// The heads a model can be trained with; the first is the one it gets where a job names none.
const fn heads(model: &Model) -> &'static [Head] {
    match model {
        Model::Decoder(_) => &[Head::CausalLm, Head::SeqCls],
        // its masked-language-model head is a matrix of its own, which is not modelled
        Model::Encoder(config) if matches!(config.model_type, ModelType::EuroBert) => &[Head::SeqCls],
        Model::Encoder(_) => &[Head::SeqCls, Head::MaskedLm],
        Model::EncoderDecoder(_) => &[Head::Seq2seqLm],
        Model::Vision(_) => &[Head::ImageCls],
        // refused whatever the head
        Model::Listed(_) => &[],
    }
}

/// The model as the job runs it: with the head of its training, and tied as transformers ties it.
///
/// # Errors
/// The model has no such head, or the method is not modelled together with it.
pub(super) fn headed<'a>(model: &'a Model, job: &Job) -> Result<Cow<'a, Model>, EstimateError> {
    if let Model::Listed(_) = model {
        return Ok(Cow::Borrowed(model));
    }
    let Workload::Train(train) = &job.workload else { return Ok(tied(model)) };
    let (asked, num_labels) = train.asked_head();
    let heads = heads(model);
    let head = match asked {
        None => heads.first().copied().unwrap_or_default(),
        Some(head) if heads.contains(&head) => head,
        Some(head) => {
            let heads: Vec<String> = heads.iter().map(|head| format!("\"{head}\"")).collect();
            return Err(EstimateError::NoHead { head, model_type: model.model_type(), heads: heads.join(" or ") });
        }
    };
    if let Model::Vision(_) = model {
        refuse_methods_but_lora(train)?;
    }
    if let Model::Encoder(config) = model {
        refuse_methods_but_lora(train)?;
        if train.gradient_checkpointing && !config.family.checkpoints() {
            let fix = format!("transformers' class for a {} model has none, so leave it out", config.model_type);
            return Err(JobError::unsupported("train.gradient_checkpointing", "true".to_owned(), fix).into());
        }
    }
    if let (Model::Encoder(config), Objective::Embedding) = (model, train.objective) {
        let config = EncoderConfig { class: EncoderClass::Base, ..config.clone() };
        return Ok(Cow::Owned(Model::Encoder(config)));
    }
    Ok(match head {
        Head::SeqCls | Head::ImageCls => Cow::Owned(model.clone().classifying(num_labels)),
        Head::MaskedLm => Cow::Owned(model.clone().predicting_masked_tokens()),
        _ => tied(model),
    })
}

fn tied(model: &Model) -> Cow<'_, Model> {
    match model {
        Model::EncoderDecoder(config) if config.untied_head => Cow::Owned(model.clone().tied()),
        _ => Cow::Borrowed(model),
    }
}

fn refuse_methods_but_lora(train: &Train) -> Result<(), EstimateError> {
    match &train.peft {
        Some(peft) if !matches!(peft, Peft::Lora(_)) => {
            let fix = "of an encoder only \"lora\" or full fine-tuning is modelled";
            Err(JobError::unsupported("train.peft.type", format!("\"{}\"", peft.type_name()), fix).into())
        }
        _ => Ok(()),
    }
}
