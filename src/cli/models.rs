//! `vramplan models`: the models known by name.

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::job::HubFlags;
use super::args::showing::{ModelsArgs, ModelsCommand};
use super::backend;
use super::error::CliError;
use super::text::{bold, grouped, lines, plain, table, width, wrap};
use crate::job::ModelRef;
use crate::model::{self, DecoderConfig, LayerType, Model, Norm, Origin};

#[derive(Serialize, JsonSchema)]
pub(super) struct List {
    schema: &'static str,
    models: Vec<Known>,
}

/// One model.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shown {
    schema: &'static str,
    #[serde(flatten)]
    known: Known,
}

/// What is known of a model, in the words of its config.json.
#[derive(Serialize, JsonSchema)]
struct Known {
    name: String,
    model_type: &'static str,
    parameters: u64,
    aliases: Vec<String>,
    source: String,
    hidden_size: u64,
    num_hidden_layers: u64,
    vocab_size: u64,
    max_position_embeddings: u64,
    #[serde(flatten)]
    decoder: Option<DecoderFields>,
}

/// What decoders have beside.
#[derive(Serialize, JsonSchema)]
struct DecoderFields {
    intermediate_size: u64,
    num_attention_heads: u64,
    num_key_value_heads: u64,
    head_dim: u64,
    tie_word_embeddings: bool,
}

pub(super) fn run(args: &ModelsArgs) -> Result<String, CliError> {
    match &args.command {
        Some(ModelsCommand::Show { model, json, hub }) => show(model, *json || args.json, hub),
        None => list(args.filter.as_deref().unwrap_or_default(), args.json),
    }
}

fn list(filter: &str, json: bool) -> Result<String, CliError> {
    let wanted = filter.to_lowercase();
    let mut found = Vec::new();
    for summary in model::cards() {
        let mut names = std::iter::once(&summary.name).chain(&summary.aliases);
        if !summary.model_type.as_str().contains(&wanted) && !names.any(|name| name.to_lowercase().contains(&wanted)) {
            continue;
        }
        let model = model::resolve(&summary.name)?;
        found.push(Known::new(&summary.name, &model, summary.parameters));
    }
    if found.is_empty() {
        return Err(CliError::Usage(format!(
            "no known model's name or type contains `{filter}`; `vramplan models` lists all"
        )));
    }
    if json {
        return super::text::json(&List { schema: "vramplan.models/1", models: found });
    }
    let width = width();
    // A table that wraps is no list to read, so a narrow one says less.
    let columns = match width {
        ..60 => 2,
        60..80 => 4,
        80.. => 7,
    };
    let mut models = table(&["name", "params", "type", "hidden", "layers", "vocab", "context"][..columns], width);
    for known in found {
        let row = [
            known.name,
            billions(known.parameters),
            known.model_type.to_owned(),
            known.hidden_size.to_string(),
            known.num_hidden_layers.to_string(),
            known.vocab_size.to_string(),
            known.max_position_embeddings.to_string(),
        ];
        models.add_row(row.into_iter().take(columns));
    }
    Ok(lines(&models))
}

fn show(name: &str, json: bool, hub: &HubFlags) -> Result<String, CliError> {
    let model = backend::resolve(&ModelRef::Named(name.to_owned()), hub)?;
    let known = Known::new(name, &model, backend::count_parameters(&model, None)?.total);
    if json {
        return super::text::json(&Shown { schema: "vramplan.model/1", known });
    }
    let width = width();
    let mut fields = table(&["field", "value"], width);
    for (field, value) in describe(&known, &model) {
        fields.add_row([field.to_owned(), value]);
    }
    let mut out =
        format!("{} ({}, {} parameters)\n", bold(plain(model.name())), model.model_type(), grouped(known.parameters));
    let mut say = |text: &str| out.push_str(&(wrap(text, width, "  ") + "\n"));
    say(&format!("From: {}", plain(&known.source)));
    if !known.aliases.is_empty() {
        say(&format!("Also called: {}", known.aliases.join(", ")));
    }
    Ok(format!("{out}\n{}", lines(&fields)))
}

