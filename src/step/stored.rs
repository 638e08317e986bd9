//! What a model's weights take where its `quantization_config` stores them.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::arch::shapes;
use crate::dtype::DType;
use crate::ghost::Context;
use crate::model::{Model, QuantMethod, Quantization, StoredWeight};
use crate::nn::{Leaf, Linear, Part};

/// The weights of a quantised checkpoint, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct StoredWeights {
    /// Linear layers that are quantised (an expert's matrix counts as one).
    pub quantized_layers: u64,
    /// Their weights, in packed form.
    pub packed_bytes: u64,
    /// Their scales.
    pub scales_bytes: u64,
    /// Their zero points.
    pub zeros_bytes: u64,
    /// Their group indices, shapes and tables.
    pub indices_bytes: u64,
    /// Parameters that are not quantised.
    pub dense_parameters: u64,
    /// What those take in a half-precision type.
    pub dense_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// Counts the bytes of `model`'s weights as `quantization` stores them.
///
/// # Errors
/// Why they cannot be counted: the method's storage is not known, or which layers it leaves alone cannot be told.
///
/// ```
/// use vramplan::{model::Source, step::stored_weights};
///
/// let mut config = vramplan::model::card("llama-2-7b").expect("a card").config;
/// config["quantization_config"] = serde_json::json!({"quant_method": "awq", "bits": 4, "group_size": 128});
/// let source = Source::from_config("llama-2-7b-awq", &config)?;
/// let stored = stored_weights(&source.model, source.quantization.as_ref().expect("given"))?;
/// assert_eq!(stored.quantized_layers, 32 * 7);
/// assert_eq!(stored.total_bytes / 10_000_000, 388); // TheBloke/Llama-2-7B-AWQ is 3.89 GB
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn stored_weights(model: &Model, quantization: &Quantization) -> Result<StoredWeights, String> {
    let cx = Context::new();
    let mut network = shapes(&cx, model);
    let tied = network.is_tied();
    let mut seen: HashMap<(&'static str, Part), u64> = HashMap::new();
    let mut weights = StoredWeight::default();
    let mut stored = StoredWeights::default();
    let mut trouble = None;
    network.leaves(&mut |mut leaf| {
        let (name, part) = (leaf.name(), leaf.part());
        let layer = seen.entry((name, part)).or_default();
        let place = full_name(name, part, *layer);
        *layer += 1;
        let matrices = matrices(&leaf, quantization);
        let converted = if matrices.is_empty() { Some(false) } else { quantization.converts(&place) };
        if converted.is_none() {
            trouble
                .get_or_insert_with(|| format!("whether it leaves `{place}` alone cannot be told from its patterns"));
        }
        if converted == Some(true) {
            for &(count, rows, columns) in &matrices {
                let one = quantization.stored_weight(rows, columns);
                let all = one.and_then(|one| (0..count).try_fold(weights, |sum, _| sum.checked_add(one)));
                match all {
                    Some(all) => weights = all,
                    None => {
                        trouble.get_or_insert_with(|| format!("how it stores a layer is not known here ({place})"));
                    }
                }
                stored.quantized_layers += count;
            }
        }
        let skip = usize::from(tied && part == Part::Head) + usize::from(converted == Some(true) && !is_free(&leaf));
        let rank = if converted == Some(true) && is_free(&leaf) { 3 } else { usize::MAX };
        let dense = leaf.dense_parameters().into_iter().skip(skip).filter(|t| t.dims().len() < rank);
        stored.dense_parameters += dense.map(|t| t.layout().numel()).sum::<u64>();
    });
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    stored.packed_bytes = weights.packed;
    stored.scales_bytes = weights.scales;
    stored.zeros_bytes = weights.zeros;
    stored.indices_bytes = weights.indices;
    stored.dense_bytes = stored.dense_parameters * DType::BF16.bytes();
    stored.total_bytes = weights.total().unwrap_or(u64::MAX).saturating_add(stored.dense_bytes);
    Ok(stored)
}

fn is_free(leaf: &Leaf<'_>) -> bool {
    matches!(leaf, Leaf::Free(_))
}

/// How many matrices of which outputs and inputs a leaf has that the method takes.
fn matrices(leaf: &Leaf<'_>, quantization: &Quantization) -> Vec<(u64, u64, u64)> {
    let stacked =
        matches!(quantization.method, QuantMethod::Fp8 { .. } | QuantMethod::Mxfp4 | QuantMethod::CompressedTensors(_));
    match leaf {
        // GPT-2's and Falcon's layers are of classes of their own, which only GPTQ looks for
        Leaf::Linear(Linear { conv1d, written_out, .. })
            if (*conv1d || *written_out) && !matches!(quantization.method, QuantMethod::Gptq { .. }) =>
        {
            Vec::new()
        }
        Leaf::Linear(linear) => vec![(1, linear.out_features, linear.in_features)],
        Leaf::Free(free) if free.part == Part::Experts && stacked => {
            let dims = free.tensors.iter().map(|tensor| tensor.dims());
            dims.filter_map(|dims| if let [count, rows, columns] = *dims { Some((count, rows, columns)) } else { None })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What the module is called in the model, as far as patterns of names care.
fn full_name(name: &str, part: Part, layer: u64) -> String {
    let parent = match part {
        Part::Head => return "lm_head".to_owned(),
        Part::Attention => "self_attn",
        Part::Experts => "mlp.experts",
        _ => "mlp",
    };
    format!("model.layers.{layer}.{parent}.{name}")
}
