//! `DisentangledSelfAttention` (`modeling_deberta_v2.py`): scores of contents, and of contents with relative positions.

use super::deberta::Given;
use crate::arch::bidirectional::plain;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{DebertaV2, EncoderConfig, RelativeAttention};
use crate::nn::{Builder, Leaf, Linear, Module, Part};

pub(super) struct DisentangledAttention {
    query_proj: Linear,
    key_proj: Linear,
    value_proj: Linear,
    /// Where positions do not share the projections of contents.
    pos_key_proj: Option<Linear>,
    pos_query_proj: Option<Linear>,
    relative: Option<RelativeAttention>,
    num_heads: u64,
    hidden_dropout: f64,
    attention_dropout: f64,
}

impl DisentangledAttention {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, spec: &DebertaV2) -> Self {
        let linear = |name| builder.linear(name, Part::Attention, model.hidden_size, model.hidden_size, true);
        let own = spec.relative_attention.as_ref().filter(|relative| !relative.share_att_key);
        Self {
            query_proj: linear("query_proj"),
            key_proj: linear("key_proj"),
            value_proj: linear("value_proj"),
            pos_key_proj: own.filter(|relative| relative.content_to_position).map(|_| linear("pos_key_proj")),
            pos_query_proj: own.filter(|relative| relative.position_to_content).map(|_| linear("pos_query_proj")),
            relative: spec.relative_attention,
            num_heads: model.num_attention_heads,
            hidden_dropout: model.hidden_dropout,
            attention_dropout: model.attention_dropout,
        }
    }

    /// `transpose_for_scores`: `[batch * heads, length, head_dim]`, a copy.
    fn split(&self, cx: &Context, flat: Tensor) -> Tensor {
        let [batch, length, width] = [flat.dim(0), flat.dim(1), flat.dim(2)];
        let head_dim = width / self.num_heads;
        let heads = cx.transpose(cx.reshape(flat, &[batch, length, self.num_heads, head_dim]), 1, 2);
        cx.reshape(cx.contiguous(heads), &[batch * self.num_heads, length, head_dim])
    }

    pub(super) fn forward(&self, cx: &Context, hidden: &Tensor, given: &Given) -> Tensor {
        let [batch, length] = [hidden.dim(0), hidden.dim(1)];
        let query = self.split(cx, self.query_proj.forward(cx, hidden));
        let key = self.split(cx, self.key_proj.forward(cx, hidden));
        let value = self.split(cx, self.value_proj.forward(cx, hidden));
        let mut scores = {
            let scaled = cx.mul_scalar(cx.transpose(&key, -1, -2), 1.0);
            cx.bmm(&query, &scaled)
        };
        let mut _kept = None;
        if let (Some(relative), Some(positions), Some(embeddings)) =
            (&self.relative, &given.relative_pos, &given.rel_embeddings)
        {
            let embeddings = cx.dropout(embeddings, self.hidden_dropout);
            let bias = self.position_scores(cx, relative, [&query, &key], positions, &embeddings);
            if let Some(bias) = &bias {
                scores = cx.add(&scores, bias);
            }
            _kept = Some((embeddings, bias));
        }
        scores = cx.reshape(&scores, &[batch, self.num_heads, length, length]);
        let mask = plain(cx, given.mask.dims(), DType::Bool);
        scores = {
            let inverse = plain(cx, mask.dims(), DType::Bool);
            cx.masked_fill(&scores, &inverse)
        };
        let dtype = if cx.autocast_dtype().is_some() { DType::F32 } else { scores.dtype() };
        let mut probabilities = cx.softmax(&scores, dtype);
        probabilities = cx.dropout(&probabilities, self.attention_dropout);
        let flat = cx.reshape(&probabilities, &[batch * self.num_heads, length, length]);
        let mut context = cx.bmm(flat, &value);
        context = cx.reshape(&context, &[batch, self.num_heads, length, value.dim(2)]);
        context = cx.contiguous(cx.transpose(&context, 1, 2));
        cx.reshape(&context, hidden.dims())
    }

    /// `disentangled_attention_bias`
    fn position_scores(
        &self,
        cx: &Context,
        relative: &RelativeAttention,
        [query, key]: [&Tensor; 2],
        positions: &Tensor,
        embeddings: &Tensor,
    ) -> Option<Tensor> {
        let batch = query.dim(0) / self.num_heads;
        let embeddings = cx.unsqueeze(embeddings, 0);
        let of_positions = |linear: &Linear| {
            let one = self.split(cx, linear.forward(cx, &embeddings));
            let [heads, rows, head_dim] = [one.dim(0), one.dim(1), one.dim(2)];
            let all = cx.expand(cx.unsqueeze(&one, 0), &[batch, heads, rows, head_dim]);
            cx.reshape(cx.copy(&all), &[batch * heads, rows, head_dim])
        };
        let project = |own: &Option<Linear>, content: &Linear| match own {
            Some(own) => Some(of_positions(own)),
            None => relative.share_att_key.then(|| of_positions(content)),
        };
        let (pos_key, pos_query) = if relative.share_att_key {
            let pos_query = project(&self.pos_query_proj, &self.query_proj);
            (project(&self.pos_key_proj, &self.key_proj), pos_query)
        } else {
            let pos_key = project(&self.pos_key_proj, &self.key_proj);
            (pos_key, project(&self.pos_query_proj, &self.query_proj))
        };
        let index = |negated: bool| {
            let mut places = positions.clone();
            for _ in 0..2 + u8::from(negated) {
                places = plain(cx, positions.dims(), DType::I64);
            }
            places
        };
        let scored = |content: &Tensor, position: &Tensor, negated: bool| {
            let product = || cx.bmm(content, cx.transpose(position, -1, -2));
            let (scores, places) = if negated {
                let places = index(true);
                (product(), places)
            } else {
                let scores = product();
                (scores, index(false))
            };
            let dims = [content.dim(0), content.dim(1), positions.dim(-1)];
            let gathered = cx.gather(&scores, &cx.expand(&places, &dims));
            (gathered, places)
        };
        let mut score = None;
        let mut _places = Vec::new();
        if let (true, Some(pos_key)) = (relative.content_to_position, &pos_key) {
            let (attended, places) = scored(query, pos_key, false);
            _places.push((attended.clone(), places));
            let scaled = cx.mul_scalar(&attended, 1.0);
            score = Some(cx.add_scalar(&scaled, 0.0));
        }
        if let (true, Some(pos_query)) = (relative.position_to_content, &pos_query) {
            let (attended, places) = scored(key, pos_query, true);
            let attended = cx.transpose(attended, -1, -2);
            _places.push((attended.clone(), places));
            let scaled = cx.mul_scalar(&attended, 1.0);
            score = Some(match score {
                Some(score) => cx.add_in_place(score, &scaled),
                None => cx.add_scalar(&scaled, 0.0),
            });
        }
        score
    }
}

impl Module for DisentangledAttention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.query_proj.leaves(visit);
        self.key_proj.leaves(visit);
        self.value_proj.leaves(visit);
        self.pos_key_proj.leaves(visit);
        self.pos_query_proj.leaves(visit);
    }
}
