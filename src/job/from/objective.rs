//! What is learned, and what belongs to it: preferences, rewards, generation.

use super::FromError;
use super::draft::{Draft, Rank};
use super::fields::{Fields, Got, default};
use super::report::Effect::{Either, Less, More};
use crate::job::{Objective, TargetModules};

/// Fields that one trainer of TRL alone has (`trl/trainer/{grpo,kto,reward,dpo}_config.py`, TRL 1.16, and older PPO's).
const TELLING: [(Objective, &[&str]); 5] = [
    (
        Objective::Grpo,
        &[
            "num_generations",
            "steps_per_generation",
            "generation_batch_size",
            "num_iterations",
            "reward_weights",
            "scale_rewards",
            "use_vllm",
            "epsilon_high",
            "mask_truncated_completions",
        ],
    ),
    (Objective::Ppo, &["num_ppo_epochs", "response_length", "local_rollout_forward_batch_size", "reward_model_path"]),
    (Objective::Kto, &["desirable_weight", "undesirable_weight"]),
    (Objective::Reward, &["center_rewards_coefficient"]),
    (Objective::Dpo, &["precompute_ref_log_probs", "sync_ref_model", "ld_alpha", "f_divergence_type", "use_weighting"]),
];

/// `DPOConfig.loss_type`
const DPO_LOSSES: [&str; 10] =
    ["sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "apo_zero", "apo_down"];

/// The objective of a trainer of TRL, by the fields that are there; `None`: nothing tells.
pub(super) fn told(fields: &mut Fields) -> Result<Option<(Objective, String)>, FromError> {
    for (objective, names) in TELLING {
        if let Some(name) = names.iter().find(|name| fields.has(name)) {
            return Ok(Some((objective, (*name).to_owned())));
        }
    }
    let loss = fields.text("loss_type")?;
    Ok(loss.filter(|got| DPO_LOSSES.contains(&got.value.as_str())).map(|_| (Objective::Dpo, "loss_type".to_owned())))
}

/// An objective that a field asks for by name.
pub(super) fn asked<T>(draft: &mut Draft, got: &Got<T>, objective: Objective) {
    let source = got.to(format!("objective = {objective}"));
    draft.objective.set(Rank::Written, objective, source, &mut draft.report.ignored);
}

/// An objective that follows from a field's being there.
pub(super) fn implied(draft: &mut Draft, objective: Objective, by: &str) {
    let to = format!("objective = {objective}");
    let source = default(by, "there, which only one trainer has", to, "TRL 1.16, trainer/*_config.py");
    draft.objective.set(Rank::Default, objective, source, &mut draft.report.ignored);
}

/// What the objective's trainer reads beside it, in TRL's words.
pub(super) fn belongings(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let objective = draft.objective.value.unwrap_or_default();
    if objective == Objective::Sft {
        return Ok(());
    }
    if let Some(got) = fields.number("beta")? {
        let source = got.to(format!("beta = {}", got.value));
        draft.beta.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    }
    if let Some(got) = fields.flag("precompute_ref_log_probs")? {
        if matches!(objective, Objective::Dpo | Objective::Kto) {
            let source = got.to(format!("precompute_ref_log_probs = {}", got.value));
            draft.precompute.set(Rank::Written, got.value, source, &mut draft.report.ignored);
        } else {
            got.ignored(draft, "it has no reference before training");
        }
    }
    lengths(fields, draft, objective)?;
    if objective == Objective::Grpo {
        generation(fields, draft)?;
    }
    if let Some(got) = on(fields, draft, "use_liger_loss")? {
        got.not_modelled(draft, Less, "Liger's loss is computed in chunks");
    }
    Ok(())
}

/// Lengths of prompts and completions, where they are given apart.
fn lengths(fields: &mut Fields, draft: &mut Draft, objective: Objective) -> Result<(), FromError> {
    let completion = match fields.count("max_completion_length")? {
        Some(got) => Some(got),
        None => fields.count("response_length")?,
    };
    let counts = matches!(objective, Objective::Dpo | Objective::Kto | Objective::Grpo | Objective::Ppo);
    let generates = matches!(objective, Objective::Grpo | Objective::Ppo);
    let mut completion_length = 512;
    match completion {
        Some(got) if counts => {
            completion_length = got.value;
            let source = got.to(format!("max_completion_length = {}", got.value));
            draft.completion.set(Rank::Written, got.value, source, &mut draft.report.ignored);
        }
        Some(got) => got.ignored(draft, "every sequence is counted at its full length"),
        None if generates => {
            let to = "max_completion_length = 512";
            let source = default("max_completion_length", 512, to, "TRL 1.16, trainer/grpo_config.py");
            draft.completion.set(Rank::Default, 512, source, &mut draft.report.ignored);
        }
        None => {}
    }
    if let Some(got) = fields.count("max_prompt_length")? {
        if generates {
            let whole = got.value.saturating_add(completion_length);
            let source = got.to(format!("max_seq_length = {whole}, with the completion"));
            draft.length.set(Rank::Written, whole, source, &mut draft.report.ignored);
        } else {
            got.ignored(draft, "every sequence is counted at its full length");
        }
    }
    Ok(())
}

/// What `GRPOConfig` says of generation.
fn generation(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    if let Some(got) = fields.count("num_generations")? {
        let source = got.to(format!("num_generations = {}", got.value));
        draft.num_generations.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    }
    if let Some(got) = fields.count("steps_per_generation")? {
        let source = got.to(format!("steps_per_generation = {}", got.value));
        draft.steps_per_generation.set(Rank::Written, got.value, source, &mut draft.report.ignored);
    } else if let Some(got) = fields.count("generation_batch_size")? {
        let steps = got.value.div_ceil(draft.batch.value.unwrap_or(8).max(1));
        let source = got.to(format!("steps_per_generation = {steps}, as on one GPU"));
        draft.steps_per_generation.set(Rank::Written, steps, source, &mut draft.report.ignored);
    }
    let mode = fields.text("vllm_mode")?;
    if let Some(got) = fields.flag("use_vllm")? {
        let server = mode.as_ref().is_some_and(|mode| mode.value == "server");
        match (got.value, server) {
            (false, _) => got.ignored(draft, "off"),
            (true, true) => got.not_modelled(draft, Less, "completions are generated on another GPU"),
            (true, false) => {
                got.not_modelled(draft, More, "vLLM takes its own share of the GPU (vllm_gpu_memory_utilization)");
            }
        }
    }
    if let Some(got) = mode {
        got.ignored(draft, "part of what use_vllm says");
    }
    if let Some(got) = fields.number("temperature")? {
        if (got.value - 1.0).abs() > f64::EPSILON {
            got.not_modelled(
                draft,
                More,
                "scores that are divided by a temperature are another fp32 copy while sampling",
            );
        } else {
            got.ignored(draft, "what is modelled");
        }
    }
    if let Some(got) = on(fields, draft, "cast_lm_head_to_fp32")? {
        got.not_modelled(draft, More, "the head is held in fp32");
    }
    Ok(())
}

/// A flag that is on; one that is off is accounted for.
pub(super) fn on(fields: &mut Fields, draft: &mut Draft, name: &'static str) -> Result<Option<Got<bool>>, FromError> {
    let got = fields.flag(name)?;
    if let Some(off) = got.as_ref().filter(|got| !got.value) {
        off.ignored(draft, "off");
    }
    Ok(got.filter(|got| got.value))
}

/// Liger's kernels, where they are modelled: with the model's own loss.
pub(super) fn liger(draft: &mut Draft, got: &Got<bool>) {
    let objective = draft.objective.value.unwrap_or_default();
    if got.value && objective != Objective::Sft {
        got.not_modelled(draft, Less, "Liger's kernels keep fewer activations");
        return;
    }
    let source = got.to(format!("use_liger_kernel = {}", got.value));
    draft.liger.set(Rank::Written, got.value, source, &mut draft.report.ignored);
}

/// What GaLore and APOLLO project, and the rank among `optim_args` (`rank=64, scale=1`).
pub(super) fn low_rank(fields: &mut Fields, draft: &mut Draft) -> Result<(), FromError> {
    let projects = draft.optim.value.is_some_and(crate::job::Optim::is_low_rank);
    if let Some(got) = fields.names("optim_target_modules")? {
        if projects {
            let targets = targets(&got.value);
            let source = got.to("optim_target_modules");
            draft.optim_targets.set(Rank::Written, targets, source, &mut draft.report.ignored);
        } else {
            got.ignored(draft, "the optimizer projects nothing");
        }
    }
    if let Some(got) = fields.text("optim_args")? {
        let rank = got.value.split(',').filter_map(|pair| pair.split_once('=')).find(|(name, _)| name.trim() == "rank");
        match rank.and_then(|(_, rank)| rank.trim().parse::<u64>().ok()).filter(|_| projects) {
            Some(rank) => {
                let source = got.to(format!("optim_rank = {rank}"));
                draft.optim_rank.set(Rank::Written, rank, source, &mut draft.report.ignored);
            }
            None => got.not_modelled(draft, Either, "the optimizer is modelled with its defaults"),
        }
    }
    Ok(())
}

/// Modules by the words of a configuration.
pub(super) fn targets(names: &[String]) -> TargetModules {
    match names {
        [word] if matches!(word.as_str(), "all-linear" | "all" | "all_linear") => TargetModules::AllLinear,
        names => TargetModules::Names(names.to_vec()),
    }
}
