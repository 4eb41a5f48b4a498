//! What a `config.json` may contain, and the errors for everything else.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{GOLDENS, config, read_text};
use bsbr_attention::{ArmConfig, MomentsConfig};
use bsbr_gpt2::{Activation, ConfigError, Gpt2, Gpt2Config, TokenIds};
use burn::tensor::Device;
use serde_json::{Value, json};

fn small() -> Value {
    json!({"vocab_size": 97, "n_positions": 64, "n_embd": 20, "n_layer": 3, "n_head": 4})
}

/// `small` with some keys set.
fn with(keys: Value) -> Result<Gpt2Config, ConfigError> {
    let mut config = small();
    for (key, value) in keys.as_object().expect("an object") {
        config[key] = value.clone();
    }
    Gpt2Config::from_json(&config.to_string())
}

/// The message of the error; it names `names` of it.
fn refused(keys: Value, names: &[&str]) -> String {
    let message = match with(keys.clone()) {
        Ok(config) => panic!("{keys} is accepted: {config:?}"),
        Err(error) => error.to_string(),
    };
    for name in names {
        assert!(
            message.contains(name),
            "{keys}: `{name}` is not in: {message}"
        );
    }
    message
}

#[test]
fn what_is_read_is_written_and_read_again() {
    for (folder, _) in GOLDENS {
        let config = config(folder);
        let text = config.to_json().expect(folder);
        assert_eq!(
            Gpt2Config::from_json(&text).expect(folder),
            config,
            "{folder}"
        );
        let (before, after): (Value, Value) = (
            serde_json::from_str(&read_text(&format!("{folder}/config.json"))).expect(folder),
            serde_json::from_str(&text).expect(folder),
        );
        for (key, value) in before.as_object().expect("an object") {
            assert_eq!(after.get(key), Some(value), "{folder}: {key}");
        }
    }
}

#[test]
fn missing_optional_keys_have_the_defaults_of_transformers() {
    let config = with(json!({})).expect("a minimal config");
    let expected = Gpt2Config {
        vocab_size: 97,
        n_positions: 64,
        n_embd: 20,
        n_layer: 3,
        n_head: 4,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    assert_eq!(config, expected);
    assert_eq!(config.inner_size(), 80);
    let large = with(json!({"vocab_size": 50257})).expect("GPT-2's vocabulary");
    assert_eq!(
        (large.bos_token_id, large.eos_token_id),
        (Some(50256), Some(TokenIds::One(50256)))
    );
}

#[test]
fn several_tokens_may_end_a_text() {
    for (given, expected) in [
        (json!(7), vec![7]),
        (json!([7, 9]), vec![7, 9]),
        (json!([]), vec![]),
    ] {
        let config = with(json!({"eos_token_id": given})).expect("ids");
        let ids = config.eos_token_id.as_ref().expect("given").as_slice();
        assert_eq!(ids, expected);
        let written: Value = serde_json::from_str(&config.to_json().expect("valid")).expect("JSON");
        assert_eq!(written["eos_token_id"], given, "written back as it was");
    }
}

#[test]
fn every_spelling_of_an_activation() {
    for (name, expected) in [
        ("gelu_new", Activation::GeluNew),
        ("gelu_pytorch_tanh", Activation::GeluNew),
        ("gelu", Activation::Gelu),
        ("relu", Activation::Relu),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("tanh", Activation::Tanh),
    ] {
        let config = with(json!({"activation_function": name})).expect(name);
        assert_eq!(config.activation_function, expected);
    }
}

#[test]
fn the_other_names_of_sizes_are_read() {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 97, "max_position_embeddings": 64, "hidden_size": 20,
            "num_hidden_layers": 3, "num_attention_heads": 4}"#,
    )
    .expect("aliases");
    assert_eq!((config.n_positions, config.n_embd), (64, 20));
    assert_eq!((config.n_layer, config.n_head), (3, 4));
}

#[test]
fn missing_keys_are_named() {
    for key in ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"] {
        let mut config = small();
        config.as_object_mut().expect("an object").remove(key);
        assert_eq!(
            Gpt2Config::from_json(&config.to_string()),
            Err(ConfigError::MissingKey { key })
        );
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "3",
        "{\"vocab_size\": 1e999}",
        "\u{0}",
    ] {
        let error = Gpt2Config::from_json(text).expect_err(text);
        assert!(matches!(error, ConfigError::Json { .. }), "{text}: {error}");
    }
}

