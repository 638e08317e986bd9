//! How a model is divided among GPUs.

use super::error::VllmError;
use crate::model::DecoderConfig;

/// How a model is divided among GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// `tensor_parallel_size`: GPUs that share every layer, experts in parts.
    pub tensor_parallel_size: u64,
    /// `pipeline_parallel_size`: GPUs, or groups of them, that have layers of their own.
    pub pipeline_parallel_size: u64,
    /// `enable_expert_parallel`: experts are dealt out whole.
    pub enable_expert_parallel: bool,
}

impl Default for Parallel {
    fn default() -> Self {
        Self { tensor_parallel_size: 1, pipeline_parallel_size: 1, enable_expert_parallel: false }
    }
}

impl Parallel {
    /// GPUs together; saturating.
    pub const fn world_size(self) -> u64 {
        self.tensor_parallel_size.saturating_mul(self.pipeline_parallel_size)
    }

    /// GPUs that an expert is divided among.
    pub(super) const fn of_an_expert(self) -> u64 {
        if self.enable_expert_parallel { 1 } else { self.tensor_parallel_size }
    }

    /// As `ModelConfig.verify_with_parallel_config` (vllm/config/model.py) checks it, and what layers assert of their shapes.
    pub(super) fn check(self, decoder: &DecoderConfig) -> Result<(), VllmError> {
        let (tp, pp) = (self.tensor_parallel_size, self.pipeline_parallel_size);
        for (field, value) in [(TP, tp), (PP, pp)] {
            if !(1..=1024).contains(&value) {
                return Err(VllmError::invalid(field, value, "give 1 to 1024"));
            }
        }
        let heads = decoder.attention.num_heads;
        if !heads.is_multiple_of(tp) {
            let vllm = format!(
                "vLLM: \"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tp}).\""
            );
            return Err(VllmError::invalid(TP, tp, vllm));
        }
        let keys = decoder.attention.num_kv_heads.max(1);
        if decoder.mla.is_none() && !keys.is_multiple_of(tp) && !tp.is_multiple_of(keys) {
            let vllm = format!(
                "vLLM: \"assert self.total_num_kv_heads % tp_size == 0\", and the model has {keys} heads of keys and values"
            );
            return Err(VllmError::invalid(TP, tp, vllm));
        }
        let widths = [
            ("intermediate_size", Some(decoder.mlp.intermediate_size), tp),
            ("moe_intermediate_size", decoder.moe.as_ref().map(|moe| moe.intermediate_size), self.of_an_expert()),
        ];
        for (name, width, gpus) in widths {
            if let Some(width) = width.filter(|width| !width.is_multiple_of(gpus)) {
                let vllm = format!("vLLM: \"{width} is not divisible by {gpus}\", which is the model's {name}");
                return Err(VllmError::invalid(TP, tp, vllm));
            }
        }
        if self.enable_expert_parallel && decoder.moe.is_none() {
            let fix = "the model has no experts; leave it out";
            return Err(VllmError::invalid("enable_expert_parallel", true, fix));
        }
        let layers = decoder.layer_types.len();
        if usize::try_from(pp).map_or(true, |pp| pp > layers.max(1)) {
            return Err(VllmError::invalid(PP, pp, format!("the model has {layers} layers")));
        }
        Ok(())
    }
}

const TP: &str = "tensor_parallel_size";
const PP: &str = "pipeline_parallel_size";

/// The layers of each stage (`get_pp_indices`, vllm/distributed/utils.py): those that are left over go to the stages before
/// the last.
fn layers_of_stages(layers: usize, stages: usize) -> Vec<std::ops::Range<usize>> {
    let (each, left) = (layers / stages, layers % stages);
    let mut start = 0;
    (0..stages)
        .map(|stage| {
            let more = stage + 1 < stages && stage + 1 + left >= stages;
            let from = start;
            start += each + usize::from(more);
            from..start
        })
        .collect()
}

/// The model of each stage: as it is, with the layers of the stage alone.
pub(super) fn stages(decoder: &DecoderConfig, stages: u64) -> Vec<DecoderConfig> {
    let count = usize::try_from(stages).unwrap_or(usize::MAX).clamp(1, decoder.layer_types.len().max(1));
    if count == 1 {
        return vec![decoder.clone()];
    }
    layers_of_stages(decoder.layer_types.len(), count)
        .into_iter()
        .map(|layers| {
            let mut stage = decoder.clone();
            stage.num_hidden_layers = u64::try_from(layers.len()).unwrap_or(u64::MAX);
            keep(&mut stage.layer_types, &layers);
            keep(&mut stage.nope_layers, &layers);
            if let Some(moe) = &mut stage.moe {
                keep(&mut moe.sparse_layers, &layers);
            }
            if let Some(counted) = &mut stage.counted {
                keep(counted, &layers);
            }
            if let Some(caches) = &mut stage.caches {
                keep(caches, &layers);
            }
            stage
        })
        .collect()
}

fn keep<T>(list: &mut Vec<T>, layers: &std::ops::Range<usize>) {
    list.truncate(layers.end);
    list.drain(..layers.start.min(list.len()));
}

#[cfg(test)]
mod tests {
    use super::layers_of_stages;

    /// As the source's own description has it: what is left over goes to the middle and never to the last.
    #[test]
    fn left_over_layers_go_before_the_last() {
        let sizes =
            |layers, stages| layers_of_stages(layers, stages).iter().map(ExactSizeIterator::len).collect::<Vec<_>>();
        assert_eq!(sizes(32, 4), [8, 8, 8, 8]);
        assert_eq!(sizes(61, 2), [31, 30]);
        assert_eq!(sizes(61, 4), [15, 15, 16, 15]);
    }
}
