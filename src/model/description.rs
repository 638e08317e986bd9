//! The normalised description of a decoder that everything else reads.

use super::moe::{Mla, Moe};
use super::{CountedLayer, LayerCache, Mixer, Tower};

/// What a decoder is, as far as memory is concerned.
///
/// Read from a config.json, a model card or a guess; names follow Hugging Face `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The name it was asked for by, or the card's.
    pub name: String,
    /// The `model_type` of its config.json.
    pub model_type: ModelType,
    /// How much is known about it.
    pub origin: Origin,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Number of decoder layers.
    pub num_hidden_layers: u64,
    /// Rows of the token embedding.
    pub vocab_size: u64,
    /// Longest sequence the model's positions allow.
    pub max_position_embeddings: u64,
    /// `pad_token_id` of the classes that give their embedding a padding row (no effect on sizes, but on embedding backward).
    /// `None` also where a class ignores it (GPT-2, GPT-NeoX, Falcon, BLOOM).
    pub pad_token_id: Option<i64>,
    /// Token and position embedding.
    pub embedding: Embedding,
    /// Self-attention, the same in every layer but for [`DecoderConfig::layer_types`]; no heads where no layer attends.
    pub attention: Attention,
    /// Latent attention in place of [`DecoderConfig::attention`]'s projections.
    pub mla: Option<Mla>,
    /// What mixes tokens in layers that do not attend.
    pub mixer: Option<Mixer>,
    /// Feed-forward block, of no width where layers have none; with a mixture of experts, that of its dense layers.
    pub mlp: Mlp,
    /// A mixture of experts in place of some layers' feed-forward block.
    pub moe: Option<Moe>,
    /// The size of every layer, where nothing else is known of them.
    pub counted: Option<Vec<CountedLayer>>,
    /// What every layer keeps of a sequence, where the rest of the description does not say it.
    pub caches: Option<Vec<LayerCache>>,
    /// Parameters of a vision tower and what projects from it, which a causal language model is loaded without.
    pub tower_left_out: u64,
    /// The norm used throughout.
    pub norm: Norm,
    /// How attention, MLP, norms and residuals are arranged.
    pub block: Block,
    /// Each layer's attention span; as long as `num_hidden_layers`.
    pub layer_types: Vec<LayerType>,
    /// Layers without rotary embedding ("NoPE"); empty: every layer turns.
    pub nope_layers: Vec<bool>,
    /// `sliding_window` of the sliding layers.
    pub sliding_window: Option<u64>,
    /// Dropout on each residual branch (`resid_pdrop`, `hidden_dropout`, `dropout` ...).
    pub residual_dropout: f64,
    /// `residual_multiplier` of Granite: branches are multiplied before they are added, also where it is 1.
    pub residual_multiplier: Option<f64>,
    /// Norm after the last layer (false: OPT with `do_layer_norm_before = false`).
    pub final_norm: bool,
    /// Language-model head.
    pub head: Head,
    /// What it has beside its text part, where it takes images.
    pub tower: Option<Tower>,
}

/// The model types this version knows how to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs)] // each is the config.json `model_type` of the same name
pub enum ModelType {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3Text,
    Phi,
    Phi3,
    Olmo2,
    Granite,
    Starcoder2,
    Stablelm,
    Falcon,
    Gpt2,
    GptNeox,
    Opt,
    Bloom,
    // mixtures of experts and latent attention
    Mixtral,
    Qwen2Moe,
    Qwen3Moe,
    Olmoe,
    Granitemoe,
    Phimoe,
    GptOss,
    DeepseekV2,
    DeepseekV3,
    Glm4MoeLite,
    Youtu,
    Axk1,
    Glm4Moe,
    Ernie45Moe,
    Dots1,
    MinimaxM2,
    SolarOpen,
    FlexOlmo,
    HunyuanV1Moe,
    Minicpm3,
    HyV3,
    Deepseek,
    Ministral3,
    SeedOss,
    Smollm3,
    Helium,
    Olmo,
    Olmo3,
    Exaone4,
    HunyuanV1Dense,
    Glm,
    Glm4,
    Cohere,
    Cohere2,
    Nemotron,
    Jais2,
    Ernie4_5,
    Bitnet,
    Arcee,
    Apertus,
    GraniteSwa,
    GptBigcode,
    GptNeo,
    Gptj,
    Codegen,
    Mpt,
    Persimmon,
    Xglm,
    Mimo,
    Baichuan,
    Qwen,
    Internlm2,
    Internlm3,
    Chatglm,
    Minicpm,
    Exaone,
    Rwkv,
    OlmoHybrid,
    RecurrentGemma,
    Bert,
    Roberta,
    XlmRoberta,
    Distilbert,
    Electra,
    ModernBert,
    Albert,
    DebertaV2,
    Mpnet,
    EuroBert,
    NomicBert,
    T5,
    Mt5,
    Bart,
    Mbart,
    // vision and language
    Qwen2Vl,
    Qwen25Vl,
    Qwen3Vl,
    Qwen3VlMoe,
    Llava,
    LlavaNext,
    Gemma3,
    Paligemma,
    Mistral3,
    Idefics3,
    Internvl,
    Glm4v,
    Glm4vMoe,
    Mllama,
    Fuyu,
    Vit,
    Dinov2,
    Swin,
    Convnext,
    Resnet,
    Clip,
    Siglip,
    Pegasus,
    Marian,
    M2m100,
    Whisper,
    Mamba,
    FalconMamba,
    Mamba2,
    Lfm2,
    Bamba,
    Granitemoehybrid,
    Jamba,
    FalconH1,
    NemotronH,
    Lfm2Moe,
    Qwen3Next,
    Qwen3_5,
    Qwen3_5Text,
    Qwen3_5Moe,
    Qwen3_5MoeText,
    Dbrx,
    Jetmoe,
    Minimax,
    LongcatFlash,
    DeepseekV32,
    GlmMoeDsa,
    KimiLinear,
    KimiK25,
    MimoV2Flash,
    Laguna,
    Gemma3n,
    Gemma3nText,
    Gemma4,
    Gemma4Text,
    Gemma4Unified,
    Gemma4UnifiedText,
    Mellum,
    DeepseekV4,
    Llama4,
    Llama4Text,
    Afmoe,
}

