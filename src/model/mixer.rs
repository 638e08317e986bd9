//! What mixes tokens in place of attention, or beside it.

/// What mixes tokens in the layers that do not attend ([`super::LayerType::LinearAttention`], [`super::LayerType::Hybrid`]).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mixer {
    /// The first Mamba's selective scan.
    Mamba(Mamba),
    /// Mamba 2's state-space duality.
    Mamba2(Mamba2),
    /// LFM2's gated short convolution.
    ShortConv(ShortConv),
    /// Qwen3-Next's gated delta net.
    GatedDelta(GatedDelta),
    /// One whose parameters are known and no more.
    Counted(Counted),
}

/// What mixes tokens in a model of which only the parameters are known ([`super::Support::CountedOnly`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counted {
    /// RWKV's time mixing; its layers have a feed-forward block of their own too.
    Rwkv {
        /// `attention_hidden_size`
        attention_hidden_size: u64,
    },
    /// A gated delta rule (OLMo Hybrid).
    DeltaNet {
        /// `linear_num_key_heads`
        key_heads: u64,
        /// `linear_num_value_heads`
        value_heads: u64,
        /// `linear_key_head_dim`
        key_head_dim: u64,
        /// `linear_value_head_dim`
        value_head_dim: u64,
        /// `linear_conv_kernel_dim`
        conv_kernel: u64,
    },
    /// RecurrentGemma's real-gated linear recurrent unit.
    RgLru {
        /// `lru_width`
        lru_width: u64,
        /// `conv1d_width`
        conv_kernel: u64,
    },
}

/// A Mamba mixer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba {
    /// `intermediate_size`: channels, each with a state of its own.
    pub inner_size: u64,
    /// `state_size`
    pub state_size: u64,
    /// `conv_kernel`
    pub conv_kernel: u64,
    /// `time_step_rank`
    pub time_step_rank: u64,
    /// `use_conv_bias`
    pub conv_bias: bool,
    /// `use_bias`: biases on `in_proj` and `out_proj`.
    pub proj_bias: bool,
    /// Learned norms on time step, B and C (Jamba).
    pub norms: bool,
    /// `residual_in_fp32`
    pub residual_in_fp32: bool,
}

/// A Mamba-2 mixer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2 {
    /// `num_heads * head_dim`
    pub inner_size: u64,
    /// `num_heads`
    pub num_heads: u64,
    /// `n_groups`
    pub num_groups: u64,
    /// `state_size`
    pub state_size: u64,
    /// `conv_kernel`
    pub conv_kernel: u64,
    /// `chunk_size`
    pub chunk_size: u64,
    /// `use_conv_bias`
    pub conv_bias: bool,
    /// `use_bias`: biases on `in_proj` and `out_proj`.
    pub proj_bias: bool,
    /// The gated norm before `out_proj` (Falcon-H1: `mamba_rms_norm`).
    pub gated_norm: bool,
    /// That norm comes before its gate (`mamba_norm_before_gate`; Falcon-H1 alone).
    pub norm_before_gate: bool,
    /// `residual_in_fp32`
    pub residual_in_fp32: bool,
}

impl Mamba2 {
    /// Channels of the convolution: the inner ones, and B and C of every group.
    pub const fn conv_channels(&self) -> u64 {
        self.inner_size + 2 * self.num_groups * self.state_size
    }
}

/// A gated short convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortConv {
    /// `conv_L_cache`
    pub conv_kernel: u64,
    /// `conv_bias`: biases on the convolution and on both projections.
    pub bias: bool,
}

/// A gated delta net: linear attention whose state forgets and is corrected.
#[derive(Clone, Debug, PartialEq)]
pub struct GatedDelta {
    /// `linear_num_key_heads`
    pub num_key_heads: u64,
    /// `linear_num_value_heads`, a multiple of the key heads.
    pub num_value_heads: u64,
    /// `linear_key_head_dim`
    pub key_head_dim: u64,
    /// `linear_value_head_dim`
    pub value_head_dim: u64,
    /// `linear_conv_kernel_dim`
    pub conv_kernel: u64,
    /// Queries, keys, values and gates are one projection, a group of heads after the other (Qwen3-Next; Qwen3.5 has four).
    pub fused: bool,
}

impl GatedDelta {
    /// Width of all queries, and of all keys.
    pub const fn key_width(&self) -> u64 {
        self.num_key_heads * self.key_head_dim
    }

    /// Width of all values.
    pub const fn value_width(&self) -> u64 {
        self.num_value_heads * self.value_head_dim
    }

    /// Channels of the convolution: queries, keys and values.
    pub const fn conv_channels(&self) -> u64 {
        2 * self.key_width() + self.value_width()
    }
}