#[test]
fn sizes_out_of_bounds_are_refused_by_name() {
    for key in [
        "vocab_size",
        "n_positions",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
    ] {
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("8"),
            json!(true),
            json!([8]),
            json!(1u64 << 40),
            json!(u64::MAX),
            json!(1e30),
        ] {
            refused(
                json!({key: value}),
                &[&format!("`{key}`"), &value.to_string(), "expected"],
            );
        }
    }
    for key in ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"] {
        refused(
            json!({key: null}),
            &[&format!("`{key}`"), "null", "expected"],
        );
    }
}

#[test]
fn numbers_out_of_bounds_are_refused_by_name() {
    for (key, values) in [
        (
            "layer_norm_epsilon",
            vec![json!(0), json!(-1e-5), json!(1), json!("1e-5"), json!(null)],
        ),
        (
            "resid_pdrop",
            vec![json!(-0.1), json!(1), json!(1.5), json!("0.1"), json!(null)],
        ),
        ("embd_pdrop", vec![json!(-0.1), json!(1.0), json!(true)]),
        ("attn_pdrop", vec![json!(-0.1), json!(1.0), json!([])]),
        (
            "initializer_range",
            vec![json!(-0.02), json!("0.02"), json!(null)],
        ),
    ] {
        for value in values {
            refused(json!({key: value}), &[&format!("`{key}`"), "expected"]);
        }
    }
    for key in ["resid_pdrop", "embd_pdrop", "attn_pdrop"] {
        with(json!({key: 0})).expect("no dropout");
    }
}

#[test]
fn unknown_values_are_refused_by_name() {
    for (keys, names) in [
        (
            json!({"activation_function": "mish"}),
            ["`activation_function`", "mish", "gelu_new"],
        ),
        (
            json!({"activation_function": ["relu"]}),
            ["`activation_function`", "relu", "string"],
        ),
        (
            json!({"model_type": "gpt_neo"}),
            ["`model_type`", "gpt_neo", "gpt2"],
        ),
        (
            json!({"scale_attn_weights": "yes"}),
            ["`scale_attn_weights`", "yes", "true or false"],
        ),
        (
            json!({"scale_attn_by_inverse_layer_idx": 1}),
            ["idx`", "1", "true or false"],
        ),
        (
            json!({"reorder_and_upcast_attn": null}),
            ["_attn`", "null", "true or false"],
        ),
        (
            json!({"tie_word_embeddings": 0}),
            ["`tie_word_embeddings`", "0", "true or false"],
        ),
        (
            json!({"add_cross_attention": true}),
            ["`add_cross_attention`", "true", "false"],
        ),
        (
            json!({"is_encoder_decoder": true}),
            ["`is_encoder_decoder`", "true", "false"],
        ),
        (
            json!({"bos_token_id": -1}),
            ["`bos_token_id`", "-1", "token id"],
        ),
        (
            json!({"eos_token_id": [1, "2"]}),
            ["`eos_token_id`", "[1,\"2\"]", "token id"],
        ),
        (
            json!({"pruned_heads": {"0": [1]}}),
            ["`pruned_heads`", "[1]", "none"],
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            ["`quantization_config`", "4", "none"],
        ),
    ] {
        refused(keys, &names);
    }
    let harmless = json!({"pruned_heads": {}, "quantization_config": null, "architectures": ["X"]});
    with(harmless).expect("nothing asked for");
}

#[test]
fn contradictions_are_refused_by_name() {
    for (keys, names) in [
        (json!({"n_head": 3}), ["`n_embd` 20", "`n_head` 3"]),
        (
            json!({"n_ctx": 32}),
            ["`n_ctx` is 32", "`n_positions` is 64"],
        ),
        (
            json!({"hidden_size": 21}),
            ["`hidden_size` is 21", "`n_embd` is 20"],
        ),
        (
            json!({"num_hidden_layers": 2}),
            ["`num_hidden_layers` is 2", "`n_layer` is 3"],
        ),
        (
            json!({"num_attention_heads": 5}),
            ["`num_attention_heads` is 5", "`n_head` is 4"],
        ),
        (
            json!({"max_position_embeddings": "a"}),
            ["`max_position_embeddings`", "`n_positions`"],
        ),
    ] {
        refused(keys, &names);
    }
}

/// Nothing is computed from these, and such a token never comes.
#[test]
fn an_id_beyond_the_vocabulary_is_kept() {
    let keys = json!({"bos_token_id": 97, "eos_token_id": 50256});
    let config = with(keys).expect("a configuration");
    assert_eq!(config.eos_token_id, Some(bsbr_gpt2::TokenIds::One(50256)));
    let text = config.to_json().expect("a text");
    assert!(text.contains("50256"), "{text}");
}

