//! How a model's parameters come into being.

use super::module::Part;
use super::{Embedding, FreeParameters, Linear, NormLayer, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model;

/// Where parameters are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// Nowhere: shapes only (PyTorch's meta device).
    Meta,
    /// On the GPU.
    Cuda,
}

/// What modules run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernels {
    /// What transformers' modules are written in.
    #[default]
    Transformers,
    /// Liger's, as `use_liger_kernel` puts them in their place.
    Liger,
}

/// Makes the parameters of a model.
pub struct Builder<'a> {
    /// What they are charged to.
    pub cx: &'a Context,
    /// Their type.
    pub dtype: DType,
    /// Where they are made.
    pub device: Device,
    /// What its modules run.
    pub kernels: Kernels,
}

impl Builder<'_> {
    /// A frozen parameter.
    pub fn parameter(&self, name: &'static str, dims: &[u64]) -> Tensor {
        match self.device {
            Device::Meta => self.cx.meta(dims, self.dtype),
            Device::Cuda => self.cx.parameter(name, dims, self.dtype, false),
        }
    }

    /// A buffer.
    pub fn buffer(&self, name: &'static str, dims: &[u64], dtype: DType) -> Tensor {
        match self.device {
            Device::Meta => self.cx.meta(dims, dtype),
            Device::Cuda => self.cx.buffer(name, dims, dtype),
        }
    }

    /// What making or initialising a module allocates and lets go of: released when it is dropped.
    pub fn temporary(&self, dims: &[u64], dtype: DType) -> Tensor {
        match self.device {
            Device::Meta => self.cx.meta(dims, dtype),
            Device::Cuda => self.cx.launch(Kernel::Scratch("initialising"), &[], Layout::contiguous(dims), dtype),
        }
    }

    /// `nn.Linear`
    pub fn linear(&self, name: &'static str, part: Part, from: u64, to: u64, bias: bool) -> Linear {
        Linear {
            name,
            part,
            in_features: from,
            out_features: to,
            weight: Weight::Dense(self.parameter(name, &[to, from])),
            bias: bias.then(|| self.parameter(name, &[to])),
            conv1d: false,
            convolution: false,
            written_out: false,
            adapter: None,
        }
    }

    /// `nn.Conv2d` or `nn.Conv3d`, of a kernel `[out, in, ...]`.
    pub fn convolution(&self, name: &'static str, part: Part, kernel: &[u64], bias: bool) -> Linear {
        let out = kernel.first().copied().unwrap_or(0);
        Linear {
            part,
            name,
            in_features: kernel.iter().skip(1).product(),
            out_features: out,
            weight: Weight::Dense(self.parameter(name, kernel)),
            bias: bias.then(|| self.parameter(name, &[out])),
            convolution: true,
            ..self.empty_linear()
        }
    }

    /// GPT-2's `Conv1D`.
    pub fn conv1d(&self, name: &'static str, part: Part, from: u64, to: u64) -> Linear {
        Linear {
            weight: Weight::Dense(self.parameter(name, &[from, to])),
            bias: Some(self.parameter(name, &[to])),
            conv1d: true,
            ..Linear { name, part, in_features: from, out_features: to, ..self.empty_linear() }
        }
    }

    fn empty_linear(&self) -> Linear {
        Linear {
            name: "",
            part: Part::Mlp,
            in_features: 0,
            out_features: 0,
            weight: Weight::Dense(self.cx.meta(&[0], self.dtype)),
            bias: None,
            conv1d: false,
            convolution: false,
            written_out: false,
            adapter: None,
        }
    }

    /// `nn.Embedding`
    pub fn embedding(&self, name: &'static str, rows: u64, width: u64) -> Embedding {
        Embedding { name, weight: self.parameter(name, &[rows, width]) }
    }

    /// Parameters of these shapes that belong to no other kind of leaf.
    pub fn free(&self, name: &'static str, part: Part, shapes: &[&[u64]]) -> FreeParameters {
        FreeParameters { name, part, tensors: shapes.iter().map(|dims| self.parameter(name, dims)).collect() }
    }

    /// The model's norm, of `width`.
    pub fn norm(&self, name: &'static str, kind: model::Norm, width: u64) -> NormLayer {
        self.norm_shaped(name, kind, &[width])
    }

    /// The model's norm, with weights of these dimensions.
    pub fn norm_shaped(&self, name: &'static str, kind: model::Norm, dims: &[u64]) -> NormLayer {
        let bias = matches!(kind, model::Norm::Layer { bias: true } | model::Norm::LayerOnePlus);
        let learned = !matches!(kind, model::Norm::LayerWithoutWeight | model::Norm::LayerInFp32);
        let vector = |wanted: bool| wanted.then(|| self.parameter(name, dims));
        NormLayer { name, kind, weight: vector(learned), bias: vector(bias), kernels: self.kernels }
    }
}
