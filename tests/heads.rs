//! Heads: what each kind of model can be trained with, and what it is trained with where a job names none.

use vramplan::job::{Head, Ia3, Job, Objective, Peft, PromptTuning, Train};
use vramplan::model;
use vramplan::step::{EstimateError, estimate};

fn training(name: &str, head: Option<Head>) -> Result<vramplan::step::Estimate, EstimateError> {
    let model = model::resolve(name).expect(name);
    estimate(&model, &Job::train(name, Train { head, max_seq_length: 64, ..Train::default() }))
}

#[test]
fn a_model_gets_its_own_head_where_the_job_names_none() {
    for (name, head) in [("gpt2", Head::CausalLm), ("bert-base", Head::SeqCls), ("t5-small", Head::Seq2seqLm)] {
        assert_eq!(training(name, None), training(name, Some(head)), "{name}");
    }
}

#[test]
fn a_head_a_model_has_not_is_refused_with_those_it_has() {
    for (name, head, line) in [
        (
            "bert-base",
            Head::CausalLm,
            "train.head = \"causal-lm\": a bert model has none; use \"seq-cls\" or \"masked-lm\", or leave it out",
        ),
        (
            "t5-small",
            Head::MaskedLm,
            "train.head = \"masked-lm\": a t5 model has none; use \"seq2seq-lm\", or leave it out",
        ),
    ] {
        let error = training(name, Some(head)).expect_err(name);
        assert_eq!(error.to_string(), line);
    }
}

#[test]
fn what_no_measurement_stands_behind_says_so() {
    let classified = training("bert-base", None).expect("an estimate");
    assert!(classified.basis.validated, "{:?}", classified.basis);
    let masked = training("bert-base", Some(Head::MaskedLm)).expect("an estimate");
    assert!(!masked.basis.validated && masked.basis.notes.iter().any(|note| note.contains("masked-lm")));
}

#[test]
fn parameters_of_a_checkpoint_are_those_of_its_class() {
    // the pooler, the masked-language-model head and the next-sentence head; a classifier has two classes
    let model = model::resolve("bert-base").expect("a card");
    let checkpoint = vramplan::step::count_parameters(&model, None).expect("a count").total;
    let classifier = training("bert-base", Some(Head::SeqCls)).expect("an estimate").model.parameters;
    assert_eq!((checkpoint, classifier), (110_106_428, 109_483_778));
}

#[test]
fn methods_and_objectives_that_are_not_modelled_for_a_model_are_refused() {
    let of = |name: &str, train: Train| {
        let model = model::resolve(name).expect(name);
        estimate(&model, &Job::train(name, Train { max_seq_length: 64, ..train })).map_err(|error| error.to_string())
    };
    let with = |peft| Train { peft: Some(peft), ..Train::default() };
    let error = of("bert-base", with(Peft::Ia3(Ia3::default()))).expect_err("only LoRA");
    assert!(error.starts_with("train.peft.type = \"ia3\": not supported yet"), "{error}");
    let error = of("t5-small", with(Peft::PromptTuning(PromptTuning::default()))).expect_err("no virtual tokens");
    assert!(error.starts_with("train.peft.type = \"prompt_tuning\": not supported for"), "{error}");
    let scaled = of("t5-small", with(Peft::Ia3(Ia3::default()))).expect("an estimate");
    assert!(!scaled.basis.validated, "{:?}", scaled.basis);
    for objective in [Objective::Reward, Objective::Dpo] {
        for name in ["bert-base", "t5-small"] {
            of(name, Train { objective, ..Train::default() }).expect_err(name);
        }
    }
}

#[test]
fn a_classifier_has_the_classes_it_is_given() {
    let classes = |num_labels| {
        let train = Train { num_labels, head: Some(Head::SeqCls), max_seq_length: 64, ..Train::default() };
        let model = model::resolve("bert-base").expect("a card");
        estimate(&model, &Job::train("bert-base", train)).expect("an estimate").model.parameters
    };
    // a weight for each of 768 features and a bias
    assert_eq!(classes(Some(5)) - classes(None), 3 * 769);
}
