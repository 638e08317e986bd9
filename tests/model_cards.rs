//! The model cards that are compiled in.

use std::collections::BTreeMap;
use std::path::Path;

use vramplan::model::{self, LayerType, Origin};

#[test]
fn every_card_resolves_by_its_name_and_by_each_alias() {
    let cards = model::cards();
    assert!(cards.len() >= 60, "{}", cards.len());
    for summary in &cards {
        let by_name = model::resolve(&summary.name).expect(&summary.name);
        assert_eq!(by_name.name(), summary.name);
        assert_eq!(by_name.model_type(), summary.model_type);
        assert_eq!(by_name.origin(), Origin::Config);
        for alias in &summary.aliases {
            for spelling in [alias.clone(), alias.to_uppercase(), alias.to_lowercase()] {
                assert_eq!(model::resolve(&spelling).as_ref(), Ok(&by_name), "{spelling}");
            }
        }
    }
}

#[test]
fn no_two_cards_share_a_name_or_an_alias() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for card in model::cards() {
        for name in card.aliases.iter().chain([&card.name]) {
            if let Some(other) = seen.insert(name.to_lowercase(), card.name.clone()) {
                panic!("{name} is of {other} and of {}", card.name);
            }
        }
    }
}

#[test]
fn a_card_is_called_as_its_file_and_says_where_it_is_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model-cards");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of cards") {
        let path = entry.expect("a file").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let card = model::card(stem).expect(stem);
        assert_eq!(card.name, stem);
        assert_eq!(card.name, card.name.to_lowercase());
        assert!(card.parameters > 0 && !card.source.is_empty(), "{stem}");
        assert_eq!(card.toml, std::fs::read_to_string(&path).expect(stem));
        // As a file it says the same as compiled in.
        assert_eq!(model::resolve(&path.to_string_lossy()), card.model(), "{stem}");
        files += 1;
    }
    assert_eq!(model::cards().len(), files);
}

#[test]
fn no_card_looks_like_a_bare_size() {
    for card in model::cards() {
        for name in card.aliases.iter().chain([&card.name]) {
            let size = name.strip_suffix(['b', 'B', 'm', 'M']).unwrap_or(name);
            assert!(size.parse::<f64>().is_err(), "{name}");
        }
    }
}

#[test]
fn a_card_writes_null_as_config_json_does() {
    let card = model::card("mistral-7b").expect("a card");
    assert_eq!(card.config["sliding_window"], serde_json::Value::Null);
    let model = card.model().expect("a model");
    let model = model.decoder().expect("a decoder");
    assert_eq!(model.sliding_window, None);
    assert!(model.layer_types.iter().all(|layer| *layer == LayerType::FullAttention));
}

#[test]
fn the_cards_people_ask_for_are_there() {
    for (name, parameters) in [
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-13b", 13_015_864_320),
        ("llama-2-70b", 68_976_648_192),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("llama-3.1-405b", 405_853_388_800),
        ("llama-3.2-1b", 1_235_814_400),
        ("tinyllama-1.1b", 1_100_048_384),
        ("mistral-7b", 7_248_023_552),
        ("mistral-7b-v0.1", 7_241_732_096),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-72b", 72_706_203_648),
        ("qwen3-8b", 8_190_735_360),
        ("gemma-2b", 2_506_172_416),
        ("gemma-2-9b", 9_241_705_984),
        ("gemma-3-270m", 268_098_176),
        ("phi-2", 2_779_683_840),
        ("phi-3-mini", 3_821_079_552),
        ("olmo-2-7b", 7_298_617_344),
        ("granite-3.1-2b", 2_533_525_504),
        ("starcoder2-15b", 15_957_889_024),
        ("stablelm-2-12b", 12_143_185_920),
        ("falcon-7b", 6_921_720_704),
        ("gpt2-xl", 1_557_611_200),
        ("gpt-neox-20b", 20_554_567_680),
        ("pythia-6.9b", 6_857_302_016),
        ("opt-350m", 331_196_416),
        ("bloom-176b", 176_247_271_424),
        ("bert-base", 110_106_428),
        ("roberta-base", 124_697_433),
        ("t5-base", 222_903_552),
        ("bart-large", 406_291_456),
    ] {
        assert_eq!(model::card(name).expect(name).parameters, parameters, "{name}");
    }
}
