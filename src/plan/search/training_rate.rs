//! How long a training step takes at least: its arithmetic at the card's rate, or its bytes at the card's bandwidth.
//!
//! Nothing overlaps badly, no kernel waits, no data is loaded: real steps reach a third to two thirds of it. It is meant to
//! rank cards, not to promise a rate.

use crate::hardware::Gpu;
use crate::job::{Precision, Train};
use crate::model::Model;
use crate::step::{Held, ModelSummary};

/// Tokens a second at most; `None`: the card's rates are not known.
#[expect(clippy::cast_precision_loss, reason = "approximate")]
pub(super) fn tokens_per_second(
    model: &Model,
    train: &Train,
    counts: &ModelSummary,
    held: &Held,
    gpu: &Gpu,
) -> Option<f64> {
    let (rate, bandwidth) = (gpu.dense_rate()?, gpu.bandwidth()?);
    let parameters = counts.parameters as f64;
    let trained = counts.trainable_parameters as f64;
    let tokens = (train.per_device_train_batch_size * train.max_seq_length) as f64;
    // a multiplication and an addition for each weight and token: forward; backward to the inputs; to what is trained
    let forward = 2.0 * parameters * tokens;
    let passes = if train.gradient_checkpointing { 3.0 } else { 2.0 };
    // scores and their products with values, causal or not, forward and twice that backward
    let width = (model.hidden_size() * model.num_hidden_layers()) as f64;
    let attention = 4.0 * width * train.max_seq_length as f64 * tokens * (passes + 1.0);
    let arithmetic = forward * passes + 2.0 * trained * tokens + attention;
    let weights = held.weights.0 as f64;
    // 4-bit weights are read, unpacked to 16 bits and read again
    let unpacked = if train.precision.is_quantized() { 2.0 * 2.0 * parameters } else { 0.0 };
    let read = (weights + unpacked) * passes;
    let micro_batch = (arithmetic / rate).max(read / bandwidth);
    // gradients and states are read and written, weights too
    let states = 2.0 * (held.optimizer.0 + held.paged.0 + held.gradients.0) as f64;
    let update = (states + 4.0 * trained) / bandwidth;
    let steps = train.gradient_accumulation_steps as f64;
    Some(tokens * steps / (micro_batch * steps + update))
}

/// Whether the card multiplies the job's numbers at the rate that is taken: bf16 needs compute capability 8.0.
pub(super) fn computes(train: &Train, gpu: &Gpu) -> bool {
    let bf16 = train.precision == Precision::Bf16 || train.precision.is_quantized();
    !bf16 || gpu.compute_capability().is_some_and(|capability| capability >= (8, 0))
}
