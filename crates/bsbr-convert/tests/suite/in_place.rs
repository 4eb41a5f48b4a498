//! Weights that stay in the mapped file.

use std::fs;
use std::path::Path;

use bsbr_convert::{FloatType, LoadOptions, LoadedModel, SaveOptions, load_model, save_model};
use bsbr_gpt2::{Gpt2, Gpt2Config};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};

use crate::allocations::peak;
use crate::support::{copy, expected, fixture, load, logits, tensors, values};

/// Numbers of the model below, about.
const NUMBERS: usize = 2000 * 64 + 2 * 12 * 64 * 64;

/// A checkpoint so large that weights are most of what loading it takes.
fn save(folder: &Path, dtype: FloatType) {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 2000, "n_positions": 8, "n_embd": 64, "n_layer": 2, "n_head": 2}"#,
    )
    .unwrap();
    let model = Gpt2::init(&config, 1, &Device::default()).unwrap();
    let options = SaveOptions {
        dtype,
        ..SaveOptions::default()
    };
    save_model(&model, folder, &options).unwrap();
}

fn load_with(folder: &Path, dtype: Option<FloatType>, in_place: bool) -> (LoadedModel, usize) {
    let options = LoadOptions {
        dtype,
        in_place,
        ..LoadOptions::on(&Device::default())
    };
    peak(|| load_model(folder, &options).unwrap())
}

/// What is loaded as it is stored takes no memory of the process's own, and gives what a copy does.
#[test]
fn what_is_stored_as_it_is_wanted_is_not_copied() {
    // Other devices have memory of their own.
    if !bsbr_kernels::fuses_mixed_matmul(&Device::default()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (dtype, name, size) in [
        (FloatType::F32, "f32", 4),
        (FloatType::F16, "f16", 2),
        (FloatType::Bf16, "bf16", 2),
    ] {
        let path = folder.path().join(name);
        save(&path, dtype);
        let (model, in_place) = load_with(&path, None, true);
        let (copied, own) = load_with(&path, None, false);
        assert!(own > NUMBERS * size, "{name}: a copy of {own} bytes");
        assert!(in_place < own / 8, "{name}: {in_place} bytes for {own}");
        assert_eq!(tensors(&model.model), tensors(&copied.model));
        assert_eq!(model.report, copied.report);
        let tokens = [1, 1999, 3, 4, 5, 6, 7, 8];
        let [model, copied] = [model, copied].map(|loaded| logits(&loaded.model, &tokens));
        assert_eq!(model, copied, "{name}");
    }
}

/// A type that is asked for costs a copy, one tensor at a time: never the stored one beside it.
#[test]
fn what_is_wanted_otherwise_is_copied_tensor_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f16");
    save(&path, FloatType::F16);
    let (model, bytes) = load_with(&path, Some(FloatType::F32), true);
    let largest = 2000 * 64 * 4;
    assert!(bytes < NUMBERS * 4 + largest + largest / 4, "{bytes} bytes");
    assert_eq!(model.report.loaded["F16"], 28);
}

/// A header of any length moves the tensors to where no f32 may lie.
#[test]
fn tensors_that_lie_askew_are_copied() {
    for name in ["single", "bf16"] {
        let expected_logits = logits(&load(fixture(name)).model, &expected().tokens);
        for more in 1..4 {
            let folder = copy(name);
            let path = folder.path().join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            let (length, rest) = bytes.split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let (header, data) = rest.split_at(length as usize);
            let mut moved = (length + more).to_le_bytes().to_vec();
            moved.extend_from_slice(header);
            moved.resize(moved.len() + more as usize, b' ');
            moved.extend_from_slice(data);
            fs::write(&path, moved).unwrap();
            let found = load(folder.path()).model;
            assert_eq!(
                logits(&found, &expected().tokens),
                expected_logits,
                "{more}"
            );
        }
    }
}

/// Who changes a model changes a copy.
#[test]
fn the_file_is_not_written_to() {
    struct Double;
    impl ModuleMapper for Double {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor * 2.0)
        }
    }
    for name in ["single", "f16"] {
        let folder = copy(name);
        let path = folder.path().join("model.safetensors");
        let before = fs::read(&path).unwrap();
        let model = load(folder.path()).model;
        let original = values(&model);
        // Nobody else holds the tensors, so that Burn may compute in place.
        let doubled = values(&model.map(&mut Double));
        for ((name, original), (_, doubled)) in original.iter().zip(&doubled) {
            let expected: Vec<f32> = original.iter().map(|value| 2.0 * value).collect();
            assert_eq!(*doubled, expected, "{name}");
        }
        assert!(fs::read(&path).unwrap() == before, "{name}");
        assert_eq!(values(&load(folder.path()).model), original);
    }
}

/// A model outlives the folder that it came from, as it does one whose file another replaces.
#[test]
#[cfg(unix)]
fn a_model_outlives_its_folder() {
    let folder = copy("single");
    let loaded = load(folder.path()).model;
    let before = logits(&loaded, &expected().tokens);
    folder.close().unwrap();
    assert_eq!(logits(&loaded, &expected().tokens), before);
}
