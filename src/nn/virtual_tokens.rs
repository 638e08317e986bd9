//! Trained positions in front of the input, as PEFT 0.21 makes them (`prompt_tuning/model.py`, `prefix_tuning/model.py`).

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// What is trained in front of a model's input.
pub enum VirtualTokens {
    /// Embeddings (`PromptEmbedding`).
    Prompt(PromptEmbedding),
    /// Keys and values of every layer (`PrefixEncoder`).
    Prefix(PrefixEncoder),
}

impl VirtualTokens {
    /// Its parameters, in registration order.
    pub fn parameters(&self) -> Vec<&Tensor> {
        match self {
            Self::Prompt(prompt) => vec![&prompt.weight],
            Self::Prefix(prefix) => {
                std::iter::once(&prefix.embedding).chain(prefix.transform.iter().flatten()).collect()
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Prompt(prompt) => prompt.weight.dim(0),
            Self::Prefix(prefix) => prefix.embedding.dim(0),
        }
    }
}

/// The tokens' numbers for a batch, which are kept on the host and come anew with every forward.
fn tokens(cx: &Context, batch: u64, count: u64) -> Tensor {
    cx.launch(Kernel::Arange, &[], Layout::contiguous(&[batch, count]), DType::I64)
}

/// Trained embeddings.
pub struct PromptEmbedding {
    /// `[tokens, width]`, fp32
    weight: Tensor,
}

impl PromptEmbedding {
    /// `count` of them.
    pub fn new(cx: &Context, count: u64, width: u64) -> Self {
        Self { weight: cx.parameter("prompt_encoder", &[count, width], DType::F32, true) }
    }

    /// `[batch, tokens, width]`, fp32
    pub fn forward(&self, cx: &Context, batch: u64) -> Tensor {
        cx.embedding(tokens(cx, batch, self.weight.dim(0)), &self.weight)
    }
}

/// The sizes of a model's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixShape {
    /// Positions.
    pub tokens: u64,
    /// Layers.
    pub layers: u64,
    /// Key-value heads.
    pub heads: u64,
    /// Their width.
    pub head_dim: u64,
}

/// Trained keys and values.
pub struct PrefixEncoder {
    shape: PrefixShape,
    /// `[tokens, 2 * layers * heads * head_dim]`, or `[tokens, heads * head_dim]` where they are projected; fp32
    embedding: Tensor,
    /// Weight and bias of the two layers of the projection.
    transform: Option<[Tensor; 4]>,
}

impl PrefixEncoder {
    /// Keys and values of `shape`, projected through a layer of `encoder_hidden_size` where one is given.
    pub fn new(cx: &Context, shape: PrefixShape, encoder_hidden_size: Option<u64>) -> Self {
        let parameter = |dims: &[u64]| cx.parameter("prompt_encoder", dims, DType::F32, true);
        let token_dim = shape.heads * shape.head_dim;
        let width = 2 * shape.layers * token_dim;
        let Some(inner) = encoder_hidden_size else {
            return Self { shape, embedding: parameter(&[shape.tokens, width]), transform: None };
        };
        let embedding = parameter(&[shape.tokens, token_dim]);
        let transform =
            [parameter(&[inner, token_dim]), parameter(&[inner]), parameter(&[width, inner]), parameter(&[width])];
        Self { shape, embedding, transform: Some(transform) }
    }

    /// Keys and values of each layer, `[2, batch, heads, tokens, head_dim]`, in `dtype` (`PeftModel.get_prompt`).
    pub fn forward(&self, cx: &Context, batch: u64, dtype: DType) -> Vec<Tensor> {
        let PrefixShape { tokens: count, layers, heads, head_dim } = self.shape;
        let ids = tokens(cx, batch, count);
        let embedded = cx.embedding(&ids, &self.embedding);
        let flat = match &self.transform {
            None => embedded,
            Some([inner, inner_bias, outer, outer_bias]) => {
                let hidden = cx.tanh(cx.linear(&embedded, inner, Some(inner_bias)));
                drop(embedded);
                cx.linear(hidden, outer, Some(outer_bias))
            }
        };
        let flat = cx.cast(&flat, dtype);
        let heads_last = cx.reshape(&flat, &[batch, count, 2 * layers, heads, head_dim]);
        drop(flat);
        // permute([2, 0, 3, 1, 4])
        let layers_first = cx.transpose(cx.transpose(cx.transpose(heads_last, 0, 2), 1, 2), 2, 3);
        let sizes = vec![2; usize::try_from(layers).unwrap_or(usize::MAX)];
        cx.split(layers_first, &sizes, 0)
    }
}
