//! Layers of which only the size is known.

/// How many parameters a layer has, and where, where nothing of its forward pass is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedLayer {
    /// Attention projections and what belongs to them: gates, indexers, sinks.
    pub attention: u64,
    /// What mixes tokens in place of attention.
    pub mixer: u64,
    /// Feed-forward matrices, those of shared experts included.
    pub mlp: u64,
    /// Experts and their routers.
    pub experts: u64,
    /// Norms.
    pub norms: u64,
    /// Hyper-connections and the like.
    pub other: u64,
}

impl CountedLayer {
    /// All of them; saturating.
    pub fn total(&self) -> u64 {
        [self.attention, self.mixer, self.mlp, self.experts, self.norms, self.other]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}
