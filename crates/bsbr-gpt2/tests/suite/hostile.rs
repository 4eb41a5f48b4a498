//! Truncated, edited and malicious configurations are refused, and nothing panics.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{GOLDENS, read_text};
use bsbr_gpt2::{Gpt2, Gpt2Config};
use burn::tensor::Device;
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
