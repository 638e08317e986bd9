//! The back-of-the-envelope formula that tutorials teach, kept to be held beside what the step takes.
//!
//! It adds up weights, gradients, Adam's two fp32 states and a guess for activations, and lets LoRA train one parameter
//! in a thousand. Where a real step peaks it does not ask.

use schemars::JsonSchema;
use serde::Serialize;

use crate::job::{Precision, Workload};
use crate::units::Bytes;

/// What the formula adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Formula {
    /// Parameters times their bytes.
    pub weights: Bytes,
    /// Trainable parameters times the bytes of a weight.
    pub gradients: Bytes,
    /// Trainable parameters times 8: Adam, whatever the job's optimizer is.
    pub optimizer: Bytes,
    /// batch x sequence x hidden size x 4 bytes x 2.
    pub activations: Bytes,
    /// batch x sequence x hidden size x 2 x 2 times the bytes of a weight.
    pub kv_cache: Bytes,
}

impl Formula {
    /// Training of `trainable` out of `parameters`, on `tokens` (batch times sequence) of width `hidden_size`.
    ///
    /// ```
    /// use vramplan::formula::Formula;
    /// use vramplan::job::Precision;
    ///
    /// let full = Formula::training(7_000_000_000, 7_000_000_000, Precision::Fp16, 2048, 4096);
    /// assert_eq!(format!("{:.2} GB", full.total().gb()), "84.07 GB");
    /// ```
    pub fn training(parameters: u64, trainable: u64, precision: Precision, tokens: u64, hidden_size: u64) -> Self {
        Self {
            weights: stored(parameters, precision),
            gradients: stored(trainable, precision),
            optimizer: Bytes(trainable.saturating_mul(8)),
            activations: Bytes(tokens.saturating_mul(hidden_size).saturating_mul(8)),
            kv_cache: Bytes::ZERO,
        }
    }

    /// Inference with `tokens` (batch times sequence) of width `hidden_size` in the cache.
    pub fn inference(parameters: u64, precision: Precision, tokens: u64, hidden_size: u64) -> Self {
        Self {
            weights: stored(parameters, precision),
            kv_cache: stored(tokens.saturating_mul(hidden_size).saturating_mul(4), precision),
            ..Self::default()
        }
    }

    /// What the formula says of a job on a model of `parameters` (adapters left out) and `hidden_size`.
    pub fn of(workload: &Workload, parameters: u64, hidden_size: u64) -> Self {
        match workload {
            Workload::Train(train) => {
                let trainable = if train.peft.is_some() { lora_trainable(parameters) } else { parameters };
                let tokens = train.per_device_train_batch_size.saturating_mul(train.max_seq_length);
                Self::training(parameters, trainable, train.precision, tokens, hidden_size)
            }
            Workload::Infer(infer) => {
                let length = infer.prompt_length.saturating_add(infer.max_new_tokens);
                Self::inference(parameters, infer.precision, infer.batch_size.saturating_mul(length), hidden_size)
            }
            Workload::Serve(serve) => {
                let length = serve.sequence_length.or(serve.max_model_len).unwrap_or(2048);
                Self::inference(parameters, serve.precision, serve.concurrency.saturating_mul(length), hidden_size)
            }
        }
    }

    /// Every part with the name it has in an estimate.
    pub fn named(&self) -> [(&'static str, Bytes); 5] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("kv_cache", self.kv_cache),
        ]
    }

    /// Their sum; saturates at the largest count.
    pub fn total(&self) -> Bytes {
        Bytes(self.named().into_iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(bytes.0)))
    }
}

/// How many parameters the formula takes LoRA to train: 0.1 % of the model's, whatever its rank.
pub const fn lora_trainable(parameters: u64) -> u64 {
    parameters / 1000
}

/// The tutorials' bytes of a weight: 4, 2, 2, 1 and 0.5, without scales.
fn stored(parameters: u64, precision: Precision) -> Bytes {
    Bytes(match precision {
        Precision::Fp32 => parameters.saturating_mul(4),
        Precision::Fp16 | Precision::Bf16 => parameters.saturating_mul(2),
        Precision::Int8 => parameters,
        Precision::Int4 | Precision::Nf4 | Precision::Fp4 => parameters / 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: u64 = 7_000_000_000;

    #[track_caller]
    fn gb(trainable: u64, precision: Precision) -> String {
        format!("{:.2}", Formula::training(P, trainable, precision, 2048, 4096).total().gb())
    }

    #[test]
    fn the_tutorials_examples_come_out() {
        assert_eq!(gb(P, Precision::Fp32), "112.07");
        assert_eq!(gb(P, Precision::Fp16), "84.07");
        assert_eq!(gb(lora_trainable(P), Precision::Fp16), "14.14");
        assert_eq!(gb(lora_trainable(P), Precision::Int4), "3.63");
    }

    #[test]
    fn parts_of_lora_in_fp16() {
        let formula = Formula::training(P, lora_trainable(P), Precision::Fp16, 2048, 4096);
        let parts = formula.named().map(|(_, bytes)| bytes.0);
        assert_eq!(parts, [14_000_000_000, 14_000_000, 56_000_000, 67_108_864, 0]);
    }

    #[test]
    fn inference_is_weights_and_cache() {
        let formula = Formula::inference(P, Precision::Bf16, 2048, 4096);
        assert_eq!((formula.weights.0, formula.kv_cache.0), (14_000_000_000, 67_108_864));
        assert_eq!(formula.total(), Bytes(14_067_108_864));
    }

    #[test]
    fn sizes_beyond_64_bits_saturate() {
        assert_eq!(Formula::training(u64::MAX, u64::MAX, Precision::Fp32, u64::MAX, 2).total(), Bytes(u64::MAX));
    }
}
