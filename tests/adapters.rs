//! What quantised models and LoRA adapters take, against measurements.

use vramplan::ghost::CUBLAS_WORKSPACE;
use vramplan::job::{Job, Lora, Peft, Precision, TargetModules, Train};
use vramplan::model::Model;
use vramplan::step::{EstimateError, estimate};
use vramplan::truth::Row;

/// Two allocations may round differently.
const ROUNDING: u64 = 512;

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth/public.jsonl");
    let text = std::fs::read_to_string(path).expect("the measurements are in the repository");
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| Row::parse(line).expect("a row")).collect()
}

fn llama_2_7b() -> Model {
    let row = rows().into_iter().find(|row| row.case.model == "llama2-7b").expect("it was measured");
    row.case.model().expect("a known family")
}

fn lora(lora: Lora, train: Train) -> Job {
    Job::train("llama-2-7b", Train { peft: Some(Peft::Lora(lora)), ..train })
}

#[test]
fn quantised_and_adapted_models_take_what_was_measured() {
    let mut checked = 0;
    for row in rows() {
        let quantised = !matches!(row.case.weights.as_str(), "fp32" | "fp16" | "bf16");
        if !quantised && row.case.method.kind != "lora" {
            continue;
        }
        let (Ok(model), Ok(job)) = (row.case.model(), row.case.job()) else { continue };
        let Ok(found) = estimate(&model, &job) else { continue };
        // DoRA's norms are the first product of matrices, before anything is run
        let workspace = if row.case.method.dora { CUBLAS_WORKSPACE } else { 0 };
        let held = (found.held.weights + found.held.buffers).0 + workspace;
        assert!(held.abs_diff(row.measured.loaded) <= ROUNDING, "{}: {held} of {}", row.id, row.measured.loaded);
        if row.case.task == "train" {
            assert_eq!(found.model.trainable_parameters, row.measured.params_trainable, "{}", row.id);
        }
        assert_eq!(found.peak.allocated_bytes.0, row.measured.peak_allocated, "{}", row.id);
        checked += 1;
    }
    assert!(checked >= 30, "only {checked} cases");
}

#[test]
fn rank_8_on_queries_and_values_of_llama_2_7b_is_4_194_304_parameters() {
    let names = TargetModules::Names(vec!["q_proj".to_owned(), "v_proj".to_owned()]);
    let by_name = lora(Lora { target_modules: Some(names), ..Lora::default() }, Train::default());
    let by_default = lora(Lora::default(), Train { precision: Precision::Nf4, ..Train::default() });
    for job in [by_name, by_default] {
        let found = estimate(&llama_2_7b(), &job).expect("a good job");
        assert_eq!(found.model.trainable_parameters, 4_194_304);
    }
}

#[test]
fn all_linear_is_every_linear_layer_but_the_head() {
    let job = lora(Lora { target_modules: Some(TargetModules::AllLinear), ..Lora::default() }, Train::default());
    let found = estimate(&llama_2_7b(), &job).expect("a good job");
    let layer = 4 * (4096 + 4096) + 3 * (4096 + 11008);
    assert_eq!(found.model.trainable_parameters, 8 * 32 * layer);
}

#[test]
fn a_target_that_no_layer_has_is_named_beside_those_it_has() {
    let names = TargetModules::Names(vec!["query_key_value".to_owned()]);
    let job = lora(Lora { target_modules: Some(names), ..Lora::default() }, Train::default());
    let error = estimate(&llama_2_7b(), &job).expect_err("Llama has no such layer");
    assert!(matches!(error, EstimateError::NoTarget { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("query_key_value") && text.contains("q_proj, k_proj, v_proj, o_proj"), "{text}");
}
