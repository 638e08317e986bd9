//! `vramplan models`: the models known by name.

use super::args::{ModelsArgs, ModelsCommand};
use super::backend;
use super::error::CliError;
use super::text::{bold, grouped, lines, plain, table, width};
use crate::job::ModelRef;
use crate::model::{self, LayerType, Model, Origin};

pub(super) fn run(args: &ModelsArgs) -> Result<String, CliError> {
    match &args.command {
        Some(ModelsCommand::Show { model }) => show(model),
        None => list(args.filter.as_deref().unwrap_or_default()),
    }
}

fn list(filter: &str) -> Result<String, CliError> {
    let filter = filter.to_lowercase();
    let width = width();
    // A table that wraps its names is no list to read, so a narrow one says less.
    let columns = if width < 80 { 4 } else { 7 };
    let mut models = table(&["name", "type", "parameters", "hidden", "layers", "vocab", "context"][..columns], width);
    let mut found = 0;
    for card in model::cards() {
        let model_type = card.model_type.as_str();
        let names = || std::iter::once(&card.name).chain(&card.aliases);
        if !model_type.contains(&filter) && !names().any(|name| name.to_lowercase().contains(&filter)) {
            continue;
        }
        found += 1;
        let model = model::resolve(&card.name)?;
        let row = [
            card.name.clone(),
            model_type.to_owned(),
            billions(card.parameters),
            model.hidden_size.to_string(),
            model.num_hidden_layers.to_string(),
            model.vocab_size.to_string(),
            model.max_position_embeddings.to_string(),
        ];
        models.add_row(row.into_iter().take(columns));
    }
    if found == 0 {
        return Err(CliError::Usage(format!(
            "no known model's name or type contains `{filter}`; `vramplan models` lists all"
        )));
    }
    Ok(lines(&models))
}

fn show(name: &str) -> Result<String, CliError> {
    let model = backend::resolve(&ModelRef::Named(name.to_owned()))?;
    let count = backend::count_parameters(&model, None)?;
    let mut fields = table(&["field", "value"], width());
    for (field, value) in describe(&model) {
        fields.add_row([field.to_owned(), value]);
    }
    let guess = match model.origin {
        Origin::Guess => ", a Llama-shaped guess from its size",
        Origin::Config => "",
    };
    let head = format!("{} ({}{guess})", bold(plain(&model.name)), model.model_type);
    Ok(format!("{head}\n{} parameters\n{}", grouped(count.total), lines(&fields)))
}

fn describe(model: &Model) -> Vec<(&'static str, String)> {
    let sliding = model.layer_types.iter().filter(|&&kind| kind == LayerType::SlidingAttention).count();
    let mut fields = vec![
        ("hidden_size", model.hidden_size.to_string()),
        ("intermediate_size", model.mlp.intermediate_size.to_string()),
        ("num_hidden_layers", model.num_hidden_layers.to_string()),
        ("num_attention_heads", model.attention.num_heads.to_string()),
        ("num_key_value_heads", model.attention.num_kv_heads.to_string()),
        ("head_dim", model.attention.head_dim.to_string()),
        ("vocab_size", model.vocab_size.to_string()),
        ("max_position_embeddings", model.max_position_embeddings.to_string()),
        ("tie_word_embeddings", model.head.tied.to_string()),
        ("mlp", format!("{:?}, {:?}", model.mlp.layout, model.mlp.activation)),
        ("norm", format!("{:?}", model.norm)),
        ("block", format!("{:?}", model.block)),
    ];
    if let (Some(window), true) = (model.sliding_window, sliding > 0) {
        fields.push(("sliding_window", format!("{window} in {sliding} of {} layers", model.num_hidden_layers)));
    }
    fields
}

/// `6738415616` as `6.74 B`.
#[allow(clippy::cast_precision_loss)]
fn billions(count: u64) -> String {
    match count as f64 {
        count if count < 1e9 => format!("{:.0} M", count / 1e6),
        count => format!("{:.2} B", count / 1e9),
    }
}
