//! What an estimate rests on, and what a reader should know about it.

use super::count::count_parameters;
use super::estimate::Basis;
use crate::job::{
    AttnImplementation, ExpertsImplementation, Head, Job, MixedPrecision, Objective, OffloadOptimizer, Optim, Peft,
    TargetModules, Train, Workload,
};
use crate::model::{Mixer, Model, ModelType, Origin, Support};
use crate::units::Bytes;

/// The versions whose behaviour is modelled and whose measurements the tests hold it against.
const VERSIONS: &str = "torch 2.11, transformers 5.17, peft 0.21, bitsandbytes 0.50";

/// What is said of a model that is guessed from its size.
pub(super) fn guessed(model: &Model) -> Option<String> {
    let says = || format!("{}: a Llama-shaped guess from a size, not a model that is known", model.name());
    (model.origin() == Origin::Guess).then(says)
}

pub(super) fn of(model: &Model, job: &Job, paged: u64, host: u64) -> Basis {
    let mut notes = vec![
        "kernels' heuristics are those of a card with compute capability 8.0 and 132 multiprocessors; on H100 and H200 \
         cuBLAS' workspaces are larger: 47.75 MiB more in training, 23.9 MiB in inference"
            .to_owned(),
    ];
    notes.extend(guessed(model));
    let length = match &job.workload {
        Workload::Train(train) => train.max_seq_length,
        Workload::Infer(infer) => infer.prompt_length.saturating_add(infer.max_new_tokens),
        Workload::Serve(_) => 0,
    };
    // packed sequences count from zero each
    if length > model.max_position_embeddings() && !matches!(model, Model::Vision(_)) {
        notes.push(format!(
            "{length} tokens are more than the {} positions of {}",
            model.max_position_embeddings(),
            model.name()
        ));
    }
    if model.decoder().is_some_and(|decoder| decoder.mixer.is_some()) {
        notes.push(
            "layers without attention are run as transformers' own PyTorch code runs them; with the mamba_ssm, causal_conv1d \
             or flash-linear-attention kernels installed they keep less, and cuDNN's convolutions may take a workspace"
                .to_owned(),
        );
    }
    if let Some(tower) = model.decoder().map(|decoder| decoder.tower_left_out).filter(|tower| *tower > 0) {
        notes.push(format!(
            "the language model alone, as AutoModelForCausalLM loads it: the {tower} parameters of the vision tower are not \
             in these figures"
        ));
    }
    if let Workload::Train(train) = &job.workload {
        let packed = train.gradient_checkpointing
            && !train.packing
            && !train.attention_mask
            && train.attn_implementation != AttnImplementation::Eager;
        if packed {
            notes.push(
                "without a cache and without a mask transformers looks for packed sequences; it is assumed to find them \
                 and to make a mask. Where it finds none, attention needs less"
                    .to_owned(),
            );
        }
        if train.packing && train.attn_implementation != AttnImplementation::FlashAttention2 {
            let tokens = train.row()[1];
            notes.push(format!(
                "{tokens} packed tokens under {} take a mask of {tokens} times {tokens}; with flash_attention_2 there is none",
                train.attn_implementation
            ));
        }
        if train.mixed_precision == MixedPrecision::Fp16 {
            notes.push("the gradient scaler's few scalars are not counted".to_owned());
        }
        notes.extend(embedding_states(model, train));
        if train.optim == Optim::GaloreAdamw {
            notes.push(
                "the workspace that cuSOLVER takes for a singular value decomposition is not known here and not counted"
                    .to_owned(),
            );
        }
        notes.extend(super::objective::notes(train));
        if train.use_liger_kernel {
            notes.push("Liger's kernels are those of liger-kernel 0.8".to_owned());
        }
        if let Some(Peft::AdaLora(_)) = &train.peft {
            notes.push(
                "AdaLoRA's importance scores are not counted: nothing is kept of them unless the loop calls \
                 update_and_allocate, as the Trainer does not"
                    .to_owned(),
            );
        }
        if host > 0 {
            notes.push(format!(
                "{} of the host's memory is taken by optimizer states and copies of weights and gradients; it is not in \
                 these figures",
                Bytes(host)
            ));
        }
        if train.offload_optimizer == OffloadOptimizer::Deepspeed {
            notes.push(
                "as ZeRO-Offload of stage 2 on one GPU does it, with buckets of DeepSpeed's default 500,000,000 elements"
                    .to_owned(),
            );
        }
        if paged > 0 {
            notes.push(format!(
                "{} of paged optimizer states are in managed memory, which the driver moves to the host when the card is \
                 full; they are not in these figures",
                Bytes(paged)
            ));
        }
    }
    if let Model::EncoderDecoder(config) = model
        && config.untied_head
    {
        notes.push(
            "the checkpoint has a head of its own; transformers 5 ties it to the token embedding all the same"
                .to_owned(),
        );
    }
    notes.extend(tower(model, job));
    if model.model_type() == ModelType::Whisper {
        notes.push(
            "every recording is padded to 30 seconds, whatever max_seq_length says of the text; convolutions are \
             measured without cuDNN, whose workspace is not known"
                .to_owned(),
        );
    }
    notes.extend(experts(model, job));
    let unmeasured = unmeasured(model, job);
    notes.extend(
        unmeasured.map(|what| format!("no recorded measurement has {what}; it follows what PyTorch's sources do")),
    );
    let measured = match model.model_type().support() {
        Support::Measured => true,
        Support::OwnCode => {
            notes.push(format!(
                "the class of `{}` models comes with their repository, not with transformers: parameters are counted as it \
                 has them, and its layers are run as those of a Llama with these matrices, without what its own code may \
                 keep beside",
                model.model_type()
            ));
            false
        }
        _ => {
            notes.push(format!(
                "no recorded measurement is of a `{}` model; what its layers take follows transformers' sources",
                model.model_type()
            ));
            false
        }
    };
    let refused = multiplies_packed_weights(model, job);
    if refused {
        notes.push(
            "transformers multiplies by the weight of a Mamba layer's dt_proj itself, which fails where that is quantised: \
             such a model is loaded with llm_int8_skip_modules, and what it then leaves unquantised is more than here"
                .to_owned(),
        );
    }
    Basis {
        runtime: "pytorch".to_owned(),
        versions: VERSIONS.to_owned(),
        validated: model.origin() == Origin::Config
            && measured
            && unmeasured.is_none()
            && !refused
            && !takes_images(model)
            && model.model_type() != ModelType::Whisper,
        notes,
    }
}

