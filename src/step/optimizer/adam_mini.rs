//! Adam-mini (`adam_mini/adam_mini.py`, adam-mini 1.1.1): a first moment for each weight, and one second moment for each row,
//! each attention head of queries and keys, or each vector; biases have Adam's two.

use super::{Algorithm, rebind, state, state_like, temporary, temporary_like, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Layout, Tensor};
use crate::nn::{Leaf, Module};

/// What of a parameter shares a second moment.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::step) enum Share {
    /// So many elements: an attention head's queries or keys.
    Elements(u64),
    Row,
    Whole,
    /// Nothing: each has its own.
    None,
}

/// What shares a second moment in each of `parameters`, by their names in `model`; `head_numel`: elements of a head's share
/// of a query projection.
pub(in crate::step) fn shares(
    model: &mut (impl Module + ?Sized),
    head_numel: u64,
    parameters: &[Tensor],
) -> Vec<Share> {
    /// `wqk_names`
    const HEADS: [&str; 6] = ["k_proj", "q_proj", "wq", "wk", "query", "key"];
    let (mut of_heads, mut biases): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
    model.leaves(&mut |mut leaf| {
        let name = leaf.name();
        let has_bias = matches!(leaf, Leaf::Linear(_) | Leaf::Norm(_));
        let mut parameters = leaf.dense_parameters().into_iter().map(|parameter| (*parameter).clone());
        let weight = parameters.next();
        if HEADS.iter().any(|part| name.contains(part)) {
            of_heads.extend(weight);
        }
        biases.extend(parameters.filter(|parameter| has_bias && parameter.dims().len() == 1));
    });
    let among = |list: &[Tensor], parameter: &Tensor| list.iter().any(|other| other.same_storage(parameter));
    let share = |parameter: &Tensor| match parameter.dims().len() {
        _ if among(&biases, parameter) => Share::None,
        2 if among(&of_heads, parameter) => Share::Elements(head_numel.max(1)),
        2 => Share::Row,
        _ => Share::Whole,
    };
    parameters.iter().map(share).collect()
}

/// Both moments of a parameter.
struct Moments {
    m: Tensor,
    v: Tensor,
}

/// What the step has names for from one parameter to the next.
#[derive(Default)]
struct Names {
    numel: Option<Tensor>,
    mean: Option<Tensor>,
    h: Option<Tensor>,
    stepsize: Option<Tensor>,
    update: Option<Tensor>,
}

pub(super) struct AdamMini {
    shares: Vec<Share>,
    moments: Vec<Option<Moments>>,
}

impl AdamMini {
    pub(super) fn new(shares: Vec<Share>) -> Self {
        let moments = shares.iter().map(|_| None).collect();
        Self { shares, moments }
    }

    fn init(cx: &Context, share: Share, parameter: &Tensor, names: &mut Names) -> Moments {
        let dtype = parameter.dtype();
        if share == Share::Whole {
            rebind(&mut names.numel, temporary(cx, Layout::contiguous(&[]), DType::F32));
        }
        let m = state_like(cx, parameter, dtype);
        let v = match share {
            Share::None => state_like(cx, parameter, dtype),
            Share::Elements(each) => state(cx, &[parameter.layout().numel() / each, 1], dtype),
            Share::Row => state(cx, &[parameter.dim(0), 1], dtype),
            Share::Whole => {
                let _sum = summed_squares(cx, parameter);
                state(cx, &[], dtype)
            }
        };
        Moments { m, v }
    }
}

/// `torch.sum(p * p)`
fn summed_squares(cx: &Context, parameter: &Tensor) -> Tensor {
    let _squares = temporary_like(cx, parameter);
    temporary(cx, Layout::contiguous(&[]), parameter.dtype())
}

impl Algorithm for AdamMini {
    /// One parameter after another; the last one's update has its name until the next one's takes it.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        let mut names = Names::default();
        for (at, parameter, _) in with_grad(parameters) {
            let share = self.shares[at];
            if self.moments[at].is_none() {
                self.moments[at] = Some(Self::init(cx, share, parameter, &mut names));
            }
            let Some(Moments { v, .. }) = &self.moments[at] else { continue };
            let small = || temporary_like(cx, v);
            if share == Share::None {
                let root = small();
                rebind(&mut names.h, small());
                drop(root);
                names.stepsize = None;
                continue;
            }
            rebind(&mut names.mean, {
                let _squares = temporary_like(cx, parameter);
                small()
            });
            if share == Share::Whole {
                rebind(&mut names.mean, small());
            }
            for name in [&mut names.h, &mut names.stepsize] {
                let _root_or_inverse = small();
                rebind(name, small());
            }
            rebind(&mut names.update, temporary_like(cx, parameter));
            let _negated = temporary_like(cx, parameter);
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.moments.iter().flatten().flat_map(|moments| [&moments.m, &moments.v]).collect()
    }
}
