//! What holds of every verdict, solution and suggestion, tried on small models and cards of every size.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use vramplan::Bytes;
use vramplan::hardware::{self, Prices};
use vramplan::job::{Infer, Job, Lora, Optim, Peft, Precision, TargetModules, Train};
use vramplan::model::{self, Model};
use vramplan::plan::{
    self, Constraints, Goal, Judgement, Quality, Quantity, Question, Room, Subject, TrainConstraints, Verdict,
};
use vramplan::step::Doubts;

fn small(layers: u64, hidden: u64, vocab: u64) -> Model {
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": hidden * 3, "num_hidden_layers": layers,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": vocab, "max_position_embeddings": 2048,
    });
    model::from_config("small", &config).expect("a model")
}

fn models() -> impl Strategy<Value = Model> {
    (1_u64..4, select(vec![256_u64, 512, 1024]), select(vec![1000_u64, 8000, 32_000]))
        .prop_map(|(layers, hidden, vocab)| small(layers, hidden, vocab))
}

fn jobs() -> impl Strategy<Value = Job> {
    let lora = Lora { target_modules: Some(TargetModules::AllLinear), ..Lora::default() };
    let peft = select(vec![None, Some(Peft::Lora(lora))]);
    let optim = select(vec![Optim::AdamwTorch, Optim::Sgd, Optim::Adamw8bit]);
    let train =
        (peft, optim, 1_u64..9, 16_u64..1024, any::<bool>()).prop_map(|(peft, optim, batch, seq, checkpointing)| {
            Job::train(
                "small",
                Train {
                    precision: if peft.is_some() { Precision::Nf4 } else { Precision::Fp32 },
                    peft,
                    optim,
                    per_device_train_batch_size: batch,
                    max_seq_length: seq,
                    gradient_checkpointing: checkpointing,
                    ..Train::default()
                },
            )
        });
    let infer = (1_u64..9, 16_u64..1024).prop_map(|(batch_size, prompt_length)| {
        Job::infer("small", Infer { batch_size, prompt_length, ..Infer::default() })
    });
    prop_oneof![3 => train, 1 => infer]
}

/// A card on which a job may or may not fit: between half and twice what it reserves.
fn around(question: &Question, share: f64) -> Room {
    let reserved = question.estimate().peak.reserved_bytes.0;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
    Room::of(Bytes((reserved as f64 * share) as u64)).with_context(Bytes::ZERO)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_solution_fits_and_the_next_value_does_not(
        model in models(), job in jobs(), share in 0.3_f64..3.0, seq in any::<bool>(), step in select(vec![1_u64, 8, 64]),
    ) {
        let quantity = if seq { Quantity::Seq } else { Quantity::Batch };
        let room = around(&Question::of(&model, &job).expect("an estimate"), share);
        let solution = plan::solve(&model, &job, &room, quantity, step).expect("a solution");
        let again = |value: u64| {
            let mut job = serde_json::to_value(&job).expect("JSON");
            let (table, field) = solution.field.split_once('.').expect("a table's field");
            job[table][field] = value.into();
            Question::of(&model, &serde_json::from_value(job).expect("a job")).expect("an estimate").fit(&room).verdict
        };
        if let Some(answer) = solution.answer {
            prop_assert_eq!(again(answer.value), Verdict::Fits);
            prop_assert_eq!(answer.value % step, 0);
        }
        match (solution.answer, solution.next) {
            (Some(answer), Some(next)) => {
                prop_assert_eq!(next.value, answer.value + step);
                prop_assert_ne!(again(next.value), Verdict::Fits);
            }
            (None, Some(next)) => prop_assert_ne!(again(next.value), Verdict::Fits),
            (_, None) => prop_assert!(solution.bound.is_some()),
        }
    }

    #[test]
    fn every_suggestion_applied_fits(model in models(), job in jobs(), share in 0.3_f64..1.0) {
        let question = Question::of(&model, &job).expect("an estimate");
        let room = around(&question, share);
        let doubts = Doubts { doubtful: true, ..Doubts::default() };
        for subject in [Subject::from(&model), Subject::doubted(&model, &doubts)] {
            for suggestion in plan::suggest(subject, &question, &room) {
                let changed = Question::of(subject, &suggestion.job).expect("an estimate");
                prop_assert_eq!(changed.fit(&room).verdict, Verdict::Fits);
                prop_assert_eq!(changed.fit(&room).device_bytes, suggestion.device_bytes);
                prop_assert!(suggestion.changes.iter().all(|change| change.from != change.to));
            }
        }
    }

    #[test]
    fn what_the_files_leave_open_never_makes_more_fit(model in models(), job in jobs(), share in 0.5_f64..2.0) {
        let room = around(&Question::of(&model, &job).expect("an estimate"), share);
        let doubts = Doubts { doubtful: true, ..Doubts::default() };
        let subjects = [Subject::from(&model), Subject::doubted(&model, &doubts)];
        let [sure, unsure] = subjects.map(|subject| {
            let solution = plan::solve(subject, &job, &room, Quantity::Batch, 1).expect("a solution");
            (solution.answer.map_or(0, |answer| answer.value), solution.validated)
        });
        prop_assert!(unsure.0 <= sure.0, "{unsure:?} {sure:?}");
        prop_assert!(!unsure.1);
    }

    #[test]
    fn what_fits_leaves_room_and_what_runs_out_says_where(model in models(), job in jobs(), share in 0.3_f64..1.5) {
        let question = Question::of(&model, &job).expect("an estimate");
        let fit = question.fit(&around(&question, share));
        if fit.verdict == Verdict::Fits {
            prop_assert!(fit.headroom_bytes >= 0 && fit.device_bytes <= fit.room.memory_bytes);
        }
        if fit.verdict == Verdict::DoesNotFit {
            prop_assert!(fit.headroom_bytes < 0);
        }
    }
}