impl Known {
    /// What is known of the model that `spec` stands for.
    fn new(spec: &str, model: &Model, parameters: u64) -> Self {
        // A folder may have a card's name, and then it is the folder that was meant.
        let card = model::card(spec).filter(|card| card.model().is_ok_and(|known| known == *model));
        let (aliases, source) = match (card, model.origin()) {
            (Some(card), _) => (card.aliases, card.source),
            (None, Origin::Guess) => (Vec::new(), "a Llama-shaped guess from the size alone".to_owned()),
            (None, Origin::Config) => (Vec::new(), spec.to_owned()),
        };
        Self {
            name: model.name().to_owned(),
            model_type: model.model_type().as_str(),
            parameters,
            aliases,
            source,
            hidden_size: model.hidden_size(),
            num_hidden_layers: model.num_hidden_layers(),
            vocab_size: model.vocab_size(),
            max_position_embeddings: model.max_position_embeddings(),
            decoder: model.decoder().map(DecoderFields::of),
        }
    }
}

impl DecoderFields {
    fn of(config: &DecoderConfig) -> Self {
        Self {
            intermediate_size: config.mlp.intermediate_size,
            num_attention_heads: config.attention.num_heads,
            num_key_value_heads: config.attention.num_kv_heads,
            head_dim: config.attention.head_dim,
            tie_word_embeddings: config.head.tied,
        }
    }
}

fn describe(known: &Known, model: &Model) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("hidden_size", known.hidden_size.to_string()),
        ("num_hidden_layers", known.num_hidden_layers.to_string()),
        ("vocab_size", known.vocab_size.to_string()),
        ("max_position_embeddings", known.max_position_embeddings.to_string()),
    ];
    if let (Some(decoder), Some(config)) = (&known.decoder, model.decoder()) {
        fields.extend(describe_decoder(decoder, config));
    }
    fields
}

fn describe_decoder(known: &DecoderFields, config: &DecoderConfig) -> Vec<(&'static str, String)> {
    let sliding = config.layer_types.iter().filter(|&&kind| kind == LayerType::SlidingAttention).count();
    let norm = match config.norm {
        Norm::Layer { bias: true } => "layer".to_owned(),
        Norm::Layer { bias: false } => "layer_without_bias".to_owned(),
        other => snake(other),
    };
    let mut fields = vec![
        ("intermediate_size", known.intermediate_size.to_string()),
        ("num_attention_heads", known.num_attention_heads.to_string()),
        ("num_key_value_heads", known.num_key_value_heads.to_string()),
        ("head_dim", known.head_dim.to_string()),
        ("tie_word_embeddings", known.tie_word_embeddings.to_string()),
        ("mlp", format!("{}, {}", snake(config.mlp.layout), snake(config.mlp.activation))),
        ("norm", norm),
        ("block", snake(config.block)),
    ];
    if let (Some(window), true) = (config.sliding_window, sliding > 0) {
        fields.push(("sliding_window", format!("{window} in {sliding} of {} layers", config.num_hidden_layers)));
    }
    fields
}

/// A variant's name as people write it: `GeluNew` as `gelu_new`.
fn snake(variant: impl Debug) -> String {
    let mut text = String::new();
    for character in format!("{variant:?}").chars() {
        if character.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(character.to_lowercase());
    }
    text
}

/// `6738415616` as `6.74 B`.
#[allow(clippy::cast_precision_loss)]
fn billions(count: u64) -> String {
    match count as f64 {
        count if count < 999.5e6 => format!("{:.0} M", count / 1e6),
        count => format!("{:.2} B", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_variants_in_words() {
        assert_eq!([124_439_808, 999_885_952, 6_738_415_616].map(billions), ["124 M", "1.00 B", "6.74 B"]);
        assert_eq!(snake(crate::model::Activation::GeluNew), "gelu_new");
    }
}
