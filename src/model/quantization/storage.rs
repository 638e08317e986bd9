//! The bytes of a quantised layer.

use super::{CompressedTensors, QuantMethod, Quantization, Scales};
use schemars::JsonSchema;

/// The bytes a quantised weight takes, its bias excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, JsonSchema)]
#[non_exhaustive]
pub struct StoredWeight {
    /// The weights themselves.
    pub packed: u64,
    /// Scales, and scales of scales.
    pub scales: u64,
    /// Zero points.
    pub zeros: u64,
    /// Group indices, shapes and tables of values.
    pub indices: u64,
}

impl StoredWeight {
    /// Their sum; `None`: more than 2^64.
    pub fn total(&self) -> Option<u64> {
        self.packed.checked_add(self.scales)?.checked_add(self.zeros)?.checked_add(self.indices)
    }

    /// The sum with another's.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            packed: self.packed.checked_add(other.packed)?,
            scales: self.scales.checked_add(other.scales)?,
            zeros: self.zeros.checked_add(other.zeros)?,
            indices: self.indices.checked_add(other.indices)?,
        })
    }
}

/// Bytes of an fp32, an fp16 or bf16, an int32.
const FLOAT: u64 = 4;
const HALF: u64 = 2;
const WORD: u64 = 4;
const WORD_BITS: u64 = 32;

impl Quantization {
    /// What the weight of an `nn.Linear` takes; `None`: the method's storage is not known here, or no checkpoint has a
    /// layer so large.
    ///
    /// ```
    /// use vramplan::model::{QuantMethod, Quantization};
    ///
    /// // DeepSeek-V3's: a byte a weight and an fp32 for each block of 128 x 128
    /// let config = serde_json::json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    /// let fp8 = Quantization::from_config(&config)?;
    /// let stored = fp8.stored_weight(7168, 2048).expect("known");
    /// assert_eq!((stored.packed, stored.scales), (7168 * 2048, 56 * 16 * 4));
    /// # Ok::<(), vramplan::model::ModelError>(())
    /// ```
    pub fn stored_weight(&self, out_features: u64, in_features: u64) -> Option<StoredWeight> {
        // no model is wider, and no product below then overflows
        if out_features >= 1 << 28 || in_features >= 1 << 28 {
            return None;
        }
        let (rows, columns) = (out_features, in_features);
        let values = rows * columns;
        let stored = StoredWeight::default();
        Some(match &self.method {
            // `quantize_4bit`, bitsandbytes/functional.py
            QuantMethod::Bnb4bit { double_quant, .. } => {
                let blocks = values.div_ceil(64);
                let scales = if *double_quant { blocks + blocks.div_ceil(256) * FLOAT + FLOAT } else { blocks * FLOAT };
                let tables = if *double_quant { (16 + 256) * FLOAT } else { 16 * FLOAT };
                StoredWeight { packed: values.div_ceil(2), scales, indices: tables, ..stored }
            }
            // `Int8Params`, bitsandbytes/nn/modules.py
            QuantMethod::Bnb8bit => StoredWeight { packed: values, scales: rows * FLOAT, ..stored },
            // `QuantLinear.__init__`, auto_gptq/nn_modules/qlinear/qlinear_cuda.py; the same in
            // gptqmodel/nn_modules/qlinear/__init__.py (`PackableQuantLinear`)
            QuantMethod::Gptq { bits, group_size } => {
                let groups = columns.div_ceil(group_size.unwrap_or(columns).max(1));
                StoredWeight {
                    packed: columns / WORD_BITS * bits * rows * WORD,
                    scales: groups * rows * HALF,
                    zeros: groups * (rows / WORD_BITS * bits) * WORD,
                    indices: columns * WORD,
                }
            }
            // `WQLinear_GEMM.__init__`, awq/modules/linear/gemm.py: zeros are there also where they are not used
            QuantMethod::Awq { bits, group_size } => {
                let groups = columns / group_size.unwrap_or(columns).max(1);
                let words = rows / (WORD_BITS / bits);
                StoredWeight {
                    packed: columns * words * WORD,
                    scales: groups * rows * HALF,
                    zeros: groups * words * WORD,
                    indices: 0,
                }
            }
            // `FP8Linear.__init__`, transformers integrations/finegrained_fp8.py
            QuantMethod::Fp8 { block, scales_in_bytes, static_activations } => {
                let scales = match block {
                    Some((height, width)) => {
                        rows.div_ceil(*height) * columns.div_ceil(*width) * if *scales_in_bytes { 1 } else { FLOAT }
                    }
                    None => FLOAT,
                };
                StoredWeight { packed: values, scales: scales + u64::from(*static_activations) * FLOAT, ..stored }
            }
            // `FbgemmFp8Linear.__init__`, transformers integrations/fbgemm_fp8.py: with the bound of the input's scale
            QuantMethod::FbgemmFp8 => StoredWeight { packed: values, scales: rows * FLOAT + FLOAT, ..stored },
            QuantMethod::CompressedTensors(scheme) => compressed(scheme, rows, columns)?,
            // `Mxfp4GptOssExperts.__init__`, transformers integrations/mxfp4.py, and the scales beside it
            QuantMethod::Mxfp4 => {
                StoredWeight { packed: rows * (columns / 32) * 16, scales: rows * (columns / 32), ..stored }
            }
            QuantMethod::Other(_) => return None,
        })
    }
}

