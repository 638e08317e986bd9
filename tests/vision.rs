//! Models that take images: what an estimate of them says, and what it leaves out.

use vramplan::job::{Head, Job, Lora, Peft, Precision, TargetModules, Train};
use vramplan::model;
use vramplan::step::{self, Estimate, EstimateError, count_parameters};

fn train(name: &str, train: Train) -> Result<Estimate, EstimateError> {
    step::estimate(&model::resolve(name).expect(name), &Job::train(name, train))
}

fn lora(targets: TargetModules) -> Peft {
    Peft::Lora(Lora { target_modules: Some(targets), ..Lora::default() })
}

fn short() -> Train {
    Train { max_seq_length: 16, ..Train::default() }
}

#[test]
fn a_vision_language_model_is_estimated_without_images_and_says_so() {
    let estimate = train("smolvlm-256m", Train { precision: Precision::Fp32, ..short() }).expect("an estimate");
    assert!(!estimate.basis.validated);
    assert!(estimate.basis.notes.iter().any(|note| note.contains("With images")), "{:?}", estimate.basis.notes);
    // the tower is loaded, and gets no gradients from text
    let count = count_parameters(&model::resolve("smolvlm-256m").expect("a card"), None).expect("a count");
    assert!(estimate.held.weights.0 >= 4 * count.total);
    assert_eq!(estimate.held.gradients.0, 4 * (count.total - count.tower));
}

#[test]
fn adapters_reach_the_tower_where_names_do() {
    let model = model::resolve("qwen2-vl-2b").expect("a card");
    let adapters = |peft| count_parameters(&model, Some(&peft)).expect("a count").adapters;
    let of = |name: &str| adapters(lora(TargetModules::Names(vec![name.to_owned()])));
    let r = Lora::default().r;
    // 32 blocks of 1280, and the convolution that makes patches: 3 channels, 2 frames, 14 x 14
    assert_eq!(of("proj"), r * (32 * (1280 + 1280) + 3 * 2 * 14 * 14 + 1280));
    assert_eq!(of("attn.proj"), r * 32 * (1280 + 1280));
    assert_eq!(of("qkv"), r * 32 * (1280 + 3 * 1280));
    // `all-linear` has every linear layer, and no convolution
    let names = ["qkv", "attn.proj", "fc1", "fc2", "mlp.0", "mlp.2", "q_proj", "k_proj", "v_proj", "o_proj"];
    let gated = ["gate_proj", "up_proj", "down_proj"];
    let each: u64 = names.iter().chain(&gated).map(|name| of(name)).sum();
    assert_eq!(adapters(lora(TargetModules::AllLinear)), each);
}

#[test]
fn a_vision_transformer_classifies_images_and_no_sequences() {
    let estimate = train("vit-base-patch16-224", short()).expect("an estimate");
    assert!(!estimate.basis.validated);
    assert!(estimate.basis.notes.iter().any(|note| note.contains("cuDNN")), "{:?}", estimate.basis.notes);
    let longer = Train { max_seq_length: 4096, ..short() };
    assert_eq!(train("vit-base-patch16-224", longer).expect("an estimate").peak, estimate.peak);
    let error = train("vit-base-patch16-224", Train { head: Some(Head::SeqCls), ..short() }).expect_err("no such head");
    assert!(error.to_string().contains("image-cls"), "{error}");
}