/// How far a model type's forward pass is known; its parameters are counted exactly in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// Its activations are held against measurements of PyTorch.
    Measured,
    /// Its activations follow the sources of `transformers`, with no measurement behind them: estimates say so.
    Unmeasured,
    /// Its class is not part of `transformers` but of the model's own repository; it is run as the Llama-shaped model it
    /// resembles, with no measurement behind it: estimates say so.
    OwnCode,
    /// Only its parameters are known: there are no estimates.
    CountedOnly,
}

/// How much is known about a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A real configuration.
    Config,
    /// A Llama-shaped guess from a bare size such as `7b`.
    Guess,
}

/// Token and position embedding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    /// Rows of a learned position table (GPT-2: `n_positions`; OPT: `max_position_embeddings + 2`).
    pub learned_positions: Option<u64>,
    /// OPT's `word_embed_proj_dim` where it differs from `hidden_size`: adds `project_in` and `project_out`.
    pub projection_dim: Option<u64>,
    /// BLOOM's layer norm on the embedding.
    pub norm: bool,
    /// Embeddings are multiplied (Gemma by sqrt(hidden_size), Granite by `embedding_multiplier`).
    pub scaled: bool,
    /// Dropout on the embedding (`embd_pdrop`, `embedding_dropout`, GPT-NeoX's `hidden_dropout`).
    pub dropout: f64,
}

/// Self-attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `num_attention_heads`
    pub num_heads: u64,
    /// `num_key_value_heads`
    pub num_kv_heads: u64,
    /// Width of one head.
    pub head_dim: u64,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub output_bias: bool,
    /// How the projections are stored.
    pub projections: Projections,
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
    /// Rotary embedding: how many of a head's dimensions turn; `None`: no rotary embedding.
    pub rotary_dim: Option<u64>,
    /// BLOOM's and Falcon-RW's ALiBi.
    pub alibi: bool,
    /// Gemma 2's `attn_logit_softcapping`.
    pub logit_softcap: bool,
    /// A learned logit a head beside those of the keys (gpt-oss).
    pub sinks: bool,
    /// Dropout on attention probabilities.
    pub dropout: f64,
    /// BitNet's norm before the output projection.
    pub output_norm: bool,
    /// The query projection makes a gate of the output too (Qwen3-Next).
    pub output_gate: bool,
    /// A projection of its own makes a gate of the output (AFMoE).
    pub gate_projection: bool,
    /// Queries and keys that turn are normalised without weights after (Llama 4's `use_qk_norm`).
    pub weightless_qk_norm: bool,
    /// Ministral 3's `llama_4_scaling_beta`: queries are multiplied by a factor of their position.
    pub scales_queries: bool,
    /// MPT's `clip_qkv`: queries, keys and values are clamped.
    pub clips_qkv: bool,
}

impl Attention {
    /// Separate projections without biases, whole heads turned.
    pub const fn of_heads(num_heads: u64, num_kv_heads: u64, head_dim: u64) -> Self {
        Self {
            num_heads,
            num_kv_heads,
            head_dim,
            qkv_bias: false,
            output_bias: false,
            projections: Projections::Separate,
            qk_norm: QkNorm::None,
            rotary_dim: Some(head_dim),
            alibi: false,
            logit_softcap: false,
            sinks: false,
            dropout: 0.0,
            output_norm: false,
            output_gate: false,
            gate_projection: false,
            weightless_qk_norm: false,
            scales_queries: false,
            clips_qkv: false,
        }
    }
}

/// How query, key and value weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Projections {
    /// `q_proj`, `k_proj`, `v_proj`.
    Separate,
    /// One matrix (`qkv_proj`, `query_key_value`, `c_attn`).
    Fused,
    /// One matrix, in which every group of query heads has its key and value head beside it (Falcon's new decoder).
    FusedGroups,
}