#[test]
fn every_plan_that_is_given_fits_its_gpu() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::resolve("tinyllama-1.1b")?;
    for goal in [Goal::Cost, Goal::Price, Goal::Speed, Goal::Headroom] {
        let common = Constraints {
            goal,
            gpus: hardware::by_memory().to_vec(),
            prices: Prices::builtin(),
            most_per_hour: Some(2.0),
            most_plans: 6,
        };
        let constraints = TrainConstraints { common, least_quality: Quality::Lora, effective_batch: 8 };
        let searched = plan::search(&model, &Train { max_seq_length: 512, ..Train::default() }, &constraints)?;
        assert!(!searched.plans.is_empty());
        for found in &searched.plans {
            let room = Room::on(hardware::find(&found.gpu)?);
            assert_eq!(Question::of(&model, &found.job)?.fit(&room).verdict, Verdict::Fits, "{found:?}");
            assert!(found.quality >= Some(Quality::Lora));
            assert!(
                found
                    .price
                    .as_ref()
                    .is_some_and(|offer| offer.usd_per_gpu_hour <= 2.0 && !offer.snapshot_date.is_empty())
            );
        }
    }
    Ok(())
}

/// One GPU's lines: bf16 weights of 6.74 billion parameters are 12.6 GiB, so LoRA with checkpointing fits 24 GB, and full
/// fine-tuning with AdamW in bf16 (8 bytes a parameter at least: 50 GiB) does not fit 40 GB.
#[test]
fn the_tutorials_table() -> Result<(), Box<dyn std::error::Error>> {
    let claims = plan::tutorial_table(&model::resolve("llama-2-7b")?, 2048)?;
    let judgement = |method: &str, gpu: &str| {
        claims.iter().find(|claim| claim.method == method && claim.gpu == gpu).map(|claim| claim.judgement)
    };
    assert_eq!(judgement("full", "a100-sxm4-40gb"), Some(Judgement::SeveralNotJudged));
    assert_eq!(judgement("LoRA", "a100-sxm4-40gb"), Some(Judgement::Right));
    assert_eq!(judgement("LoRA", "rtx-4090"), Some(Judgement::OneMayDo));
    assert_eq!(judgement("QLoRA", "rtx-3090"), Some(Judgement::Depends));
    Ok(())
}
