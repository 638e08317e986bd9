//! What sequences keep on the card from one token to the next.

use schemars::JsonSchema;
use serde::Serialize;

use super::CacheType;
use crate::dtype::DType;
use crate::job::KvCacheDtype;
use crate::model::{LayerCache, Model, ModelType, Span, StateCache, TokenCache, TokenCacheKind};
use crate::units::Bytes;

/// What is asked about a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvRequest {
    /// Tokens of each sequence, prompt and answer together.
    pub context: u64,
    /// Sequences at the same time.
    pub concurrency: u64,
    /// How keys and values are stored.
    pub dtype: KvCacheDtype,
    /// What the model computes in.
    pub computes_in: DType,
    /// Tokens that are stored together: a sequence takes whole blocks; 1: as many as it has.
    pub block_size: u64,
    /// Tokens at the start that all sequences have in common and whose whole blocks are stored once.
    pub shared_prefix: u64,
    /// Keys and values in place of latents, as some engines keep them.
    pub expand_latents: bool,
    /// Tokens that an encoder has read of each sequence.
    pub encoder_tokens: u64,
}

impl Default for KvRequest {
    fn default() -> Self {
        Self {
            context: 2048,
            concurrency: 1,
            dtype: KvCacheDtype::Auto,
            computes_in: DType::BF16,
            block_size: 1,
            shared_prefix: 0,
            expand_latents: false,
            encoder_tokens: 0,
        }
    }
}

/// What the cache of a model takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Kv {
    /// `vramplan.kv/1`
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// How keys and values are stored.
    pub kv_cache_dtype: String,
    /// Tokens of each sequence.
    pub context: u64,
    /// Sequences at the same time.
    pub concurrency: u64,
    /// Tokens that are stored together.
    pub block_size: u64,
    /// Tokens that all sequences have in common.
    pub shared_prefix: u64,
    /// What one token takes while no window is full.
    pub bytes_per_token: Bytes,
    /// What one more token takes where every window is full.
    pub bytes_per_token_beyond_windows: Bytes,
    /// What a sequence keeps whatever its length: states, and what an encoder has made.
    pub fixed_bytes_per_sequence: Bytes,
    /// What one sequence of `context` tokens takes.
    pub bytes_per_sequence: Bytes,
    /// What is stored once for all sequences.
    pub shared_bytes: Bytes,
    /// What all sequences take together.
    pub total_bytes: Bytes,
    /// Layers that keep the same.
    pub layers: Vec<KvLayers>,
    /// What a reader should know about the figures.
    pub notes: Vec<String>,
}

/// Layers that keep the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct KvLayers {
    /// What they keep.
    pub keeps: &'static str,
    /// How many they are.
    pub layers: u64,
    /// Heads, and what each of them keeps of a key and a value.
    pub heads: u64,
    /// Width of one head's key; elements of a state.
    pub key_width: u64,
    /// Width of one head's value.
    pub value_width: u64,
    /// Which tokens.
    pub tokens: String,
    /// Entries of a sequence of `context` tokens, blocks filled up.
    pub entries: u64,
    /// What they take for one sequence, all of them together.
    pub bytes_per_sequence: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// What the model keeps is not known.
    #[error("model_type \"{model_type}\": what its layers keep of a sequence is not known, or it does not generate")]
    Unknown {
        /// The model's type.
        model_type: ModelType,
    },
    /// A number of the request makes no sense.
    #[error("{field} = {value}: {fix}")]
    Invalid {
        /// What was given.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What would do.
        fix: String,
    },
    /// No device is so large.
    #[error("the cache would take more than 2^64 bytes; a smaller context or concurrency is meant")]
    TooLarge,
}