/// Norms on queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QkNorm {
    /// None.
    None,
    /// One norm of `head_dim`, shared by the heads (Qwen3, Gemma 3).
    PerHead,
    /// One norm over the whole projection's width (OLMo 2).
    FullWidth,
    /// A layer norm of its own for every head, without bias (StableLM 2 12B, `qk_layernorm`).
    LayerNormEachHead,
    /// As [`QkNorm::PerHead`], but after the rotary embedding (HunYuan).
    PerHeadAfterRotary,
    /// A weight of its own for every head, in Cohere's norm (`use_qk_norm`).
    EachHeadOwnWeight,
    /// One layer norm of `head_dim` with bias, shared by the heads (Phi, `qk_layernorm`).
    LayerNormShared,
}

/// Feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// Inner width.
    pub intermediate_size: u64,
    /// Its matrices.
    pub layout: MlpLayout,
    /// `hidden_act`
    pub activation: Activation,
    /// Biases on its matrices.
    pub bias: bool,
    /// BitNet's norm before the last matrix.
    pub inner_norm: bool,
}

impl Mlp {
    /// A gated block without biases.
    pub const fn gated(intermediate_size: u64, activation: Activation) -> Self {
        Self { intermediate_size, layout: MlpLayout::Gated, activation, bias: false, inner_norm: false }
    }
}

/// Which matrices a feed-forward block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MlpLayout {
    /// `gate_proj`, `up_proj`, `down_proj`: act(gate) * up.
    Gated,
    /// `gate_up_proj` in one, `down_proj` (Phi-3).
    GatedFused,
    /// Two matrices with the activation between them.
    Plain,
}

/// Activation functions, by what they compute in `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `silu`, `swish`
    Silu,
    /// `gelu` (erf; one fused kernel)
    Gelu,
    /// `gelu_pytorch_tanh` (one fused kernel)
    GeluTanh,
    /// `gelu_new`, `gelu_fast`: written out in Python, several kernels.
    GeluNew,
    /// BLOOM's own gelu function with its hand-written backward.
    BloomGelu,
    /// `relu`
    Relu,
    /// `relu2`
    Relu2,
    /// `xielu`, written out in Python, with two parameters of its own: the feed-forward block holds them.
    Xielu,
}

/// Norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Norm {
    /// Llama's RMSNorm: computed in fp32, weight applied in the input's type.
    Rms,
    /// Llama 4's RMSNorm: as [`Norm::Rms`], cast back before the weight is applied.
    RmsCastFirst,
    /// OLMo 2's RMSNorm: weight applied in fp32, then cast.
    RmsInFp32,
    /// Helium's RMSNorm: as [`Norm::RmsInFp32`], with the weight cast to fp32 first.
    RmsWeightInFp32,
    /// Cohere's layer norm without bias, written out in fp32.
    CohereLayer,
    /// OLMo's layer norm without weight and bias, in fp32.
    LayerInFp32,
    /// Nemotron's layer norm: weight (1 + w), bias.
    LayerOnePlus,
    /// Gemma's RMSNorm: weight (1 + w) applied in fp32.
    GemmaRms,
    /// T5's RMSNorm: the input in its own type times a fp32 factor, cast to a half-precision weight's type.
    T5,
    /// `torch.nn.LayerNorm`, with or without bias.
    Layer {
        /// Whether it has a bias.
        bias: bool,
    },
    /// `torch.nn.LayerNorm` without weight and bias (OPT with `layer_norm_elementwise_affine = false`).
    LayerWithoutWeight,
}

/// How a decoder layer is arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Block {
    /// norm, attention, add, norm, MLP, add.
    PreNorm,
    /// OPT-350m (`do_layer_norm_before = false`): attention, add, norm, MLP, add, norm.
    PostNorm,
    /// Norms after attention and after the MLP, inside the branch (OLMo 2).
    BranchNorm,
    /// Norms before and after both (Gemma 2 and 3).
    Sandwich,
    /// Attention and MLP side by side from one norm (Phi, Falcon-7B, StableLM with `use_parallel_residual`).
    ParallelSharedNorm,
    /// Attention and MLP side by side, each with a norm of its own (GPT-NeoX, Falcon-40B).
    ParallelTwoNorms,
    /// norm, attention or mixer or MLP, add (Mamba, Nemotron-H).
    OneBranch,
}

/// A layer's attention span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerType {
    /// Attends to everything before it.
    FullAttention,
    /// Attends to the last `sliding_window` tokens.
    SlidingAttention,
    /// Mixes tokens by [`DecoderConfig::mixer`].
    LinearAttention,
    /// Does both side by side (Falcon-H1).
    Hybrid,
    /// Mixes nothing: a feed-forward block alone (Nemotron-H).
    FeedForward,
}

/// Language-model head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Shares its weight with the token embedding.
    pub tied: bool,
    /// Has a bias (Phi).
    pub bias: bool,
    /// Gemma 2's `final_logit_softcapping`.
    pub logit_softcap: bool,
    /// Logits are divided or multiplied by a constant (Granite's `logits_scaling`).
    pub scaled: bool,
    /// Sequence classification in place of language modelling: the classes.
    pub num_labels: Option<u64>,
}
