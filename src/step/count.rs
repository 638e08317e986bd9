//! Parameter counts, from the same modules that are run.

use schemars::JsonSchema;
use serde::Serialize;

use super::adapt;
use super::error::EstimateError;
use crate::arch::{Network, shapes};
use crate::ghost::Context;
use crate::job::Peft;
use crate::model::Model;
use crate::nn::Part;

/// How many parameters a model has, and where; the parts sum to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Parameters {
    /// All of them, tied ones once, adapters and modules that are trained whole included.
    pub total: u64,
    /// Those that are trained.
    pub trainable: u64,
    /// Token and position embeddings.
    pub embedding: u64,
    /// Attention projections.
    pub attention: u64,
    /// Feed-forward matrices.
    pub mlp: u64,
    /// Norms.
    pub norms: u64,
    /// Language-model head, where it is not tied.
    pub head: u64,
    /// Experts of a mixture and their routers.
    pub experts: u64,
    /// What mixes tokens in place of attention: state-space and linear-attention layers, convolutions.
    pub mixer: u64,
    /// Vision and audio towers and what projects from them.
    pub tower: u64,
    /// Poolers, relative position tables and the like.
    pub other: u64,
    /// Adapters, and copies of modules that are trained whole.
    pub adapters: u64,
}

impl Parameters {
    /// Those of a model that is loaded without its tower, trained whole or with adapters.
    pub(super) fn without_tower(self, tower: u64, adapted: bool) -> Self {
        Self {
            total: self.total.saturating_sub(tower),
            trainable: self.trainable.saturating_sub(if adapted { 0 } else { tower }),
            tower: self.tower.saturating_sub(tower),
            ..self
        }
    }

    /// Every part with its name, in the order people are shown them.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("embedding", self.embedding),
            ("attention", self.attention),
            ("mlp", self.mlp),
            ("norms", self.norms),
            ("head", self.head),
            ("experts", self.experts),
            ("mixer", self.mixer),
            ("tower", self.tower),
            ("other", self.other),
            ("adapters", self.adapters),
        ]
    }
}

/// Counts the parameters of `model`, with what `peft` adds to it.
///
/// # Errors
/// The model cannot be trained so: no layer has a name that is asked for, or the method has none for its layers.
///
/// ```
/// use vramplan::{job::{Lora, Peft}, model, step::count_parameters};
///
/// let model = model::resolve("llama-2-7b")?;
/// assert_eq!(count_parameters(&model, None)?.total, 6_738_415_616);
/// assert_eq!(count_parameters(&model, Some(&Peft::Lora(Lora::default())))?.trainable, 4_194_304);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn count_parameters(model: &Model, peft: Option<&Peft>) -> Result<Parameters, EstimateError> {
    let cx = Context::new();
    let mut network = shapes(&cx, model);
    let mut counted = counted(network.as_mut(), model);
    if let Some(peft) = peft {
        let adapted = adapt::apply(&cx, network.as_mut(), model, Some(peft))?;
        let trainable = adapt::trainable(network.as_mut(), &adapted);
        counted.trainable = trainable.iter().map(|parameter| parameter.layout().numel()).sum();
        counted.adapters = adapt::added(network.as_mut(), &adapted);
        counted.total += counted.adapters;
    }
    Ok(counted)
}

/// The parameters of a model that is there already.
pub(super) fn counted(network: &mut dyn Network, model: &Model) -> Parameters {
    let mut counted = Parameters::default();
    let tied = network.is_tied();
    let (mut base, mut frozen) = (0, 0);
    network.leaves(&mut |mut leaf| {
        let part = leaf.part();
        let skip = usize::from(tied && part == Part::Head);
        let own: u64 = leaf.dense_parameters().into_iter().skip(skip).map(|t| t.layout().numel()).sum();
        base += own;
        frozen += if leaf.never_trains() { own } else { 0 };
        let place = match part {
            Part::Embedding | Part::Fixed => &mut counted.embedding,
            Part::Attention => &mut counted.attention,
            Part::Mlp => &mut counted.mlp,
            Part::Norm => &mut counted.norms,
            Part::Head => &mut counted.head,
            Part::Experts => &mut counted.experts,
            Part::Mixer => &mut counted.mixer,
            Part::Tower => &mut counted.tower,
            Part::Other => &mut counted.other,
        };
        *place += own;
    });
    let tower = model.decoder().map_or(0, |decoder| decoder.tower_left_out);
    counted.tower += tower;
    base += tower;
    counted.trainable = base - frozen;
    counted.total = base;
    counted
}
