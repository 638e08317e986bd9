//! What each layer of a model keeps of a sequence from one token to the next.

use super::{Counted, DecoderConfig, EncoderDecoderConfig, LayerType, Mixer, Mla, Model, ModelType, Positions};

/// What one layer keeps of a sequence; nothing, where it keeps nothing of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerCache {
    /// What grows with the tokens.
    pub tokens: Vec<TokenCache>,
    /// What does not.
    pub state: Option<StateCache>,
}

/// What is kept of tokens: for each of them so many heads with a key and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCache {
    /// What it is.
    pub kind: TokenCacheKind,
    /// Heads that keep something.
    pub heads: u64,
    /// Width of one head's key.
    pub key_width: u64,
    /// Width of one head's value.
    pub value_width: u64,
    /// Which tokens it is kept of.
    pub span: Span,
}

/// What is kept of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenCacheKind {
    /// Its key and value.
    KeyAndValue,
    /// The latent that keys and values are made from, and the part of the keys that turns.
    Latent(Expanded),
    /// The key that an indexer chooses tokens by.
    IndexerKey,
    /// Keys and values of what another stack has made.
    CrossAttention,
}

/// The keys and values that a latent stands for, which some engines keep in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// Attention heads.
    pub heads: u64,
    /// Width of a head's key.
    pub key_width: u64,
    /// Width of a head's value.
    pub value_width: u64,
}

/// Which tokens something is kept of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Span {
    /// All of them.
    All,
    /// The last so many.
    Window(u64),
    /// One for so many, which are compressed to it.
    OneOf(u64),
    /// So many, whatever the sequence: what an encoder or a tower has made.
    Fixed(u64),
    /// As many as the encoder has read.
    Encoder,
}

/// What a convolution and a recurrence keep of a sequence, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateCache {
    /// Kept in the type the model computes in: the last inputs of a convolution, MiniMax's state.
    pub convolution: u64,
    /// Kept in fp32: what a recurrence has come to.
    pub recurrent: u64,
}

impl Span {
    /// How many entries are kept of `tokens` tokens; of `encoder` tokens where an encoder's are meant.
    ///
    /// ```
    /// use vramplan::model::Span;
    ///
    /// assert_eq!([Span::Window(4096).entries(1000, 0), Span::Window(4096).entries(8192, 0)], [1000, 4096]);
    /// ```
    pub fn entries(self, tokens: u64, encoder: u64) -> u64 {
        match self {
            Self::All => tokens,
            Self::Window(window) => tokens.min(window),
            Self::OneOf(several) => tokens / several.max(1),
            Self::Fixed(entries) => entries,
            Self::Encoder => encoder,
        }
    }
}

impl TokenCache {
    /// Keys and values of attention.
    pub const fn of_heads(heads: u64, head_dim: u64, span: Span) -> Self {
        Self { kind: TokenCacheKind::KeyAndValue, heads, key_width: head_dim, value_width: head_dim, span }
    }

    /// A latent.
    pub const fn latent(latent: u64, turned: u64, expanded: Expanded) -> Self {
        let kind = TokenCacheKind::Latent(expanded);
        Self { kind, heads: 1, key_width: latent, value_width: turned, span: Span::All }
    }

    /// One key of an indexer.
    pub const fn indexer_key(width: u64) -> Self {
        let kind = TokenCacheKind::IndexerKey;
        Self { kind, heads: 1, key_width: width, value_width: 0, span: Span::All }
    }

    /// Elements kept of each entry; saturating.
    pub fn elements(&self) -> u64 {
        self.heads.saturating_mul(self.key_width.saturating_add(self.value_width))
    }

    /// The same with keys and values where it is a latent.
    #[must_use]
    pub const fn expanded(self) -> Self {
        match self.kind {
            TokenCacheKind::Latent(Expanded { heads, key_width, value_width }) => {
                Self { kind: TokenCacheKind::KeyAndValue, heads, key_width, value_width, span: self.span }
            }
            _ => self,
        }
    }
}

impl LayerCache {
    /// A layer that keeps one thing of its tokens.
    pub fn of(tokens: TokenCache) -> Self {
        Self { tokens: vec![tokens], state: None }
    }

    /// A layer that keeps a state alone.
    pub fn of_state(convolution: u64, recurrent: u64) -> Self {
        Self { tokens: Vec::new(), state: Some(StateCache { convolution, recurrent }) }
    }
}

