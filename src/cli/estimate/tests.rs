//! What people are shown.

use anstream::adapter::strip_str;

use super::super::{describe, sample};
use super::report;
use crate::formula::Formula;
use crate::job::{FloatType, Infer, Job, Lora, MixedPrecision, Optim, Peft, Precision, TargetModules, Train, Workload};
use crate::model::{DecoderConfig, Model, Origin};
use crate::step::{Estimate, Held, Parts};
use crate::units::Bytes;

fn shown(estimate: &Estimate, formula: Option<&Formula>, width: u16) -> String {
    let text = strip_str(&report::estimate(estimate, formula, width)).to_string();
    for line in text.lines().filter(|line| !line.starts_with("trainable params")) {
        assert!(line.chars().count() <= usize::from(width), "wider than {width}: {line}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
    }
    text
}

fn without_timeline() -> Estimate {
    Estimate { timeline: None, ..sample::estimate() }
}

#[test]
fn an_estimate_at_80_columns() {
    insta::assert_snapshot!(shown(&without_timeline(), None, 80));
}

#[test]
fn an_estimate_with_timeline_and_formula_at_60_columns() {
    let workload = Workload::Train(Train { peft: Some(Peft::Lora(Lora::default())), ..Train::default() });
    let formula = Formula::of(&workload, 6_738_415_616, 4096);
    insta::assert_snapshot!(shown(&sample::estimate(), Some(&formula), 60));
}

#[test]
fn a_validated_estimate_of_inference() {
    let mut estimate = without_timeline();
    estimate.model.trainable_parameters = 0;
    estimate.basis.validated = true;
    estimate.basis.notes.clear();
    estimate.at_peak =
        Parts { weights: Bytes::from_gib(13), kv_cache: Bytes::from_gib(2), logits: Bytes(1024), ..Parts::default() };
    estimate.held = Held { weights: Bytes::from_gib(13), ..Held::default() };
    estimate.peak.allocated_bytes = estimate.at_peak.total();
    estimate.peak.phase = "prefill".to_owned();
    insta::assert_snapshot!(shown(&estimate, None, 80));
}

#[test]
fn the_formula_alone() {
    let formula = Formula::of(&Workload::default(), 7_000_000_000, 4096);
    insta::assert_snapshot!(strip_str(&report::formula(&formula, 60)).to_string());
}

#[test]
fn no_width_breaks_a_line() {
    let formula = Formula::of(&Workload::default(), 6_738_415_616, 4096);
    for width in 40..=120 {
        shown(&sample::estimate(), Some(&formula), width);
    }
}

#[test]
fn an_empty_estimate_divides_by_nothing() {
    let mut estimate = sample::estimate();
    estimate.at_peak = Parts::default();
    estimate.held = Held::default();
    estimate.peak.allocated_bytes = Bytes::ZERO;
    estimate.phases.clear();
    estimate.timeline = Some(Vec::new());
    shown(&estimate, Some(&Formula::default()), 80);
}

#[test]
fn jobs_in_words() {
    let lora = Lora {
        r: 16,
        lora_dropout: 0.05,
        target_modules: Some(TargetModules::Names(vec!["q_proj".to_owned(), "v_proj".to_owned()])),
        modules_to_save: vec!["lm_head".to_owned()],
        ..Lora::default()
    };
    let everything = Train {
        precision: Precision::Nf4,
        double_quant: true,
        compute_dtype: FloatType::Fp16,
        mixed_precision: MixedPrecision::Bf16,
        per_device_train_batch_size: 4,
        gradient_accumulation_steps: 8,
        gradient_checkpointing: true,
        optim: Optim::PagedAdamw8bit,
        max_grad_norm: Some(0.0),
        attention_mask: true,
        zero_grad_set_to_none: false,
        keep_outputs: true,
        peft: Some(Peft::Lora(lora.clone())),
        ..Train::default()
    };
    let dora = Lora { use_dora: true, target_modules: Some(TargetModules::AllLinear), ..Lora::default() };
    let jobs = [
        Job::train("m", everything),
        Job::train("m", Train { peft: Some(Peft::Lora(dora)), ..Train::default() }),
        Job::infer("m", Infer::default()),
        Job::infer("m", Infer { precision: Precision::Int8, logits_to_keep: 0, ..Infer::default() }),
    ];
    let model = sample::llama_2_7b();
    let mut text = String::new();
    for job in &jobs {
        text += &strip_str(&describe::heading(&model, job, false, 6_738_415_616, 80)).to_string();
        text.push('\n');
    }
    let Model::Decoder(config) = model else { panic!("a decoder") };
    let model = Model::Decoder(DecoderConfig { origin: Origin::Guess, ..config });
    text += &strip_str(&describe::heading(&model, &Job::train("m", Train::default()), true, 7, 80)).to_string();
    insta::assert_snapshot!(text);
}