/// What `request` keeps on the card.
///
/// # Errors
/// The model's cache is not known, or the request is contradictory or too large.
///
/// ```
/// use vramplan::{model, serve::{KvRequest, kv}};
///
/// // Llama 3 8B: 8 heads of 128, keys and values, 32 layers, two bytes each
/// let request = KvRequest { context: 8192, concurrency: 4, ..KvRequest::default() };
/// let answer = kv(&model::resolve("llama-3-8b")?, &request)?;
/// assert_eq!(answer.bytes_per_token.0, 2 * 8 * 128 * 32 * 2);
/// assert_eq!(answer.total_bytes.0, 4 << 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn kv(model: &Model, request: &KvRequest) -> Result<Kv, KvError> {
    request.check()?;
    let caches = model.caches().ok_or(KvError::Unknown { model_type: model.model_type() })?;
    let expand = |cache: TokenCache| if request.expand_latents { cache.expanded() } else { cache };
    let mut sums = Sums::default();
    let mut groups: Vec<(Group, u64)> = Vec::new();
    let mut keep = |group: Group| match groups.iter_mut().find(|(known, _)| *known == group) {
        Some((_, layers)) => *layers += 1,
        None => groups.push((group, 1)),
    };
    for LayerCache { tokens, state } in caches {
        for cache in tokens {
            let cache = expand(cache);
            sums.add(request, &cache).ok_or(KvError::TooLarge)?;
            keep(Group::Tokens(cache));
        }
        if let Some(state) = state {
            let bytes = state_bytes(state, request.computes_in).ok_or(KvError::TooLarge)?;
            sums.fixed = sums.fixed.checked_add(bytes).ok_or(KvError::TooLarge)?;
            keep(Group::State(state));
        }
    }
    let layers = groups.iter().map(|(group, layers)| group.described(*layers, request)).collect::<Option<_>>();
    let sequence = sums.fixed.checked_add(sums.entries).ok_or(KvError::TooLarge)?;
    let total = sequence
        .checked_sub(sums.shared)
        .and_then(|own| own.checked_mul(request.concurrency))
        .and_then(|own| own.checked_add(sums.shared))
        .ok_or(KvError::TooLarge)?;
    Ok(Kv {
        schema: "vramplan.kv/1",
        model: model.name().to_owned(),
        kv_cache_dtype: request.dtype.to_string(),
        context: request.context,
        concurrency: request.concurrency,
        block_size: request.block_size,
        shared_prefix: request.shared_prefix,
        bytes_per_token: Bytes(sums.token),
        bytes_per_token_beyond_windows: Bytes(sums.token_beyond),
        fixed_bytes_per_sequence: Bytes(sums.fixed),
        bytes_per_sequence: Bytes(sequence),
        shared_bytes: Bytes(sums.shared),
        total_bytes: Bytes(total),
        layers: layers.ok_or(KvError::TooLarge)?,
        notes: notes(model, request),
    })
}

impl KvRequest {
    fn check(&self) -> Result<(), KvError> {
        /// More than any model or engine has.
        const MOST: u64 = 1 << 40;
        let numbers = [
            ("context", self.context, 1),
            ("concurrency", self.concurrency, 1),
            ("block_size", self.block_size, 1),
            ("shared_prefix", self.shared_prefix, 0),
            ("encoder_tokens", self.encoder_tokens, 0),
        ];
        for (field, value, least) in numbers {
            if !(least..=MOST).contains(&value) {
                return Err(KvError::Invalid { field, value, fix: format!("give {least} to 2^40") });
            }
        }
        if self.shared_prefix > self.context {
            let fix = format!("it is part of the context of {} tokens", self.context);
            return Err(KvError::Invalid { field: "shared_prefix", value: self.shared_prefix, fix });
        }
        Ok(())
    }

    fn stored_in(&self) -> CacheType {
        CacheType::of(self.dtype, self.computes_in)
    }

    /// Entries of a cache, blocks filled up.
    fn entries(&self, span: Span) -> Option<u64> {
        span.entries(self.context, self.encoder_tokens).checked_next_multiple_of(self.block_size)
    }
}