/// As compressed-tensors writes them: `compressors/pack_quantized`, `naive_quantized`, `nvfp4` and `mxfp4`; scales are of
/// the model's type, a half.
fn compressed(scheme: &CompressedTensors, rows: u64, columns: u64) -> Option<StoredWeight> {
    let bits = scheme.bits?;
    let scale_count = match scheme.scales {
        Scales::Tensor => 1,
        Scales::Channel => rows,
        Scales::Group(size) => rows * columns.div_ceil(size.max(1)),
        Scales::Block(height, width) => rows.div_ceil(height.max(1)) * columns.div_ceil(width.max(1)),
    };
    let none = StoredWeight::default();
    Some(match scheme.format.as_str() {
        "pack-quantized" if matches!(bits, 1..=8) => {
            let per_word = WORD_BITS / bits;
            let groups = scale_count / rows.max(1);
            StoredWeight {
                packed: rows * columns.div_ceil(per_word) * WORD,
                scales: scale_count * HALF,
                zeros: if scheme.symmetric { 0 } else { rows.div_ceil(per_word) * groups * WORD },
                // `weight_shape`, two int64
                indices: 16,
            }
        }
        "float-quantized" | "int-quantized" | "naive-quantized" if bits == 8 => StoredWeight {
            packed: rows * columns,
            scales: scale_count * HALF,
            zeros: if scheme.symmetric { 0 } else { scale_count },
            ..none
        },
        // scales in fp8, and one in fp32 for all of them
        "nvfp4-pack-quantized" => {
            StoredWeight { packed: rows * columns.div_ceil(2), scales: rows * columns.div_ceil(16) + FLOAT, ..none }
        }
        "mxfp4-pack-quantized" => {
            StoredWeight { packed: rows * columns.div_ceil(2), scales: rows * columns.div_ceil(32), ..none }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quantization(config: &serde_json::Value) -> Quantization {
        Quantization::from_config(config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// openai/gpt-oss-20b: 24 layers of 32 experts in MXFP4 and the rest in bf16; `total_size` of its
    /// model.safetensors.index.json.
    #[test]
    fn gpt_oss_20b_has_the_published_bytes() {
        let mxfp4 = quantization(&json!({"quant_method": "mxfp4"}));
        let expert = [(2 * 2880, 2880), (2880, 2880)].map(|(rows, columns)| {
            mxfp4.stored_weight(rows, columns).and_then(|stored| stored.total()).unwrap_or_default()
        });
        let experts = 24 * 32 * expert.iter().sum::<u64>();
        let in_experts = 24 * 32 * 3 * 2880 * 2880;
        assert_eq!(experts + 2 * (20_914_757_184 - in_experts), 13_761_264_768);
    }

    /// TheBloke/Llama-2-7B-GPTQ (main: 4 bits, groups of 128) is published as 3.90 GB, its AWQ sister as 3.89 GB.
    #[test]
    fn llama_2_7b_has_the_published_bytes() {
        let sizes = [
            (json!({"quant_method": "gptq", "bits": 4, "group_size": 128}), 3.90),
            (json!({"quant_method": "awq", "bits": 4, "group_size": 128}), 3.89),
        ];
        for (config, published) in sizes {
            let method = quantization(&config);
            let layer = [(4096, 4096, 4), (11_008, 4096, 2), (4096, 11_008, 1)].map(|(rows, columns, count)| {
                count * method.stored_weight(rows, columns).and_then(|stored| stored.total()).unwrap_or_default()
            });
            let dense = 2 * (2 * 32_000 * 4096 + 65 * 4096);
            #[expect(clippy::cast_precision_loss, reason = "compared with two digits")]
            let gigabytes = (32 * layer.iter().sum::<u64>() + dense) as f64 / 1e9;
            assert!((gigabytes - published).abs() < 0.01, "{config}: {gigabytes}");
        }
    }

    #[test]
    fn layers_that_no_model_has_are_refused() {
        let fp8 = quantization(&json!({"quant_method": "fp8"}));
        assert_eq!(fp8.stored_weight(u64::MAX, u64::MAX), None);
    }
}
