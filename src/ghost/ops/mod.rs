//! Primitive operations: what each returns, what it saves for backward, and what it needs for a moment.
//!
//! Sizes, orders and saved tensors follow `derivatives.yaml` and the CUDA kernels of torch 2.11; within a backward,
//! gradients are computed in the alphabetical order of PyTorch's argument names, as its generated code does.

pub(crate) mod attention;
mod blocks;
mod choose;
mod conv;
mod cub;
mod dropout;
mod elementwise;
mod embedding;
mod fused;
mod grouped;
mod indexing;
pub(super) mod log_probabilities;
mod loss;
mod matmul;
mod norm;
pub(crate) mod quantized;
mod reduce;
mod select;
mod softmax;
mod solve;
mod views;
