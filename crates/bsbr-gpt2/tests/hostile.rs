//! Files that were cut, edited or made to harm are refused, and nothing panics.
#![allow(clippy::expect_used, clippy::panic)]

mod common;

use bsbr_gpt2::{Gpt2, Gpt2Config, Tokenizer};
use burn::tensor::Device;
use common::{GOLDENS, read_text};
use serde_json::{Value, json};

/// With every key set to everything: refused with a message that names the key, or a configuration
/// of which a model can be made.
#[test]
fn any_value_of_any_key_is_read_or_refused_by_name() {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(7),
        json!(1 << 20),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(""),
        json!("gpt2"),
        json!("\u{202e}\u{0}"),
        json!([]),
        json!([[1]]),
        json!({}),
        json!({"a": {"b": 1}}),
    ];
    let device = Device::default();
    for folder in ["base", "wide"] {
        let config: Value =
            serde_json::from_str(&read_text(&format!("{folder}/config.json"))).expect(folder);
        let mut keys: Vec<String> = config.as_object().expect(folder).keys().cloned().collect();
        keys.extend(["bsbr", "n_ctx", "hidden_size", "n_inner", "unknown"].map(String::from));
        for key in keys {
            for value in &values {
                let mut config = config.clone();
                config[&key] = value.clone();
                match Gpt2Config::from_json(&config.to_string()) {
                    Ok(config) => {
                        Gpt2::zeros(&config, &device).expect("a model of what was accepted");
                        let text = config.to_json().expect("what was accepted can be written");
                        assert_eq!(Gpt2Config::from_json(&text).as_ref(), Ok(&config));
                    }
                    Err(error) => {
                        let message = error.to_string();
                        let named = message.contains(&key) || message.contains("parameters");
                        assert!(named, "{key}: {value} gives: {message}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_configuration_cut_anywhere_is_refused() {
    for (folder, _) in GOLDENS {
        let text = read_text(&format!("{folder}/config.json"));
        let text = text.trim_end();
        for end in 0..text.len() {
            assert!(
                Gpt2Config::from_json(&text[..end]).is_err(),
                "{folder}, {end} bytes"
            );
        }
    }
    let deep = "[".repeat(100_000);
    assert!(Gpt2Config::from_json(&deep).is_err());
}

#[test]
fn a_tokenizer_cut_anywhere_is_refused() {
    let text = read_text("tokenizer/tokenizer.json");
    let text = text.trim_end();
    for end in (0..text.len()).step_by(7) {
        assert!(
            Tokenizer::from_json(&text.as_bytes()[..end]).is_err(),
            "{end} bytes"
        );
    }
}

/// Every place of the file set to everything, the long lists at their ends only.
#[test]
fn an_edited_tokenizer_is_refused_or_works() {
    let file: Value =
        serde_json::from_str(&read_text("tokenizer/tokenizer.json")).expect("tokenizer.json");
    let mut places = Vec::new();
    collect_places(&file, String::new(), &mut places);
    assert!(places.len() > 40, "{places:?}");
    for place in places {
        for value in [
            json!(null),
            json!(-1),
            json!(u64::MAX),
            json!("x y"),
            json!([]),
            json!({}),
        ] {
            let mut edited = file.clone();
            *edited.pointer_mut(&place).expect("a place") = value.clone();
            if let Ok(tokenizer) = Tokenizer::from_json(edited.to_string().as_bytes())
                && let Ok(ids) = tokenizer.encode("The lamp<|endoftext|> \u{1f980}")
            {
                let _ = tokenizer.decode(&ids);
                let _ = tokenizer.decode(&[0, 1, 500, u32::MAX]);
            }
        }
    }
}

fn collect_places(value: &Value, at: String, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    let count = inner.len();
    for (i, (key, value)) in inner.into_iter().enumerate() {
        if count < 20 || i < 2 || i + 1 == count {
            let key = key.replace('~', "~0").replace('/', "~1");
            collect_places(value, format!("{at}/{key}"), places);
        }
    }
    places.push(at);
}

/// `transformers` cuts and fills up only where asked to, whatever the file says.
#[test]
fn a_tokenizer_file_cannot_cut_or_fill_up_texts() {
    let mut file: Value =
        serde_json::from_str(&read_text("tokenizer/tokenizer.json")).expect("tokenizer.json");
    file["truncation"] = json!({
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0
    });
    file["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"
    });
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes()).expect("tokenizer");
    let ids = tokenizer
        .encode("The lamp of Mara is in the attic.")
        .expect("text");
    assert_eq!(ids, [280, 276, 290, 275, 264, 263, 260, 277, 14]);
}
