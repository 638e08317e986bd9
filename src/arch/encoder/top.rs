//! What stands on an encoder: poolers, classifiers and language-model heads.

use crate::ghost::{Category, Context, Tensor};
use crate::model::{Activation, EncoderClass, EncoderConfig, EncoderFamily, ModelType, Norm};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, Weight, activate};

/// What stands on the encoder, in registration order.
pub(super) struct Top {
    /// `BertPooler`: the first token's state, through a dense layer and tanh.
    pooler: Option<Linear>,
    language_model: Option<LanguageModel>,
    classifier: Option<Classifier>,
}

/// A dense layer, an activation and a norm before a head that shares the token embedding's weight.
struct LanguageModel {
    dense: Linear,
    activation: Activation,
    norm: NormLayer,
    decoder: Linear,
}

/// Which layers of a head have a bias.
struct Biases {
    dense: bool,
    norm: bool,
    decoder: bool,
}

impl Biases {
    fn of(model: &EncoderConfig) -> Self {
        match &model.family {
            EncoderFamily::ModernBert(spec) => {
                Self { dense: spec.head_bias, norm: spec.norm_bias, decoder: spec.decoder_bias }
            }
            _ => Self { dense: true, norm: true, decoder: true },
        }
    }
}

/// Layers from one token's state to the classes, with what is between them.
struct Classifier {
    /// The state is the pooler's, the first token's, or every token's.
    of: State,
    /// Dropout on the state.
    first_dropout: f64,
    dense: Option<(Linear, Act)>,
    /// ModernBERT's, behind the activation.
    norm: Option<NormLayer>,
    dropout: f64,
    out: Linear,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Pooled,
    FirstToken,
    EveryToken,
    EveryTokenThenMean,
}

#[derive(Clone, Copy)]
enum Act {
    Tanh,
    As(Activation),
}

impl Top {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        use EncoderClass as C;
        use ModelType as T;
        let class = model.class;
        let pools = match model.model_type {
            T::Bert | T::Albert => class != C::MaskedLm,
            T::NomicBert => class == C::SequenceClassification,
            T::Roberta | T::XlmRoberta | T::Mpnet => class == C::Base,
            _ => false,
        };
        let width = model.hidden_size;
        let language_model = matches!(class, C::MaskedLm)
            || (class == C::PreTraining && matches!(model.model_type, T::Bert | T::Albert));
        Self {
            pooler: pools.then(|| builder.linear("dense", Part::Other, width, width, true)),
            language_model: language_model.then(|| LanguageModel::new(builder, model)),
            classifier: Classifier::new(builder, model),
        }
    }

    /// A language-model head's own token table goes: it is the encoder's.
    pub(super) fn tie(&mut self, word: &Embedding) {
        if let Some(head) = &mut self.language_model {
            head.decoder.weight = Weight::Dense(word.weight.clone());
        }
    }

    pub(super) fn is_tied(&self) -> bool {
        self.language_model.is_some()
    }

    /// Logits, or what the encoder returns where nothing stands on it.
    pub(super) fn forward(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        let pooled = self.pooler.as_ref().map(|pooler| {
            let first = cx.select(hidden, 1);
            let mut pooled = pooler.forward(cx, &first);
            pooled = cx.tanh(&pooled);
            pooled
        });
        cx.within(Category::Logits, || {
            let scores = self.language_model.as_ref().map(|head| head.forward(cx, hidden));
            let classes = self.classifier.as_ref().map(|classifier| classifier.forward(cx, hidden, pooled.as_ref()));
            scores.or(classes).or(pooled).unwrap_or_else(|| hidden.clone())
        })
    }
}

impl LanguageModel {
    fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let (width, narrow) = (model.hidden_size, model.embedding_size);
        let dense = match model.model_type {
            ModelType::Distilbert => "vocab_transform",
            _ => "dense",
        };
        let biases = Biases::of(model);
        Self {
            dense: builder.linear(dense, Part::Other, width, narrow, biases.dense),
            activation: model.head_activation,
            norm: builder.norm("LayerNorm", Norm::Layer { bias: biases.norm }, narrow),
            decoder: builder.linear("decoder", Part::Head, narrow, model.vocab_size, biases.decoder),
        }
    }

    fn forward(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        let mut states = self.dense.forward(cx, hidden);
        states = activate(cx, self.activation, states);
        states = self.norm.forward(cx, &states);
        self.decoder.forward(cx, &states)
    }
}

