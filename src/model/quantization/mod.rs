//! `quantization_config`: how the weights of a checkpoint are stored, where not as floats.

mod modules;
mod parse;
mod storage;

pub use storage::StoredWeight;

/// How a checkpoint's linear layers are quantised: the `quantization_config` of its config.json.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quantization {
    /// How a layer's weight is stored.
    pub method: QuantMethod,
    /// Modules left as they are: `modules_to_not_convert`, `ignore`, `llm_int8_skip_modules` ...; patterns, as
    /// `should_convert_module` takes them (transformers, `quantizers/quantizers_utils.py`).
    pub not_converted: Vec<String>,
}

/// A method of quantisation, with what the size of a layer depends on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantMethod {
    /// bitsandbytes' `load_in_4bit`.
    Bnb4bit {
        /// `bnb_4bit_quant_type`: whether it is nf4, rather than fp4.
        nf4: bool,
        /// `bnb_4bit_use_double_quant`
        double_quant: bool,
    },
    /// bitsandbytes' `load_in_8bit`.
    Bnb8bit,
    /// GPTQ: `qweight`, `qzeros`, `scales`, `g_idx`.
    Gptq {
        /// Bits of a weight.
        bits: u64,
        /// Inputs that share a scale; `None`: all of them.
        group_size: Option<u64>,
    },
    /// AWQ: `qweight`, `qzeros`, `scales`.
    Awq {
        /// Bits of a weight.
        bits: u64,
        /// Inputs that share a scale; `None`: all of them.
        group_size: Option<u64>,
    },
    /// FP8 with a scale for each block of a weight (DeepSeek's), or one for all of it.
    Fp8 {
        /// `weight_block_size`: outputs and inputs that share a scale.
        block: Option<(u64, u64)>,
        /// Whether scales are `ue8m0` bytes, rather than fp32.
        scales_in_bytes: bool,
        /// Whether activations have a scale of their own.
        static_activations: bool,
    },
    /// FBGEMM's FP8, with a scale for each output.
    FbgemmFp8,
    /// compressed-tensors.
    CompressedTensors(CompressedTensors),
    /// MXFP4: blocks of 32 with a shared exponent; experts only.
    Mxfp4,
    /// A method whose storage is not known here.
    Other(String),
}

/// The one scheme of a compressed-tensors checkpoint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompressedTensors {
    /// `format`: pack-quantized, float-quantized, nvfp4-pack-quantized ...
    pub format: String,
    /// Bits of a weight; `None`: its groups differ.
    pub bits: Option<u64>,
    /// What shares a scale.
    pub scales: Scales,
    /// Whether there are no zero points.
    pub symmetric: bool,
}

/// What of a weight shares a scale (`strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scales {
    /// All of it.
    Tensor,
    /// An output's weights.
    Channel,
    /// So many inputs of an output.
    Group(u64),
    /// Outputs by inputs.
    Block(u64, u64),
}

impl Quantization {
    /// Its name as people are told of it.
    pub fn name(&self) -> String {
        match &self.method {
            QuantMethod::Bnb4bit { nf4, double_quant } => format!(
                "bitsandbytes {}{}",
                if *nf4 { "nf4" } else { "fp4" },
                if *double_quant { " with double quantisation" } else { "" }
            ),
            QuantMethod::Bnb8bit => "bitsandbytes int8".to_owned(),
            QuantMethod::Gptq { bits, group_size } => format!("GPTQ {bits} bits{}", grouped(*group_size)),
            QuantMethod::Awq { bits, group_size } => format!("AWQ {bits} bits{}", grouped(*group_size)),
            QuantMethod::Fp8 { block: Some((rows, columns)), .. } => format!("FP8 in blocks of {rows} x {columns}"),
            QuantMethod::Fp8 { block: None, .. } => "FP8".to_owned(),
            QuantMethod::FbgemmFp8 => "FBGEMM FP8".to_owned(),
            QuantMethod::CompressedTensors(scheme) => format!("compressed-tensors {}", scheme.format),
            QuantMethod::Mxfp4 => "MXFP4".to_owned(),
            QuantMethod::Other(name) => name.clone(),
        }
    }
}

fn grouped(group_size: Option<u64>) -> String {
    group_size.map_or_else(String::new, |size| format!(", groups of {size}"))
}
