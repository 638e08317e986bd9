//! Parameters that are listed, with no forward of their own: towers beside a language model, models that are only counted.

use crate::dtype::DType;

/// Parameters in the order `model.parameters()` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterList {
    /// Groups of them, one after another.
    pub groups: Vec<ParameterGroup>,
}

/// Parameters that repeat, as a layer's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterGroup {
    /// How many times.
    pub times: u64,
    /// The parameters of one time.
    pub parameters: Vec<ListedParameters>,
}

/// The parameters of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedParameters {
    /// Where it stands, layers' indices left out.
    pub path: &'static str,
    /// What it is for.
    pub role: Role,
    /// What it is.
    pub kind: ListedKind,
}

/// What a listed module is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListedKind {
    /// `nn.Linear`
    Linear {
        /// Width of its input.
        in_features: u64,
        /// Width of its output.
        out_features: u64,
        /// Whether it has a bias.
        bias: bool,
    },
    /// A convolution.
    Convolution {
        /// `[out, in, ...]`
        kernel: Vec<u64>,
        /// Whether it has a bias.
        bias: bool,
    },
    /// Parameters of these shapes.
    Parameters(Vec<Vec<u64>>),
    /// A buffer.
    Buffer(Vec<u64>, DType),
}

/// What listed parameters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Embedding tables.
    Embedding,
    /// Attention projections.
    Attention,
    /// Feed-forward matrices.
    Mlp,
    /// Norms.
    Norm,
    /// The head.
    Head,
    /// Experts and their routers.
    Experts,
    /// A tower and what projects from it.
    Tower,
    /// Anything else.
    Other,
}

impl ParameterList {
    /// Adds what `fill` lists, `times` times.
    pub(super) fn repeat(&mut self, times: u64, fill: impl FnOnce(&mut ParameterGroup)) {
        let mut group = ParameterGroup { times, parameters: Vec::new() };
        fill(&mut group);
        self.groups.push(group);
    }

    /// Adds what `fill` lists.
    pub(super) fn once(&mut self, fill: impl FnOnce(&mut ParameterGroup)) {
        self.repeat(1, fill);
    }

    /// The same parameters, all of them a tower's.
    pub(super) fn into_tower(mut self) -> Self {
        for listed in self.groups.iter_mut().flat_map(|group| &mut group.parameters) {
            listed.role = Role::Tower;
        }
        self
    }

    /// How many there are.
    pub fn count(&self) -> u128 {
        let of = |listed: &ListedParameters| match &listed.kind {
            ListedKind::Linear { in_features, out_features, bias } => {
                u128::from(*out_features) * (u128::from(*in_features) + u128::from(*bias))
            }
            ListedKind::Convolution { kernel, bias } => {
                let bias = if *bias { numel(kernel.get(..1).unwrap_or_default()) } else { 0 };
                numel(kernel).saturating_add(bias)
            }
            ListedKind::Parameters(shapes) => shapes.iter().map(|dims| numel(dims)).fold(0, u128::saturating_add),
            ListedKind::Buffer(..) => 0,
        };
        self.groups
            .iter()
            .map(|group| {
                let one = group.parameters.iter().map(of).fold(0, u128::saturating_add);
                one.saturating_mul(u128::from(group.times))
            })
            .fold(0, u128::saturating_add)
    }
}

fn numel(dims: &[u64]) -> u128 {
    dims.iter().map(|&dim| u128::from(dim)).fold(1, u128::saturating_mul)
}

impl ParameterGroup {
    fn add(&mut self, path: &'static str, role: Role, kind: ListedKind) {
        self.parameters.push(ListedParameters { path, role, kind });
    }

    /// `nn.Linear`, `[in, out]`.
    pub(super) fn linear(&mut self, role: Role, path: &'static str, [from, to]: [u64; 2], bias: bool) {
        self.add(path, role, ListedKind::Linear { in_features: from, out_features: to, bias });
    }

    /// A layer norm: weight and bias.
    pub(super) fn layer_norm(&mut self, path: &'static str, width: u64) {
        self.add(path, Role::Norm, ListedKind::Parameters(vec![vec![width], vec![width]]));
    }

    /// A norm with a weight alone.
    pub(super) fn rms_norm(&mut self, path: &'static str, width: u64) {
        self.add(path, Role::Norm, ListedKind::Parameters(vec![vec![width]]));
    }

    /// A convolution of a kernel `[out, in, ...]`.
    pub(super) fn conv(&mut self, path: &'static str, kernel: &[u64], bias: bool) {
        self.add(path, Role::Other, ListedKind::Convolution { kernel: kernel.to_vec(), bias });
    }

    /// An embedding table.
    pub(super) fn table(&mut self, path: &'static str, rows: u64, width: u64) {
        self.add(path, Role::Embedding, ListedKind::Parameters(vec![vec![rows, width]]));
    }

    /// One parameter of these dimensions.
    pub(super) fn parameter(&mut self, role: Role, path: &'static str, dims: &[u64]) {
        self.add(path, role, ListedKind::Parameters(vec![dims.to_vec()]));
    }

    /// A buffer.
    pub(super) fn buffer(&mut self, path: &'static str, dims: &[u64], dtype: DType) {
        self.add(path, Role::Other, ListedKind::Buffer(dims.to_vec(), dtype));
    }
}
