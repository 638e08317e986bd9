//! Parameter-efficient methods: counts that were published, jobs that say them, and methods side by side.

use std::path::Path;

use vramplan::job::{Job, Lora, Peft, Train, Workload};
use vramplan::model::{self, Model};
use vramplan::plan::{self, Choice};
use vramplan::step::{count_parameters, estimate};
use vramplan::truth::Row;

fn rows(file: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth").join(file);
    Row::parse_all(&std::fs::read_to_string(path).expect("recorded measurements")).expect("rows")
}

fn training(row: &Row) -> Train {
    match row.case.job().expect("a job").workload {
        Workload::Train(train) => train,
        Workload::Infer(_) | Workload::Serve(_) => panic!("{} trains", row.id),
    }
}

fn named(name: &str) -> Model {
    model::resolve(name).expect("a card")
}

#[test]
fn bottleneck_adapters_have_the_parameters_that_published_ones_have() {
    // adapters of RoBERTa base and large, as many layers as wide as GPT-2 and GPT-2 medium, are published under the names
    // varun-v-rao/roberta-base-bn-adapter-895K-snli and varun-v-rao/roberta-large-bn-adapter-3.17M-snli-model1 on the Hub
    let adapter = Peft::of_type("adapter").expect("a method");
    for (name, published, unit) in [("gpt2", 895, 1_000), ("gpt2-medium", 317, 10_000)] {
        let count = count_parameters(&named(name), Some(&adapter)).expect(name).trainable;
        assert_eq!((count + unit / 2) / unit, published, "{name}: {count}");
    }
}

#[test]
fn every_method_is_written_and_read_with_its_defaults() {
    for &name in Peft::TYPES {
        let peft = Peft::of_type(name).expect(name);
        assert_eq!(peft.type_name(), name);
        let job: Job = format!("model = \"7b\"\n[train.peft]\ntype = \"{name}\"").parse().expect(name);
        let Workload::Train(train) = &job.workload else { panic!("{name} trains") };
        assert_eq!(train.peft.as_ref(), Some(&peft));
        let written = serde_json::to_string(&job).expect(name);
        assert_eq!(written.parse::<Job>().expect(name), job);
    }
}

#[test]
fn a_rank_stabilised_scale_takes_nothing() {
    let with = |use_rslora| {
        let lora = Lora { use_rslora, ..Lora::default() };
        let train = Train { peft: Some(Peft::Lora(lora)), max_seq_length: 64, ..Train::default() };
        estimate(&named("gpt2"), &Job::train("gpt2", train)).expect("an estimate").peak
    };
    assert_eq!(with(true), with(false));
}

fn choice<'a>(choices: &'a [Choice], name: &str) -> &'a Choice {
    choices.iter().find(|choice| choice.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn methods_side_by_side_are_what_was_measured_one_by_one() {
    let mut checked = 0;
    for row in rows("peft.jsonl").iter().chain(&rows("public.jsonl")) {
        let name = match row.case.method.kind.as_str() {
            "prefix" => "prefix",
            "prompt" => "prompt",
            "ia3" => "IA3",
            _ => continue,
        };
        let comparison = plan::compare(&row.case.model().expect("a model"), &training(row)).expect(&row.id);
        assert_eq!(comparison.methods.len(), 7);
        let takes = choice(&comparison.methods, name).takes.as_ref().expect(&row.id);
        assert_eq!(takes.allocated_bytes.0, row.measured.peak_allocated, "{}", row.id);
        assert_eq!(takes.trainable_parameters, row.measured.params_trainable, "{}", row.id);
        checked += 1;
    }
    assert!(checked >= 30, "only {checked} cases");
}

#[test]
fn a_method_that_cannot_be_estimated_says_why_in_its_row() {
    let train = Train { gradient_checkpointing: true, max_seq_length: 64, ..Train::default() };
    let comparison = plan::compare(&named("gpt2"), &train).expect("a comparison");
    let refused: Vec<_> = comparison.methods.iter().filter(|choice| choice.takes.is_none()).collect();
    assert_eq!(refused.iter().map(|choice| choice.name).collect::<Vec<_>>(), ["prefix"]);
    let why = refused[0].error.as_deref().expect("a reason");
    assert!(why.contains("gradient checkpointing"), "{why}");
}

#[test]
fn what_peft_has_no_layers_for_is_refused() {
    let train = |peft: &str| Train { peft: Peft::of_type(peft), max_seq_length: 64, ..Train::default() };
    for (name, peft, part) in [
        ("gpt2", "oft", "Conv1D"),
        ("gpt2", "loha", "Conv1D"),
        ("falcon-7b", "prefix_tuning", "not supported for falcon-7b"),
        ("phi-3-mini-4k-instruct", "ia3", "PEFT has no default for ia3 on phi3"),
    ] {
        let error = estimate(&named(name), &Job::train(name, train(peft))).expect_err(name).to_string();
        assert!(error.contains(part), "{name} {peft}: {error}");
    }
}

#[test]
fn out_proj_of_mamba_models_is_refused_as_peft_does() {
    let asked = |name: &str, targets: &str| {
        let job: Job = format!("model = \"{name}\"\n[train]\nmax_seq_length = 16\n[train.peft]\ntype = \"lora\"\ntarget_modules = {targets}")
            .parse()
            .expect(name);
        estimate(&named(name), &job)
    };
    for (name, refused, taken) in [
        ("mamba-130m", "[\"out_proj\"]", "[\"in_proj\", \"x_proj\"]"),
        ("falcon-h1-0.5b", "\"all-linear\"", "[\"in_proj\", \"o_proj\"]"),
    ] {
        let error = asked(name, refused).expect_err(name).to_string();
        assert!(error.contains("PEFT refuses out_proj"), "{error}");
        assert!(asked(name, taken).is_ok(), "{name}");
    }
    // whose mixers PEFT does not know of
    assert!(asked("lfm2-350m", "[\"out_proj\"]").is_ok());
}

#[test]
fn a_quantised_mamba_layer_is_said_to_fail() {
    // measured ones end in an error of shapes; Mamba 2 runs, and its measurements are recorded
    for (name, runs) in [("mamba-130m", false), ("jamba2-3b", false), ("mamba2-2.7b", true)] {
        let job: Job =
            format!("model = \"{name}\"\n[infer]\nprecision = \"nf4\"\nprompt_length = 8").parse().expect(name);
        let basis = estimate(&named(name), &job).expect(name).basis;
        assert_eq!(basis.notes.iter().any(|note| note.contains("llm_int8_skip_modules")), !runs, "{name}");
        assert!(runs || !basis.validated, "{name}");
    }
}