/// Whether a model is given images: what convolutions and towers take for them is not known or not in an estimate.
fn takes_images(model: &Model) -> bool {
    matches!(model, Model::Vision(_)) || model.decoder().is_some_and(|decoder| decoder.tower.is_some())
}

/// What a reader should know of a vision-language model.
fn tower(model: &Model, job: &Job) -> Vec<String> {
    if let Model::Vision(config) = model {
        return vec![format!(
            "each of the batch is an image of {0} x {0} pixels; max_seq_length is not read. The workspace that cuDNN takes for \
             the convolution that makes patches is not known here and not counted",
            config.image_size
        )];
    }
    let Some(tower) = model.decoder().and_then(|decoder| decoder.tower.as_ref()) else { return Vec::new() };
    let mut notes = vec![
        "the batch is text alone: its model's vision tower and projector are loaded and not run. With images the activations \
         of the tower come on top, and are not in this figure"
            .to_owned(),
    ];
    if let Workload::Train(train) = &job.workload {
        let trained = match &train.peft {
            None => format!("the tower's {} parameters", tower.parameters.count()),
            Some(_) => "adapters in the tower, where target_modules reach it,".to_owned(),
        };
        notes.push(format!("{trained} get gradients and optimizer states once a batch has an image, and none here"));
    }
    notes
}

/// What a reader should know of a mixture of experts.
fn experts(model: &Model, job: &Job) -> Vec<String> {
    let Some(decoder) = model.decoder().filter(|decoder| decoder.moe.is_some()) else {
        return Vec::new();
    };
    let mut notes = vec![
        "experts run by grouped_mm, transformers' default, whose sizes do not depend on which experts tokens are sent to; on \
         compute capability 9.0 its kernels take a workspace that is not counted"
            .to_owned(),
    ];
    let (precision, adapted) = (job.workload.precision(), job.workload.peft().is_some());
    if super::load::quantization(precision, false).is_some() {
        let kept = if adapted {
            "stay as they are, and preparing for k-bit training makes them fp32"
        } else {
            "stay as they are"
        };
        notes.push(format!(
            "bitsandbytes quantises nn.Linear alone: the experts, stacked in three-dimensional parameters, {kept}"
        ));
    }
    if decoder.attention.sinks {
        notes.push(
            "its class supports no scaled_dot_product_attention: attention is eager, as transformers falls back on"
                .to_owned(),
        );
    }
    if adapted {
        notes.push(
            "these target_modules reach nn.Linear alone: neither the stacked experts nor the router get adapters"
                .to_owned(),
        );
    }
    if matches!(&job.workload, Workload::Infer(infer) if infer.decode_experts == ExpertsImplementation::BatchedMm) {
        notes.push(
            "decoding copies the matrices of every expert that is chosen, once for every sequence, as `generate()` has it \
             (batched_mm)"
                .to_owned(),
        );
    }
    notes
}

/// What transformers' `Trainer` adds where bitsandbytes' optimizers are to keep 8-bit states: embeddings get 32-bit ones
/// (`create_optimizer`, `transformers/trainer.py`). The optimizer is taken here as it is given the parameters.
fn embedding_states(model: &Model, train: &Train) -> Option<String> {
    let moments = match train.optim {
        Optim::Adamw8bit | Optim::PagedAdamw8bit => 2,
        Optim::Lion8bit | Optim::PagedLion8bit | Optim::RmsPropBnb8bit => 1,
        Optim::AdEMAMix8bit | Optim::PagedAdEMAMix8bit => 3,
        _ => return None,
    };
    if train.peft.is_some() {
        return None;
    }
    let elements = count_parameters(model, None).ok()?.embedding;
    // four bytes a state instead of one
    let more = Bytes(elements.saturating_mul(3 * moments));
    Some(format!(
        "transformers' Trainer keeps 32-bit states for embeddings under {}: {more} more than here",
        train.optim
    ))
}

