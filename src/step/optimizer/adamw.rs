//! `torch.optim.AdamW` (`torch/optim/adam.py`, torch 2.11).

use super::{Algorithm, state, state_like, temporaries_like, temporary_like, updated, with_grad};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Tensor};
use crate::step::foreach;

/// Which of PyTorch's three implementations runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Implementation {
    /// All parameters of a type at once: the default on a GPU.
    Foreach,
    /// One kernel, no temporaries.
    Fused,
    /// One parameter after another.
    Loop,
}

/// First and second moments of one parameter, in its type.
struct Moments {
    /// The step count; only the fused implementation keeps it on the GPU.
    step: Option<Tensor>,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

pub(super) struct AdamW {
    implementation: Implementation,
    /// Steps taken.
    steps: i32,
    moments: Vec<Option<Moments>>,
}

impl AdamW {
    pub(super) fn new(implementation: Implementation, parameters: usize) -> Self {
        Self { implementation, steps: 0, moments: (0..parameters).map(|_| None).collect() }
    }

    /// `_init_group`.
    fn init(&mut self, cx: &Context, parameters: &[Tensor]) {
        let on_gpu = self.implementation == Implementation::Fused;
        for (at, parameter, _) in with_grad(parameters) {
            self.moments[at].get_or_insert_with(|| Moments {
                step: on_gpu.then(|| state(cx, &[], DType::F32)),
                exp_avg: state_like(cx, parameter, parameter.dtype()),
                exp_avg_sq: state_like(cx, parameter, parameter.dtype()),
            });
        }
    }
}

impl Algorithm for AdamW {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        self.init(cx, parameters);
        self.steps += 1;
        let updated = updated(parameters);
        let moments = || with_grad(parameters).filter_map(|(at, ..)| self.moments[at].as_ref());
        if cx.is_real() && self.implementation == Implementation::Foreach {
            for (moments, (_, _, grad)) in moments().zip(with_grad(parameters)) {
                cx.update(Kernel::Moment("average"), &moments.exp_avg, &[&grad]);
                cx.update(Kernel::Moment("square"), &moments.exp_avg_sq, &[&grad]);
            }
        }
        let finish = |parameter: &Tensor, denominator: &Tensor| {
            let mut pairs = updated.iter().zip(moments());
            if let Some((_, moments)) = pairs.find(|(other, _)| other.same_storage(parameter)) {
                let step = Kernel::Update { step: self.steps };
                cx.update(step, parameter, &[&moments.exp_avg, denominator]);
            }
        };
        let squares: Vec<&Tensor> = moments().map(|moments| &moments.exp_avg_sq).collect();
        match self.implementation {
            Implementation::Foreach => {
                let step = Step { number: self.steps, squares: &squares, finish: &finish };
                denominators(cx, &updated, cx.is_real().then_some(step));
            }
            Implementation::Fused => {}
            Implementation::Loop => single_tensor(cx, &updated),
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.moments.iter().flatten().flat_map(|m| m.step.iter().chain([&m.exp_avg, &m.exp_avg_sq])).collect()
    }
}

/// `_multi_tensor_adam`: `_foreach_sqrt` makes the denominators of all parameters of a type at once, and those of one type
/// live until the next type's are made.
pub(super) fn denominators(cx: &Context, parameters: &[Tensor], step: Option<Step<'_>>) {
    let mut exp_avg_sq_sqrt: Vec<Tensor> = Vec::new();
    for group in foreach::by_dtype(parameters) {
        let next = match &step {
            Some(step) => step.take(cx, parameters, &group),
            None => temporaries_like(cx, &group),
        };
        foreach::drop_list(std::mem::replace(&mut exp_avg_sq_sqrt, next));
    }
    foreach::drop_list(exp_avg_sq_sqrt);
}

/// What a step that is carried out does beside making denominators.
pub(super) struct Step<'a> {
    number: i32,
    /// The second moments, a parameter each.
    squares: &'a [&'a Tensor],
    /// Updates a parameter.
    finish: &'a dyn Fn(&Tensor, &Tensor),
}

impl Step<'_> {
    /// The denominators of a group, by which its parameters are updated.
    fn take(&self, cx: &Context, parameters: &[Tensor], group: &[&Tensor]) -> Vec<Tensor> {
        let of = |parameter: &Tensor| {
            let mut pairs = parameters.iter().zip(self.squares);
            pairs.find(|(other, _)| other.same_storage(parameter)).map(|(_, squares)| *squares)
        };
        let kernel = || Kernel::Denominator { step: self.number };
        let denominators: Vec<Tensor> = cx.within(Category::Temporary, || {
            let make = |squares: &Tensor| cx.launch(kernel(), &[squares], *squares.layout(), squares.dtype());
            group.iter().filter_map(|parameter| of(parameter)).map(make).collect()
        });
        group.iter().zip(&denominators).for_each(|(parameter, denominator)| (self.finish)(parameter, denominator));
        denominators
    }
}

/// `_single_tensor_adam`: a denominator lives until the next one is made.
fn single_tensor(cx: &Context, parameters: &[Tensor]) {
    let mut denom: Option<Tensor> = None;
    for parameter in parameters {
        let sqrt = temporary_like(cx, parameter);
        let next = temporary_like(cx, parameter);
        drop(sqrt);
        drop(denom.replace(next));
    }
}