#[test]
fn huge_configurations_are_refused_or_cost_nothing() {
    let huge = 1 << 24;
    refused(
        json!({"vocab_size": huge, "n_embd": huge, "n_head": 1, "n_inner": 1}),
        &["parameters"],
    );
    refused(json!({"n_layer": 1 << 20}), &["`n_layer`"]);
    // 200 GB of weights: accepted, and free until something is loaded into them.
    let large = json!({"vocab_size": huge, "n_embd": 2048, "n_positions": huge / 2, "n_layer": 12});
    let model = Gpt2::zeros(&with(large).expect("large"), &Device::default()).expect("large");
    assert_eq!(model.wte.weight.lazy_shape().to_vec(), [huge, 2048]);
    assert!(!model.wte.weight.is_initialized());
}

#[test]
fn a_configuration_built_by_hand_is_checked_too() {
    let config = Gpt2Config {
        n_head: 0,
        ..config("base")
    };
    assert!(matches!(
        Gpt2::zeros(&config, &Device::default()),
        Err(ConfigError::OutOfBounds { key: "n_head", .. })
    ));
    let config = Gpt2Config {
        layer_norm_epsilon: f64::NAN,
        ..crate::common::config("base")
    };
    assert!(matches!(
        config.validate(),
        Err(ConfigError::Unsupported {
            key: "layer_norm_epsilon",
            ..
        })
    ));
}

#[test]
fn arms_are_written_and_read_again() {
    let arm = ArmConfig::Moments(MomentsConfig {
        chunk_size: 16,
        ..Default::default()
    });
    let mut config = config("base").with_arm(arm.clone());
    config.bsbr.as_mut().expect("arms").layers[1] = ArmConfig::DENSE;
    let read = Gpt2Config::from_json(&config.to_json().expect("json")).expect("arms");
    assert_eq!(read, config);
    assert_eq!(
        (read.arm(0), read.arm(1), read.arm(2)),
        (arm.clone(), ArmConfig::DENSE, arm)
    );
}

#[test]
fn a_model_has_the_arms_of_its_blocks() {
    let device = Device::default();
    let mut model = Gpt2::zeros(&config("base"), &device).expect("a model");
    assert_eq!(model.config(), config("base"));
    let arm: ArmConfig = "moments:clusters=4".parse().expect("an arm");
    let other = Gpt2::zeros(&config("base").with_arm(arm.clone()), &device).expect("a model");
    model.h[1].attn.bsbr = other.h[1].attn.bsbr.clone();
    let found = model.config();
    let arms = [0, 1, 2].map(|layer| found.arm(layer));
    assert_eq!(arms, [ArmConfig::DENSE, arm, ArmConfig::DENSE]);
}

#[test]
fn wrong_arms_are_refused_by_name() {
    let dense = json!({"arm": "dense"});
    let layers = |third: Value| json!({"bsbr": {"version": 1, "layers": [dense, dense, third]}});
    with(layers(dense.clone())).expect("dense");
    for (third, names) in [
        (json!({"arm": "sliding"}), ["bsbr.layers[2]", "sliding"]),
        (
            json!({"arm": "moments", "chunk": 8}),
            ["bsbr.layers[2]", "chunk"],
        ),
        (
            json!({"arm": "dense", "chunk_size": 8}),
            ["bsbr.layers[2]", "chunk_size"],
        ),
        (
            json!({"arm": "moments", "chunk_size": 0}),
            ["bsbr.layers[2]", "`chunk_size` is 0"],
        ),
        (json!({"chunk_size": 8}), ["bsbr.layers[2]", "arm"]),
        (json!(7), ["bsbr.layers[2]", "7"]),
    ] {
        refused(layers(third), &names);
    }
    for (bsbr, names) in [
        (
            json!({"version": 2, "layers": [dense, dense, dense]}),
            ["bsbr.version", "2"],
        ),
        (
            json!({"version": 1, "layers": [dense]}),
            ["bsbr.layers", "`n_layer` is 3"],
        ),
        (json!({"version": 1, "layers": [], "x": 1}), ["`bsbr`", "x"]),
        (
            json!({"layers": [dense, dense, dense]}),
            ["`bsbr`", "version"],
        ),
        (json!([]), ["`bsbr`", "expected"]),
    ] {
        refused(json!({"bsbr": bsbr}), &names);
    }
}
