//! The generation settings of a folder have the same effect as in `transformers`.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{config, golden, load};
use bsbr_gpt2::{GenerationConfig, GenerationDefaults, Gpt2Config, TokenIds};
use serde_json::{Value, json};

fn read(keys: Value) -> GenerationDefaults {
    GenerationDefaults::from_json(&keys.to_string()).expect("defaults")
}

#[test]
fn what_is_left_out_has_the_defaults_of_transformers() {
    for keys in [
        json!({}),
        json!({"_from_model_config": true, "transformers_version": "5.0.0", "bos_token_id": 95}),
        json!({"eos_token_id": null, "do_sample": null, "top_k": null, "num_beams": null}),
        json!({"num_beams": 1, "typical_p": 1, "bad_words_ids": [], "length_penalty": 2.0}),
    ] {
        assert_eq!(read(keys), GenerationDefaults::default());
    }
    let settings = GenerationDefaults::default().settings(97);
    assert_eq!(settings, GenerationConfig::default());
}

#[test]
fn every_end_token_of_the_list_ends_a_text() {
    let (model, golden) = (load("base"), golden("base"));
    let settings = |keys: Value| GenerationConfig {
        max_new_tokens: 24,
        ..read(keys).settings(97)
    };
    let batch = golden.batch();
    let free = model.generate(&batch, &settings(json!({}))).expect("base");
    let end = free[0][3];
    let at = free[0]
        .iter()
        .position(|id| *id == end)
        .expect("it is there");
    for ids in [
        json!(end),
        json!([end]),
        json!([96, end]),
        json!([end, 5000]),
    ] {
        let settings = settings(json!({"eos_token_id": ids}));
        let new = model.generate(&batch, &settings).expect("base");
        assert_eq!(new[0], free[0][..=at], "{ids}");
    }
}

#[test]
fn sampling_is_used_where_the_file_asks_for_it() {
    let drawn = json!({"do_sample": true, "temperature": 0.7, "top_p": 0.9, "min_p": 0.1,
               "repetition_penalty": 1.2, "no_repeat_ngram_size": 3});
    let settings = read(drawn).settings(97);
    let found = (settings.temperature, settings.top_k, settings.top_p);
    assert_eq!(found, (0.7, Some(50), 0.9));
    assert_eq!((settings.min_p, settings.repetition_penalty), (0.1, 1.2));
    assert_eq!(settings.no_repeat_ngram_size, 3);
    let all = read(json!({"do_sample": true, "top_k": 0})).settings(97);
    assert_eq!((all.temperature, all.top_k), (1.0, None));
    let greedy = read(json!({"temperature": 0.7, "top_k": 5})).settings(97);
    assert_eq!((greedy.temperature, greedy.top_k), (0.0, None));
}

#[test]
fn lengths_and_stop_strings_are_read() {
    let all = read(json!({"max_new_tokens": 7, "max_length": 50, "stop_strings": "\n"}));
    assert_eq!((all.max_new_tokens, all.max_length), (Some(7), Some(50)));
    assert_eq!(all.settings(97).max_new_tokens, 7);
    assert_eq!(all.stop_strings, ["\n"]);
    assert_eq!(
        read(json!({"stop_strings": ["a", "b"]})).stop_strings,
        ["a", "b"]
    );
}

#[test]
fn what_is_asked_for_and_not_done_is_named() {
    let asked = read(json!({
        "num_beams": 4, "min_new_tokens": 3, "suppress_tokens": [1], "typical_p": 0.5,
    }));
    assert_eq!(
        asked.unsupported,
        [
            "min_new_tokens",
            "num_beams",
            "typical_p",
            "suppress_tokens"
        ]
    );
}

#[test]
fn without_the_file_the_model_configuration_is_asked() {
    let mut config = config("base");
    config.eos_token_id = Some(TokenIds::Many(vec![3, 4]));
    config.other.insert("do_sample".into(), json!(true));
    config.other.insert("top_k".into(), json!(9));
    let defaults = GenerationDefaults::from_config(&config).expect("defaults");
    let settings = defaults.settings(97);
    assert_eq!(settings.stop_tokens, [3, 4]);
    assert_eq!((settings.temperature, settings.top_k), (1.0, Some(9)));
    let plain = GenerationDefaults::from_config(&Gpt2Config::default()).expect("defaults");
    assert_eq!(plain.settings(50257).stop_tokens, [50256]);
}

#[test]
fn wrong_settings_are_refused_by_name() {
    for (keys, names) in [
        (
            json!({"eos_token_id": -1}),
            ["`eos_token_id`", "-1", "token id"],
        ),
        (
            json!({"eos_token_id": ["x"]}),
            ["`eos_token_id`", "x", "token id"],
        ),
        (
            json!({"temperature": -0.5}),
            ["`temperature`", "-0.5", "0 to"],
        ),
        (
            json!({"temperature": "hot"}),
            ["`temperature`", "hot", "a number"],
        ),
        (json!({"top_p": 1.5}), ["`top_p`", "1.5", "0 to 1"]),
        (json!({"top_k": -2}), ["`top_k`", "-2", "whole"]),
        (
            json!({"repetition_penalty": 0}),
            ["`repetition_penalty`", "0", "0.000001"],
        ),
        (
            json!({"do_sample": "yes"}),
            ["`do_sample`", "yes", "true or false"],
        ),
        (
            json!({"stop_strings": [1]}),
            ["`stop_strings`", "[1]", "strings"],
        ),
        (json!([]), ["expected", "an object", "{"]),
    ] {
        let error = match GenerationDefaults::from_json(&keys.to_string()) {
            Ok(read) => panic!("{keys} is accepted: {read:?}"),
            Err(error) => error.to_string(),
        };
        for name in names {
            assert!(error.contains(name), "{keys}: {error}");
        }
    }
    assert!(GenerationDefaults::from_json("{").is_err());
}
