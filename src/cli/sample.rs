//! A hand-made model and estimate for tests of what is printed.

use crate::model::{
    Activation, Attention, Block, DecoderConfig, Embedding, Head, LayerType, Mlp, Model, ModelType, Norm, Origin,
};
use crate::step::{Basis, Estimate, Held, ModelSummary, Parts, Peak, Phase, TimelinePoint};
use crate::units::{Bytes, MIB};

/// LoRA on Llama 2 7B, with made-up figures that add up.
pub(super) fn estimate() -> Estimate {
    let at_peak = Parts {
        weights: Bytes::from_mib(12_852),
        gradients: Bytes::from_mib(16),
        optimizer: Bytes::from_mib(32),
        activations: Bytes::from_mib(1_900),
        logits: Bytes::from_mib(500),
        temporary: Bytes(125 * MIB + 512),
        workspace: Bytes::from_mib(8),
        ..Parts::default()
    };
    let phase = |name: &str, peak, end| Phase {
        name: name.to_owned(),
        peak_bytes: Bytes::from_mib(peak),
        end_bytes: Bytes::from_mib(end),
    };
    Estimate {
        schema: "vramplan.estimate/1",
        model: ModelSummary {
            name: "llama-2-7b".to_owned(),
            model_type: "llama".to_owned(),
            parameters: 6_742_609_920,
            trainable_parameters: 4_194_304,
        },
        peak: Peak {
            allocated_bytes: at_peak.total(),
            reserved_bytes: Bytes::from_mib(15_914),
            device_bytes: Bytes::from_mib(16_395),
            phase: "backward".to_owned(),
        },
        at_peak,
        held: Held {
            weights: Bytes::from_mib(12_852),
            buffers: Bytes(512),
            gradients: Bytes::from_mib(16),
            optimizer: Bytes::from_mib(32),
            paged: Bytes::ZERO,
            host: Bytes::ZERO,
        },
        phases: vec![
            phase("forward", 14_900, 14_800),
            phase("backward", 15_433, 12_999),
            phase("clip", 13_000, 12_999),
            phase("optimizer", 12_960, 12_900),
        ],
        serving: None,
        basis: Basis {
            runtime: "pytorch".to_owned(),
            versions: "torch 2.11.0, transformers 5.17.0, peft 0.21.2".to_owned(),
            validated: false,
            notes: vec!["figures of a stand-in, not of this job".to_owned()],
        },
        timeline: Some(timeline()),
    }
}

fn timeline() -> Vec<TimelinePoint> {
    let point = |event, mib, phase| TimelinePoint { event, allocated_bytes: Bytes::from_mib(mib), phase };
    let forward = (0..64).map(|i| point(i * 10, 12_900 + i * 30, 0));
    let backward = (0..64).map(|i| point(640 + i * 20, 15_433 - i * 38, 1));
    let rest = [point(1920, 13_000, 2), point(1930, 12_960, 3), point(1960, 12_932, 3), point(1970, 12_900, 3)];
    forward.chain(backward).chain(rest).collect()
}

/// Llama 2 7B.
pub(super) fn llama_2_7b() -> Model {
    Model::Decoder(DecoderConfig {
        name: "llama-2-7b".to_owned(),
        model_type: ModelType::Llama,
        origin: Origin::Config,
        hidden_size: 4096,
        num_hidden_layers: 32,
        vocab_size: 32_000,
        max_position_embeddings: 4096,
        pad_token_id: None,
        embedding: Embedding::default(),
        attention: Attention::of_heads(32, 32, 128),
        mla: None,
        mixer: None,
        mlp: Mlp::gated(11_008, Activation::Silu),
        moe: None,
        counted: None,
        caches: None,
        tower_left_out: 0,
        norm: Norm::Rms,
        block: Block::PreNorm,
        layer_types: vec![LayerType::FullAttention; 32],
        nope_layers: Vec::new(),
        sliding_window: None,
        residual_dropout: 0.0,
        residual_multiplier: None,
        final_norm: true,
        head: Head::default(),
        tower: None,
    })
}
