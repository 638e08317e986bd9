//! Objectives, offloading and packing: what belongs together, and what an estimate says of it.

use std::error::Error;

use vramplan::job::{Job, Objective, OffloadOptimizer, Optim, Train};
use vramplan::model::{self, Model};
use vramplan::step::{Estimate, count_parameters, estimate};

const SMALL: &str = r#"{"model_type": "llama", "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 2048}"#;

fn small() -> Result<Model, Box<dyn Error>> {
    Ok(model::from_config("small", &serde_json::from_str(SMALL)?)?)
}

fn run(train: Train) -> Result<Estimate, Box<dyn Error>> {
    Ok(estimate(&small()?, &Job::train("small", train))?)
}

fn refusal(train: Train) -> Result<String, Box<dyn Error>> {
    match estimate(&small()?, &Job::train("small", train)) {
        Ok(_) => Err("not refused".into()),
        Err(why) => Ok(why.to_string()),
    }
}

fn grpo() -> Train {
    Train {
        objective: Objective::Grpo,
        per_device_train_batch_size: 8,
        max_seq_length: 256,
        max_completion_length: Some(16),
        ..Train::default()
    }
}

#[test]
fn a_kl_term_brings_a_second_model() -> Result<(), Box<dyn Error>> {
    let without = run(grpo())?.held.weights;
    let with = run(Train { beta: Some(0.04), ..grpo() })?.held.weights;
    assert_eq!(with.0, 2 * without.0);
    Ok(())
}

#[test]
fn the_phase_of_the_peak_is_that_of_the_larger_part() -> Result<(), Box<dyn Error>> {
    // adapters on checkpointed micro-batches of one sequence, 256 of them generated at once
    let lora = vramplan::job::Peft::Lora(vramplan::job::Lora::default());
    let generating = Train {
        per_device_train_batch_size: 1,
        steps_per_generation: Some(256),
        gradient_checkpointing: true,
        peft: Some(lora),
        ..grpo()
    };
    let phase = run(generating)?.peak.phase;
    assert!(["prefill", "decode"].contains(&phase.as_str()), "{phase}");
    assert!(["backward", "optimizer"].contains(&run(grpo())?.peak.phase.as_str()));
    Ok(())
}

#[test]
fn groups_divide_what_is_generated() -> Result<(), Box<dyn Error>> {
    let line = refusal(Train { num_generations: 3, ..grpo() })?;
    assert!(line.starts_with("train.num_generations = 3: it must divide the 8 completions"), "{line}");
    let line = refusal(Train { max_completion_length: Some(256), ..grpo() })?;
    assert!(line.starts_with("train.max_completion_length = 256: a prompt comes before it"), "{line}");
    Ok(())
}

#[test]
fn states_on_the_host_are_said() -> Result<(), Box<dyn Error>> {
    let large = |offload_optimizer| Train { offload_optimizer, max_seq_length: 64, ..Train::default() };
    let here = run(large(OffloadOptimizer::No))?;
    let there = run(large(OffloadOptimizer::Torchao))?;
    assert_eq!(here.held.host.0, 0);
    // a weight, a gradient and two moments in bf16; norms of 512 elements stay
    let norms = 5 * 512;
    let parameters = count_parameters(&small()?, None)?.total;
    assert_eq!(there.held.host.0, 4 * 2 * (parameters - norms));
    assert!(there.held.optimizer < here.held.optimizer);
    assert!(there.peak.allocated_bytes < here.peak.allocated_bytes);
    let zero = run(large(OffloadOptimizer::Deepspeed))?;
    assert!(!zero.basis.validated);
    assert_eq!(zero.held.host.0, 16 * parameters);
    Ok(())
}

#[test]
fn what_does_not_go_together_is_refused() -> Result<(), Box<dyn Error>> {
    let base = Train::default;
    for (train, line) in [
        (Train { torch_compile: true, ..base() }, "train.torch_compile = true: not supported yet"),
        (Train { offload_gradients: true, ..base() }, "train.offload_gradients = true: gradients go to the host"),
        (
            Train { offload_optimizer: OffloadOptimizer::Torchao, optim: Optim::Muon, ..base() },
            "train.offload_optimizer = \"torchao\": not supported yet",
        ),
        (
            Train { packing: true, attention_mask: true, ..base() },
            "train.packing = true: packed sequences have no padding",
        ),
        (Train { checkpoint_every_n_layers: 0, ..base() }, "train.checkpoint_every_n_layers = 0: give a number from 1"),
        (Train { beta: Some(-1.0), ..grpo() }, "train.beta = -1: give a number from 0 up"),
    ] {
        let said = refusal(train)?;
        assert!(said.starts_with(line), "{said}");
    }
    Ok(())
}

#[test]
fn fewer_checkpoints_keep_more() -> Result<(), Box<dyn Error>> {
    let every = |checkpoint_every_n_layers| Train {
        gradient_checkpointing: true,
        checkpoint_every_n_layers,
        per_device_train_batch_size: 8,
        max_seq_length: 512,
        ..Train::default()
    };
    let forward = |train| -> Result<u64, Box<dyn Error>> {
        let phases = run(train)?.phases;
        Ok(phases.iter().find(|phase| phase.name == "forward").map_or(0, |phase| phase.end_bytes.0))
    };
    assert!(forward(every(1))? < forward(every(2))?);
    Ok(())
}

#[test]
fn embeddings_have_no_head() -> Result<(), Box<dyn Error>> {
    let train = Train { objective: Objective::Embedding, max_seq_length: 64, ..Train::default() };
    let head = 512 * 32_000;
    assert_eq!(run(train)?.model.parameters, count_parameters(&small()?, None)?.total - head);
    Ok(())
}