/// Bytes of one entry: a key and a value for each head.
fn entry_bytes(cache: &TokenCache, stored_in: CacheType) -> Option<u64> {
    let side = |width: u64| stored_in.bytes_of(cache.heads.checked_mul(width)?);
    side(cache.key_width)?.checked_add(side(cache.value_width)?)
}

/// As transformers 5.17 keeps them (`tests/truth/caches.jsonl`).
fn state_bytes(state: StateCache, computes_in: DType) -> Option<u64> {
    let convolution = state.convolution.checked_mul(computes_in.bytes())?;
    convolution.checked_add(state.recurrent.checked_mul(DType::F32.bytes())?)
}

#[derive(Default)]
struct Sums {
    token: u64,
    token_beyond: u64,
    fixed: u64,
    entries: u64,
    shared: u64,
}

impl Sums {
    fn add(&mut self, request: &KvRequest, cache: &TokenCache) -> Option<()> {
        let bytes = entry_bytes(cache, request.stored_in())?;
        let all = request.entries(cache.span)?.checked_mul(bytes)?;
        let (token, beyond) = match cache.span {
            Span::All => (bytes, bytes),
            Span::Window(_) => (bytes, 0),
            Span::OneOf(several) => (bytes / several.max(1), bytes / several.max(1)),
            Span::Fixed(_) | Span::Encoder => {
                self.fixed = self.fixed.checked_add(all)?;
                return Some(());
            }
        };
        self.token = self.token.checked_add(token)?;
        self.token_beyond = self.token_beyond.checked_add(beyond)?;
        self.entries = self.entries.checked_add(all)?;
        if cache.span == Span::All {
            let blocks = request.shared_prefix / request.block_size;
            self.shared = self.shared.checked_add(blocks.checked_mul(request.block_size)?.checked_mul(bytes)?)?;
        }
        Some(())
    }
}

#[derive(PartialEq)]
enum Group {
    Tokens(TokenCache),
    State(StateCache),
}

impl Group {
    fn described(&self, layers: u64, request: &KvRequest) -> Option<KvLayers> {
        match self {
            Self::Tokens(cache) => {
                let entries = request.entries(cache.span)?;
                let bytes = entry_bytes(cache, request.stored_in())?.checked_mul(entries)?.checked_mul(layers)?;
                Some(KvLayers {
                    keeps: match cache.kind {
                        TokenCacheKind::KeyAndValue => "keys, values",
                        TokenCacheKind::Latent(_) => "latents",
                        TokenCacheKind::IndexerKey => "indexer keys",
                        TokenCacheKind::CrossAttention => "cross-attention",
                    },
                    layers,
                    heads: cache.heads,
                    key_width: cache.key_width,
                    value_width: cache.value_width,
                    tokens: match cache.span {
                        Span::All => "all".to_owned(),
                        Span::Window(window) => format!("the last {window}"),
                        Span::OneOf(several) => format!("one for {several}"),
                        Span::Fixed(_) => "what was read once".to_owned(),
                        Span::Encoder => "the encoder's".to_owned(),
                    },
                    entries,
                    bytes_per_sequence: Bytes(bytes),
                })
            }
            Self::State(state) => Some(KvLayers {
                keeps: "states",
                layers,
                heads: 1,
                key_width: state.convolution.checked_add(state.recurrent)?,
                value_width: 0,
                tokens: "none".to_owned(),
                entries: 1,
                bytes_per_sequence: Bytes(state_bytes(*state, request.computes_in)?.checked_mul(layers)?),
            }),
        }
    }
}

fn notes(model: &Model, request: &KvRequest) -> Vec<String> {
    let mut notes = Vec::new();
    if request.context > model.max_position_embeddings() {
        notes.push(format!(
            "a context of {} is beyond the model's {} positions",
            request.context,
            model.max_position_embeddings()
        ));
    }
    if matches!(request.dtype, KvCacheDtype::Int8 | KvCacheDtype::Int4) {
        notes.push(
            "transformers' quantised cache keeps up to the last 128 tokens (residual_length) unquantised too"
                .to_owned(),
        );
    }
    notes
}