/// Whether a job quantises what `MambaMixer.slow_forward` takes the plain weight of (`modeling_mamba.py`,
/// `modeling_jamba.py`: `self.dt_proj.weight @ time_step`); measuring one ends in an error of shapes.
fn multiplies_packed_weights(model: &Model, job: &Job) -> bool {
    job.workload.precision().is_quantized()
        && model.decoder().is_some_and(|decoder| matches!(decoder.mixer, Some(Mixer::Mamba(_))))
}

/// Whether a method puts something on the head or trains modules whole.
fn adapts_head(peft: &Peft) -> bool {
    let targets = matches!(peft, Peft::Lora(lora) if matches!(&lora.target_modules, Some(TargetModules::Names(names))
        if names.iter().any(|name| name.ends_with("lm_head"))));
    targets || !peft.modules_to_save().is_empty()
}

/// What of a job no recorded measurement stands behind.
fn unmeasured(model: &Model, job: &Job) -> Option<&'static str> {
    if model.decoder().is_none()
        && let Some(what) = unmeasured_beside_decoders(model, job)
    {
        return Some(what);
    }
    match &job.workload {
        Workload::Train(train) if !train.zero_grad_set_to_none => Some("zero_grad_set_to_none = false"),
        Workload::Train(train) if train.keep_outputs => Some("keep_outputs = true"),
        Workload::Train(train) if train.optim == Optim::GaloreAdamw => Some("optim = \"galore_adamw\""),
        Workload::Train(train) if train.use_liger_kernel && train.peft.as_ref().is_some_and(adapts_head) => {
            Some("use_liger_kernel with an adapted or copied head, whose own weight Liger reads")
        }
        Workload::Train(train) if train.objective == Objective::Ppo => Some("objective = \"ppo\""),
        Workload::Train(train) if train.attn_implementation == AttnImplementation::FlashAttention2 => Some(
            "attn_implementation = \"flash_attention_2\"; the flash-attn package is modelled from its source, and every \
                 padding mask is taken to leave all tokens",
        ),
        Workload::Train(train) if train.offload_optimizer == OffloadOptimizer::Deepspeed => {
            Some("offload_optimizer = \"deepspeed\"")
        }
        Workload::Train(train) if train.offload_optimizer != OffloadOptimizer::No && train.peft.is_some() => {
            Some("an optimizer on the host with adapters")
        }
        Workload::Train(train)
            if !measured_under_autocast(model, train.objective) && train.mixed_precision != MixedPrecision::No =>
        {
            Some("this objective under autocast")
        }
        Workload::Train(train) if train.objective != Objective::Sft && train.precision.is_quantized() => {
            Some("this objective on quantised weights")
        }
        Workload::Train(Train { peft: Some(peft), .. }) => unmeasured_method(peft),
        Workload::Infer(infer) if infer.logits_to_keep > 1 => Some("logits_to_keep above 1"),
        _ => None,
    }
}

/// What of a job on an encoder or an encoder-decoder no recorded measurement stands behind.
fn unmeasured_beside_decoders(model: &Model, job: &Job) -> Option<&'static str> {
    match &job.workload {
        Workload::Infer(_) => Some("inference of an encoder or an encoder-decoder"),
        Workload::Train(train) if train.head == Some(Head::MaskedLm) && !masks_measured(model) => {
            Some("the masked-lm head")
        }
        Workload::Train(train) if train.precision.is_quantized() => {
            Some("quantised weights of an encoder or an encoder-decoder")
        }
        Workload::Train(Train { peft: Some(peft), .. }) if !matches!(peft, Peft::Lora(_)) => {
            Some("this method on an encoder-decoder")
        }
        Workload::Train(_) | Workload::Serve(_) => None,
    }
}

/// Whether a recorded measurement is of this objective under autocast.
fn measured_under_autocast(model: &Model, objective: Objective) -> bool {
    match objective {
        Objective::Sft | Objective::Orpo => true,
        Objective::Embedding => matches!(model, Model::Encoder(_)),
        _ => false,
    }
}

/// Whether a recorded measurement is of a masked-language-model head on this kind of encoder.
fn masks_measured(model: &Model) -> bool {
    matches!(model.model_type(), ModelType::ModernBert | ModelType::Mpnet | ModelType::DebertaV2)
}

/// What of a method no recorded measurement stands behind.
fn unmeasured_method(peft: &Peft) -> Option<&'static str> {
    match peft {
        Peft::Adapter(_) => Some("bottleneck adapters, which PEFT has not"),
        Peft::Oft(method) if method.num_cayley_neumann_terms > 5 => Some("OFT with more than 5 terms"),
        _ => None,
    }
}
