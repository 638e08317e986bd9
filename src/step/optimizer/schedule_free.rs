//! Schedule-free AdamW and SGD (`schedulefree/adamw_schedulefree.py`, `sgd_schedulefree.py`, schedulefree 1.4.1), foreach.

use super::{Algorithm, state_like, temporaries_like, updated, with_grad};
use crate::ghost::{Context, Tensor};
use crate::step::foreach;

/// States of one parameter, in its type.
struct States {
    /// Where plain steps have led: a copy of the parameter at first.
    z: Tensor,
    /// AdamW's second moment.
    exp_avg_sq: Option<Tensor>,
}

pub(super) struct ScheduleFree {
    adamw: bool,
    states: Vec<Option<States>>,
}

impl ScheduleFree {
    pub(super) fn new(adamw: bool, parameters: usize) -> Self {
        Self { adamw, states: (0..parameters).map(|_| None).collect() }
    }
}

impl Algorithm for ScheduleFree {
    /// AdamW makes the denominators of all parameters at once; both change gradients in place.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        for (at, parameter, _) in with_grad(parameters) {
            self.states[at].get_or_insert_with(|| States {
                z: state_like(cx, parameter, parameter.dtype()),
                exp_avg_sq: self.adamw.then(|| state_like(cx, parameter, parameter.dtype())),
            });
        }
        if self.adamw {
            let parameters = updated(parameters);
            foreach::drop_list(temporaries_like(cx, &parameters.iter().collect::<Vec<_>>()));
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.states.iter().flatten().flat_map(|states| [&states.z].into_iter().chain(&states.exp_avg_sq)).collect()
    }
}
