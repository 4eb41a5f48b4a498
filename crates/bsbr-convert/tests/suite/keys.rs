//! Names and shapes of tensors compared with a configuration.

use std::collections::BTreeMap;
use std::path::Path;

use bsbr_convert::keys::{Weights, tensors};
use bsbr_convert::{Checkpoint, LoadError, LoadOptions, load_model};
use bsbr_gpt2::Gpt2Config;
use burn::tensor::Device;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::allocations::peak;
use crate::support::{copy, fixture};

type State = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn state(name: &str) -> State {
    let bytes = std::fs::read(fixture(name).join("model.safetensors")).unwrap();
    SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), tensor)
        })
        .collect()
}

fn write(state: &State, path: &Path) {
    let views = state.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Loads the fixture after its state dict has been changed.
fn load_changed(name: &str, change: impl FnOnce(&mut State)) -> Result<(), LoadError> {
    let folder = copy(name);
    let mut state = state(name);
    change(&mut state);
    write(&state, &folder.path().join("model.safetensors"));
    load_model(folder.path(), &LoadOptions::on(&Device::default())).map(|_| ())
}

#[test]
fn everything_that_does_not_fit_is_named_at_once() {
    let error = load_changed("single", |state| {
        state.remove("transformer.h.1.mlp.c_fc.bias");
        state.remove("transformer.wpe.weight");
        let extra = state["transformer.ln_f.bias"].clone();
        state.insert("score.weight".into(), extra.clone());
        state.insert("transformer.h.2.ln_1.bias".into(), extra);
        state.get_mut("transformer.wte.weight").unwrap().1 = vec![4, 11];
    });
    let Err(LoadError::Keys(report)) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(report.missing, ["wpe.weight", "h.1.mlp.c_fc.bias"]);
    assert_eq!(report.unexpected, ["h.2.ln_1.bias", "score.weight"]);
    assert_eq!(report.misshapen.len(), 1);
    assert_eq!(report.misshapen[0].name, "wte.weight");
    assert_eq!(report.misshapen[0].expected, [11, 4]);
    assert_eq!(report.misshapen[0].found, [4, 11]);
    let message = error.unwrap_err().to_string();
    for word in ["wpe.weight", "score.weight", "[4, 11]", "[11, 4]"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn unexpected_tensors_of_a_block_may_be_allowed() {
    let folder = copy("single");
    let mut state = state("single");
    state.insert(
        "transformer.h.0.attn.gate".into(),
        state["transformer.ln_f.bias"].clone(),
    );
    write(&state, &folder.path().join("model.safetensors"));
    let mut options = LoadOptions::on(&Device::default());
    assert!(load_model(folder.path(), &options).is_err());
    options.allow_unexpected = true;
    let loaded = load_model(folder.path(), &options).unwrap();
    assert_eq!(loaded.report.unexpected, ["h.0.attn.gate"]);
}

/// Classifiers, value heads and the like are GPT-2 with something beside it.
#[test]
fn other_heads_are_left_out_and_named() {
    let folder = copy("single");
    let mut state = state("single");
    let heads = [
        "classifier.bias",
        "multiple_choice_head.summary.weight",
        "score.weight",
        "transformer.prompt",
        "v_head.summary.bias",
    ];
    for head in heads {
        state.insert(head.into(), state["transformer.ln_f.bias"].clone());
    }
    write(&state, &folder.path().join("model.safetensors"));
    let options = LoadOptions::on(&Device::default());
    let loaded = load_model(folder.path(), &options).unwrap();
    let left_out: Vec<&str> = heads
        .iter()
        .map(|name| name.trim_start_matches("transformer."))
        .collect();
    let mut found = loaded.report.unexpected.clone();
    found.sort();
    let mut expected = left_out;
    expected.sort_unstable();
    assert_eq!(found, expected);
    let plain = load_model(copy("single").path(), &options).unwrap();
    assert_eq!(loaded.report.loaded, plain.report.loaded);
}

#[test]
fn numbers_that_cannot_be_computed_with_are_refused() {
    let folder = copy("single");
    let changed = |value: f32| {
        let mut state = state("single");
        let table = state.get_mut("transformer.wte.weight").unwrap();
        table.2[..4].copy_from_slice(&value.to_le_bytes());
        write(&state, &folder.path().join("model.safetensors"));
        load_model(folder.path(), &LoadOptions::on(&Device::default()))
    };
    for value in [1e30, -1e30, 1.9e19] {
        match changed(value) {
            Err(LoadError::TooLarge { tensors }) => assert_eq!(tensors, ["wte.weight"]),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        changed(f32::INFINITY),
        Err(LoadError::NonFinite { .. })
    ));
    assert!(changed(1e18).is_ok());
}

#[test]
fn a_prefix_on_some_names_only_is_refused() {
    let error = load_changed("single", |state| {
        let tensor = state.remove("transformer.h.0.ln_1.bias").unwrap();
        state.insert("h.0.ln_1.bias".into(), tensor);
    });
    match error {
        Err(LoadError::MixedPrefix { with, without }) => {
            assert_eq!(with, "transformer.h.0.attn.c_attn.bias");
            assert_eq!(without, "h.0.ln_1.bias");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tied_output_layer_must_be_the_embeddings() {
    let tied = |state: &mut State| {
        let table = state["transformer.wte.weight"].clone();
        state.insert("lm_head.weight".into(), table);
    };
    load_changed("single", tied).unwrap();
    let error = load_changed("single", |state| {
        tied(state);
        state.get_mut("lm_head.weight").unwrap().2[0] ^= 1;
    });
    assert!(matches!(error, Err(LoadError::NotTied)), "{error:?}");
    let error = load_changed("untied", |state| {
        state.remove("lm_head.weight");
    });
    match error {
        Err(LoadError::Keys(report)) => assert_eq!(report.missing, ["lm_head.weight"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_must_be_floating_point_numbers() {
    let error = load_changed("single", |state| {
        let tensor = state.get_mut("transformer.ln_f.bias").unwrap();
        *tensor = (Dtype::I32, vec![4], vec![0; 16]);
    });
    match error {
        Err(LoadError::ElementType { tensor, found, .. }) => {
            assert_eq!(tensor, "transformer.ln_f.bias");
            assert_eq!(found, "I32");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_that_are_not_finite_are_named_unless_allowed() {
    let folder = copy("single");
    let mut state = state("single");
    for (name, value) in [
        ("transformer.ln_f.bias", f32::NAN),
        ("transformer.h.1.ln_2.weight", f32::NEG_INFINITY),
    ] {
        let bytes = &mut state.get_mut(name).unwrap().2;
        bytes[4..8].copy_from_slice(&value.to_le_bytes());
    }
    write(&state, &folder.path().join("model.safetensors"));
    let mut options = LoadOptions::on(&Device::default());
    match load_model(folder.path(), &options) {
        Err(LoadError::NonFinite { mut tensors }) => {
            tensors.sort();
            assert_eq!(tensors, ["h.1.ln_2.weight", "ln_f.bias"]);
        }
        other => panic!("{other:?}"),
    }
    options.allow_non_finite = true;
    let loaded = load_model(folder.path(), &options).unwrap();
    assert_eq!(loaded.report.non_finite.len(), 2);
}

#[test]
fn a_configuration_that_asks_for_too_much_is_refused_before_it_is_built() {
    let folder = copy("single");
    for (key, value) in [
        ("n_layer", "4096"),
        ("vocab_size", "16000000"),
        ("n_positions", "16000000"),
        ("n_inner", "16000000"),
    ] {
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(fixture("single").join("config.json")).unwrap())
                .unwrap();
        config[key] = value.parse::<u64>().unwrap().into();
        std::fs::write(&path, config.to_string()).unwrap();
        let start = std::time::Instant::now();
        let (result, bytes) =
            peak(|| load_model(folder.path(), &LoadOptions::on(&Device::default())));
        assert!(
            matches!(result, Err(LoadError::Keys(_))),
            "{key}: {result:?}"
        );
        assert!(bytes < 4 << 20, "{key}: {bytes} bytes");
        assert!(start.elapsed().as_secs() < 5, "{key}");
    }
}

#[test]
fn the_names_are_those_of_transformers() {
    let names = |config: &Gpt2Config| -> Vec<String> {
        let mut names: Vec<_> = tensors(config).map(|(name, _)| name).collect();
        names.sort();
        names
    };
    for (name, tied) in [("bare", true), ("untied", false)] {
        let folder = bsbr_convert::ModelFolder::open(fixture(name)).unwrap();
        let config = folder.config().unwrap();
        assert_eq!(config.tie_word_embeddings, tied);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let weights = Weights::new(&checkpoint).unwrap();
        let stored: Vec<_> = weights.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names(&config), stored);
    }
}