impl Model {
    /// What each layer keeps of a sequence; `None`: it is not known, or the model does not generate.
    ///
    /// ```
    /// use vramplan::model;
    ///
    /// let caches = model::resolve("llama-2-7b")?.caches().expect("known");
    /// assert_eq!((caches.len(), caches[0].tokens[0].elements()), (32, 2 * 32 * 128));
    /// # Ok::<(), model::ModelError>(())
    /// ```
    pub fn caches(&self) -> Option<Vec<LayerCache>> {
        match self {
            Self::Decoder(decoder) => match (&decoder.caches, &decoder.counted) {
                (Some(caches), _) => Some(caches.clone()),
                // attention's own description is not all there is to such a layer
                (None, Some(_)) => None,
                (None, None) => decoder.layer_types.iter().map(|kind| of_decoder_layer(decoder, *kind)).collect(),
            },
            Self::EncoderDecoder(model) => Some(of_encoder_decoder(model)),
            Self::Listed(model) => model.caches.clone(),
            Self::Encoder(_) | Self::Vision(_) => None,
        }
    }

    /// Whether `transformers` 5.17 keeps keys and values in place of latents.
    pub const fn expands_latents(&self) -> bool {
        matches!(self.model_type(), ModelType::DeepseekV32 | ModelType::GlmMoeDsa)
    }
}

impl DecoderConfig {
    /// Which tokens a layer of this type keeps.
    pub fn span_of(&self, kind: LayerType) -> Span {
        match (kind, self.sliding_window) {
            (LayerType::SlidingAttention, Some(window)) => Span::Window(window),
            _ => Span::All,
        }
    }
}

fn of_decoder_layer(model: &DecoderConfig, kind: LayerType) -> Option<LayerCache> {
    let attention = || match model.mla {
        Some(Mla { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. }) => {
            let key_width = qk_nope_head_dim.saturating_add(qk_rope_head_dim);
            let expanded = Expanded { heads: model.attention.num_heads, key_width, value_width: v_head_dim };
            TokenCache::latent(kv_lora_rank, qk_rope_head_dim, expanded)
        }
        None => TokenCache::of_heads(model.attention.num_kv_heads, model.attention.head_dim, model.span_of(kind)),
    };
    Some(match kind {
        LayerType::FullAttention | LayerType::SlidingAttention => LayerCache::of(attention()),
        LayerType::LinearAttention => LayerCache { tokens: Vec::new(), state: Some(of_mixer(model)?) },
        LayerType::Hybrid => LayerCache { tokens: vec![attention()], state: Some(of_mixer(model)?) },
        LayerType::FeedForward => LayerCache::default(),
    })
}

/// Shapes as `transformers` 5.17 keeps them.
fn of_mixer(model: &DecoderConfig) -> Option<StateCache> {
    let product = |factors: &[u64]| factors.iter().copied().fold(1, u64::saturating_mul);
    let state = |convolution, recurrent| StateCache { convolution, recurrent };
    Some(match model.mixer.as_ref()? {
        Mixer::Mamba(mamba) => {
            state(product(&[mamba.inner_size, mamba.conv_kernel]), product(&[mamba.inner_size, mamba.state_size]))
        }
        Mixer::Mamba2(mamba) => {
            state(product(&[mamba.conv_channels(), mamba.conv_kernel]), product(&[mamba.inner_size, mamba.state_size]))
        }
        Mixer::ShortConv(conv) => state(product(&[model.hidden_size, conv.conv_kernel]), 0),
        Mixer::GatedDelta(delta) => state(
            product(&[delta.conv_channels(), delta.conv_kernel]),
            product(&[delta.num_value_heads, delta.key_head_dim, delta.value_head_dim]),
        ),
        Mixer::Counted(Counted::DeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, conv_kernel }) => {
            let keys = product(&[2, *key_heads, *key_head_dim]);
            let channels = keys.saturating_add(product(&[*value_heads, *value_head_dim]));
            state(product(&[channels, *conv_kernel]), product(&[*value_heads, *key_head_dim, *value_head_dim]))
        }
        // one input less than the kernel is wide, and what the recurrence has come to
        Mixer::Counted(Counted::RgLru { lru_width, conv_kernel }) => {
            state(product(&[*lru_width, conv_kernel.saturating_sub(1)]), *lru_width)
        }
        // the last inputs of time and channel mixing; numerator, denominator and maximum
        Mixer::Counted(Counted::Rwkv { attention_hidden_size }) => {
            state(product(&[2, model.hidden_size]), product(&[3, *attention_hidden_size]))
        }
    })
}

fn of_encoder_decoder(model: &EncoderDecoderConfig) -> Vec<LayerCache> {
    let heads = model.decoder.num_heads;
    let crossing = match model.positions {
        Positions::Audio { max_source_positions, .. } => Span::Fixed(max_source_positions),
        _ => Span::Encoder,
    };
    let own = TokenCache::of_heads(heads, model.head_dim, Span::All);
    let cross = TokenCache { kind: TokenCacheKind::CrossAttention, span: crossing, ..own };
    (0..model.decoder.num_layers).map(|_| LayerCache { tokens: vec![own, cross], state: None }).collect()
}
