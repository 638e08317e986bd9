//! Modules whose parameters are listed, with no forward of their own.

use super::forward::Forward;
use super::network::{Batch, BatchShape, Generate, Network, Outputs};
use crate::ghost::{Context, Tensor};
use crate::model::{ListedConfig, ListedKind, ParameterList, Role};
use crate::nn::{Builder, FreeParameters, Leaf, Linear, Module, Part};

/// Parameters and buffers that nothing here computes with.
pub(super) struct Listed {
    /// Each with the number of its layer, where it is in one of several.
    modules: Vec<(Option<u64>, One)>,
    buffers: Vec<Tensor>,
}

enum One {
    Linear(Linear),
    Free(FreeParameters),
}

impl Listed {
    pub(super) fn new(builder: &Builder<'_>, list: &ParameterList) -> Self {
        let mut listed = Self { modules: Vec::new(), buffers: Vec::new() };
        for group in &list.groups {
            for time in 0..group.times {
                let index = (group.times > 1).then_some(time);
                for parameters in &group.parameters {
                    let (path, part) = (parameters.path, part(parameters.role));
                    match &parameters.kind {
                        ListedKind::Linear { in_features, out_features, bias } => {
                            let linear = builder.linear(path, part, *in_features, *out_features, *bias);
                            listed.modules.push((index, One::Linear(linear)));
                        }
                        ListedKind::Convolution { kernel, bias } => {
                            let convolution = builder.convolution(path, part, kernel, *bias);
                            listed.modules.push((index, One::Linear(convolution)));
                        }
                        ListedKind::Parameters(shapes) => {
                            let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
                            listed.modules.push((index, One::Free(builder.free(path, part, &shapes))));
                        }
                        ListedKind::Buffer(dims, dtype) => listed.buffers.push(builder.buffer(path, dims, *dtype)),
                    }
                }
            }
        }
        listed
    }
}

fn part(role: Role) -> Part {
    match role {
        Role::Embedding => Part::Embedding,
        Role::Attention => Part::Attention,
        Role::Mlp => Part::Mlp,
        Role::Norm => Part::Norm,
        Role::Head => Part::Head,
        Role::Experts => Part::Experts,
        Role::Tower => Part::Tower,
        Role::Other => Part::Other,
    }
}

impl Listed {
    /// Visits the leaves, each with the number of its layer, where it is in one of several.
    pub(super) fn walk(&mut self, visit: &mut dyn FnMut(Option<u64>, Leaf<'_>)) {
        for (index, module) in &mut self.modules {
            match module {
                One::Linear(linear) => visit(*index, Leaf::Linear(linear)),
                One::Free(free) => visit(*index, Leaf::Free(free)),
            }
        }
    }
}

impl Module for Listed {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.walk(&mut |_, leaf| visit(leaf));
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.buffers.iter_mut().for_each(visit);
    }
}

/// A model that is counted and never run: `estimate` refuses it before.
pub(super) struct CountedOnly(Listed);

impl CountedOnly {
    pub(super) fn new(builder: &Builder<'_>, model: &ListedConfig) -> Self {
        Self(Listed::new(builder, &model.parameters))
    }
}

const REFUSED: &str = "a model that is only counted is refused before it is run";

impl Network for CountedOnly {
    fn batch(&self, _: &Context, _: BatchShape) -> Batch {
        unreachable!("{REFUSED}")
    }

    fn loss(&self, _: &Context, _: &Batch, _: Forward<'_>) -> (Tensor, Outputs) {
        unreachable!("{REFUSED}")
    }

    fn prompt(&self, _: &Context, _: u64, _: u64) -> Tensor {
        unreachable!("{REFUSED}")
    }

    fn generate(&self, _: &Context, _: &Tensor, _: Generate) {
        unreachable!("{REFUSED}")
    }

    fn is_tied(&self) -> bool {
        false
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &["q_proj", "v_proj"]
    }
}

impl Module for CountedOnly {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.0.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.0.buffers(visit);
    }
}