impl Classifier {
    fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Option<Self> {
        use EncoderClass as C;
        use ModelType as T;
        let width = model.hidden_size;
        let linear = |name, to| builder.linear(name, Part::Head, width, to, true);
        let dense = |name, act| Some((linear(name, width), act));
        Some(match (model.class, model.model_type) {
            (C::SequenceClassification, T::ModernBert) => {
                let biases = Biases::of(model);
                Self {
                    of: State::FirstToken,
                    first_dropout: 0.0,
                    dense: Some((
                        builder.linear("dense", Part::Other, width, width, biases.dense),
                        Act::As(model.head_activation),
                    )),
                    norm: Some(builder.norm("norm", Norm::Layer { bias: biases.norm }, width)),
                    dropout: model.classifier_dropout,
                    out: linear("classifier", model.num_labels),
                }
            }
            // scores of every token, then their mean
            (C::SequenceClassification, T::EuroBert) => Self {
                of: State::EveryTokenThenMean,
                first_dropout: 0.0,
                dense: Some((builder.linear("dense", Part::Other, width, width, true), Act::As(Activation::Gelu))),
                norm: None,
                dropout: 0.0,
                out: linear("classifier", model.num_labels),
            },
            // `ContextPooler`, which is no part of what PEFT trains whole
            (C::SequenceClassification, T::DebertaV2) => {
                let EncoderFamily::DebertaV2(spec) = &model.family else { return None };
                Self {
                    of: State::FirstToken,
                    first_dropout: spec.pooler_dropout,
                    dense: Some((
                        builder.linear("dense", Part::Other, width, width, true),
                        Act::As(spec.pooler_activation),
                    )),
                    norm: None,
                    dropout: model.classifier_dropout,
                    out: linear("classifier", model.num_labels),
                }
            }
            (C::SequenceClassification, T::Bert | T::Albert | T::NomicBert) => Self {
                of: State::Pooled,
                first_dropout: 0.0,
                dense: None,
                norm: None,
                dropout: model.classifier_dropout,
                out: linear("classifier", model.num_labels),
            },
            (C::SequenceClassification, T::Distilbert) => Self {
                of: State::FirstToken,
                first_dropout: 0.0,
                dense: dense("pre_classifier", Act::As(Activation::Relu)),
                norm: None,
                dropout: model.classifier_dropout,
                out: linear("classifier", model.num_labels),
            },
            (C::SequenceClassification, model_type) => Self {
                of: State::FirstToken,
                first_dropout: model.classifier_dropout,
                dense: dense("dense", if model_type == T::Electra { Act::As(Activation::Gelu) } else { Act::Tanh }),
                norm: None,
                dropout: model.classifier_dropout,
                out: linear("out_proj", model.num_labels),
            },
            // next-sentence prediction
            (C::PreTraining, T::Bert | T::Albert) => Self {
                of: State::Pooled,
                first_dropout: 0.0,
                dense: None,
                norm: None,
                dropout: 0.0,
                out: builder.linear("seq_relationship", Part::Other, width, 2, true),
            },
            // which tokens were replaced
            (C::PreTraining, _) => Self {
                of: State::EveryToken,
                first_dropout: 0.0,
                dense: dense("dense", Act::As(model.activation)),
                norm: None,
                dropout: 0.0,
                out: linear("dense_prediction", 1),
            },
            _ => return None,
        })
    }

    fn forward(&self, cx: &Context, hidden: &Tensor, pooled: Option<&Tensor>) -> Tensor {
        let mut x = match (self.of, pooled) {
            (State::Pooled, Some(pooled)) => pooled.clone(),
            (State::EveryToken | State::EveryTokenThenMean, _) => hidden.clone(),
            _ => cx.select(hidden, 1),
        };
        x = cx.dropout(&x, self.first_dropout);
        if let Some((dense, act)) = &self.dense {
            x = dense.forward(cx, &x);
            x = match act {
                Act::Tanh => cx.tanh(&x),
                Act::As(activation) => activate(cx, *activation, x),
            };
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(cx, &x);
        }
        x = cx.dropout(&x, self.dropout);
        let scores = self.out.forward(cx, &x);
        if self.of == State::EveryTokenThenMean { cx.mul_scalar(cx.sum_dim(&scores, 1, false), 1.0) } else { scores }
    }
}

impl Module for Top {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.pooler.leaves(visit);
        if let Some(head) = &mut self.language_model {
            head.dense.leaves(visit);
            head.norm.leaves(visit);
            head.decoder.leaves(visit);
        }
        if let Some(classifier) = &mut self.classifier {
            if let Some((dense, _)) = &mut classifier.dense {
                dense.leaves(visit);
            }
            classifier.norm.leaves(visit);
            classifier.out.leaves(visit);
        }
    }
}
