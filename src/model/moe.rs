//! Mixtures of experts.

/// A mixture of experts in place of the feed-forward block of some layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Moe {
    /// Experts to choose from.
    pub num_experts: u64,
    /// Experts a token is sent to.
    pub num_experts_per_tok: u64,
    /// Inner width of one expert.
    pub intermediate_size: u64,
    /// How experts are chosen.
    pub routing: Routing,
    /// What an expert is.
    pub expert: Expert,
    /// Bias on the router's matrix.
    pub router_bias: bool,
    /// Experts that every token passes.
    pub shared: Option<SharedExperts>,
    /// Which layers have it; as long as `num_hidden_layers`.
    pub sparse_layers: Vec<bool>,
    /// Experts work on a projection this wide, which is projected back (Nemotron-H's `moe_latent_size`).
    pub latent_size: Option<u64>,
    /// Where its parameters stand among each other.
    pub order: MoeOrder,
}

/// What an expert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expert {
    /// A gated feed-forward block, gate and up stacked.
    Gated,
    /// Two matrices with the activation between them (Nemotron-H).
    Plain,
    /// Gate and up interleaved and clamped, with biases, matrices stored `[in, out]` (gpt-oss).
    ClampedWithBias,
}

/// Experts that every token passes, as one feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedExperts {
    /// Inner width of all of them together.
    pub intermediate_size: u64,
    /// Whether a gate of one output scales them (Qwen2-MoE).
    pub gate: bool,
}

/// What a mixture registers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoeOrder {
    /// Its router.
    RouterFirst,
    /// Its experts.
    ExpertsFirst,
}

/// How a router turns its scores into weights, by what is computed in which type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Routing {
    /// Softmax in fp32, the largest of it, divided by their sum; the weights stay fp32 (Mixtral).
    Mixtral,
    /// Softmax in fp32, the largest of it, cast back (Qwen-MoE, OLMoE).
    Softmax {
        /// `norm_topk_prob`: divided by their sum before.
        normalised: bool,
    },
    /// Scores and softmax in fp32, scaled (DeepSeek V2).
    SoftmaxInFp32 {
        /// `group_limited_greedy`: groups of experts, and how many of them are chosen from.
        groups: Option<Groups>,
    },
    /// Sigmoid in fp32, chosen with a bias that is a buffer (DeepSeek V3).
    Sigmoid {
        /// Groups of experts.
        groups: Groups,
        /// `norm_topk_prob`
        normalised: bool,
    },
    /// The largest scores, then their softmax in fp32, cast back (GraniteMoE).
    TopKFirst,
    /// The largest scores, then their softmax in their own type (gpt-oss).
    TopKFirstInType,
    /// Sigmoid in fp32 of scores in their own type, chosen with a bias that is a buffer, divided by their sum (MiniMax-M2).
    UngroupedSigmoid,
    /// Softmax in fp32 outside of autocast, chosen with a bias that is a parameter, divided by their sum (ERNIE 4.5).
    CorrectedSoftmax,
    /// Scores of an `nn.Linear`, their sigmoid in fp32, chosen with a bias that is a parameter, divided by their sum, scaled
    /// (AFMoE).
    CorrectedSigmoid,
    /// Scores of an `nn.Linear` in fp32, their softmax, the largest of it, divided by their sum (HunYuan).
    LinearInFp32,
    /// Sigmoid of scores in fp32, chosen with a bias that is a buffer, divided by their sum, scaled (Hy3).
    SigmoidInFp32,
    /// Sigmoid in the scores' type, chosen with a bias that is a buffer where there is one (LFM2-MoE).
    SigmoidInType {
        /// `use_expert_bias`
        bias: bool,
        /// `norm_topk_prob`
        normalised: bool,
    },
    /// Its parameters are counted, what it computes is not modelled.
    Counted,
}

/// Groups of experts of which some are chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// `n_group`
    pub n_group: u64,
    /// `topk_group`
    pub topk_group: u64,
}

/// Multi-head latent attention: keys and values are made from one narrow latent a token, which alone is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mla {
    /// Width of the queries' latent; `None`: queries are projected at once.
    pub q_lora_rank: Option<u64>,
    /// Width of the latent of keys and values.
    pub kv_lora_rank: u64,
    /// Dimensions of a head without positions.
    pub qk_nope_head_dim: u64,
    /// Dimensions of a head that turn; keys share them.
    pub qk_rope_head_dim: u64,
    /// Width of a head's values.
    pub v_head_dim: u64,
    /// How they turn.
    pub rotary: MlaRotary,
}

/// How latent attention turns queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MlaRotary {
    /// As complex numbers (DeepSeek V2).
    Complex,
    /// Even and odd dimensions apart (DeepSeek V3, `rope_interleave`).
    Interleaved,
    /// In halves.
    Halves,
}
