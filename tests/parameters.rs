//! Parameter counts, held against counts made elsewhere.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use vramplan::job::{Infer, Job};
use vramplan::model::{self, ModelType, Support};
use vramplan::step::{self, EstimateError, count_parameters};

/// A model of `truth/parameters.jsonl`: counted with transformers on the meta device, and where that is a plain count of
/// the checkpoint's tensors, as published on the Hub.
#[derive(Deserialize)]
struct Counted {
    id: String,
    model_type: String,
    config: Value,
    params_unique: u64,
    params_published: Option<u64>,
}

fn counted() -> impl Iterator<Item = Counted> {
    include_str!("truth/parameters.jsonl").lines().map(|line| serde_json::from_str(line).expect("a counted model"))
}

#[test]
fn every_card_has_as_many_parameters_as_it_says() {
    for summary in model::cards() {
        let card = model::card(&summary.name).expect(&summary.name);
        let model = card.model().expect(&summary.name);
        let count = count_parameters(&model, None).expect(&summary.name);
        assert_eq!(count.total, card.parameters, "{}", summary.name);
        // the correction of a router's scores and sinusoidal positions are parameters that are never trained
        let fixed = matches!(
            summary.model_type,
            ModelType::Afmoe | ModelType::Ernie45Moe | ModelType::Pegasus | ModelType::Marian | ModelType::Whisper
        );
        assert_eq!(count.trainable < count.total, fixed, "{}", summary.name);
        if let Some(moe) = model.decoder().and_then(|decoder| decoder.moe.as_ref()).filter(|_| fixed) {
            let sparse = moe.sparse_layers.iter().filter(|sparse| **sparse).count() as u64;
            assert_eq!(count.total - count.trainable, sparse * moe.num_experts, "{}", summary.name);
        }
        assert_eq!(count.named().iter().map(|(_, n)| n).sum::<u64>(), count.total, "{}", summary.name);
    }
}

#[test]
fn counts_equal_those_of_transformers() {
    let mut types = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in counted() {
        let model = model::from_config(&row.id, &row.config).expect(&row.id);
        let count = count_parameters(&model, None).expect(&row.id).total;
        if count != row.params_unique {
            wrong.push(format!("{}: {count}, not {}", row.id, row.params_unique));
        }
        types.insert(row.model_type);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // no model of these is among them; their measured cases say how many parameters PyTorch counted
    types.extend(["arcee", "codegen", "mistral3", "xglm"].map(str::to_owned));
    let known: BTreeSet<String> = ModelType::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(types, known);
}

#[test]
fn published_counts_are_met_exactly() {
    let mut compared = 0;
    for row in counted() {
        let Some(published) = row.params_published else { continue };
        let model = model::from_config(&row.id, &row.config).expect(&row.id);
        let count = count_parameters(&model, None).expect(&row.id).total;
        // some checkpoints hold a tied table twice
        let twice = model.decoder().map_or(count, |decoder| {
            let width = decoder.embedding.projection_dim.unwrap_or(decoder.hidden_size);
            count + u64::from(decoder.head.tied) * decoder.vocab_size * width
        });
        assert!(published == count || published == twice, "{}: {count} or {twice}, published {published}", row.id);
        compared += 1;
    }
    assert_eq!(compared, 251);
}

#[test]
fn what_is_only_counted_is_not_estimated() {
    let mut refused = BTreeSet::new();
    for row in counted() {
        let model = model::from_config(&row.id, &row.config).expect(&row.id);
        if model.model_type().support() == Support::CountedOnly {
            let error = step::estimate(&model, &Job::infer(row.id.as_str(), Infer::default())).expect_err(&row.id);
            assert!(matches!(error, EstimateError::CountedOnly { .. }), "{}: {error}", row.id);
            refused.insert(row.model_type);
        }
    }
    let counted: BTreeSet<String> = ModelType::ALL
        .iter()
        .filter(|known| known.support() == Support::CountedOnly)
        .map(ToString::to_string)
        .collect();
    assert_eq!(refused, counted);
}
