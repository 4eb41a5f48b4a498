//! Loading, saving and conversion of models.

use std::fs;

use bsbr_convert::{
    Companion, FloatType, LoadOptions, SaveError, SaveOptions, load_model, save_model,
};
use bsbr_files::FileError;
use bsbr_gpt2::parameters::replace_tensors;
use burn::tensor::{DType, Device, TensorData};

use crate::support::{assert_close, expected, fixture, load, logits, values};

#[test]
fn loaded_models_give_the_logits_of_transformers() {
    let expected = expected();
    for (name, tolerance) in [
        ("single", 1e-5),
        ("bare", 1e-5),
        ("sharded", 1e-5),
        ("pickle_zip", 1e-5),
        ("pickle_legacy", 1e-5),
        ("f64", 1e-5),
        // The weights themselves are rounded, to 11 and to 8 bits.
        ("f16", 4e-3),
        ("pickle_sharded", 4e-3),
        ("bf16", 3e-2),
        ("pickle_protocol4", 3e-2),
    ] {
        let model = load(fixture(name)).model;
        assert_close(
            &logits(&model, &expected.tokens),
            &expected.logits,
            tolerance,
        );
    }
    let untied = load(fixture("untied")).model;
    assert_close(
        &logits(&untied, &expected.tokens),
        &expected.untied_logits,
        1e-5,
    );
}

#[test]
fn the_report_says_what_was_read() {
    let loaded = load(fixture("pickle_protocol4"));
    assert_eq!(loaded.report.loaded["BF16"], 28);
    assert_eq!(loaded.report.loaded.len(), 1);
    assert_eq!(loaded.report.ignored.len(), 4);
    assert_eq!(loaded.config.n_layer, 2);
    assert_eq!(loaded.folder.root(), fixture("pickle_protocol4"));
}

#[test]
fn weights_can_be_rounded_to_half_precision() {
    let mut options = LoadOptions::on(&Device::default());
    options.dtype = Some(FloatType::Bf16);
    let model = load_model(fixture("single"), &options).unwrap().model;
    assert_eq!(model.wte.weight.val().dtype(), DType::BF16);
    assert_eq!(model.ln_f.bias.val().dtype(), DType::BF16);
}

/// Matrices keep their stored type where the device multiplies them as they are; asked for f32,
/// they are f32.
#[test]
fn stored_half_precision_stays_where_it_costs_nothing() {
    let device = Device::default();
    for (name, stored) in [
        ("f16", DType::F16),
        ("bf16", DType::BF16),
        ("pickle_sharded", DType::F16),
        ("pickle_protocol4", DType::BF16),
        ("single", DType::F32),
        ("f64", DType::F32),
    ] {
        let kept = match bsbr_kernels::fuses_mixed_matmul(&device) {
            true => stored,
            false => DType::F32,
        };
        let single = LoadOptions {
            dtype: Some(FloatType::F32),
            ..LoadOptions::on(&device)
        };
        let training = LoadOptions::on(&device.clone().autodiff());
        for (options, expected) in [
            (LoadOptions::on(&device), kept),
            (single, DType::F32),
            (training, DType::F32),
        ] {
            let model = load_model(fixture(name), &options).unwrap().model;
            let block = &model.h[1];
            for matrix in [
                &model.wte.weight,
                &model.wpe.weight,
                &block.attn.c_attn.weight,
                &block.mlp.c_proj.weight,
            ] {
                assert_eq!(matrix.val().dtype(), expected, "{name}");
            }
            for vector in [&model.ln_f.bias, &block.ln_1.weight, &block.mlp.c_fc.bias] {
                assert_eq!(vector.val().dtype(), DType::F32, "{name}");
            }
        }
    }
}

/// The numbers are the same however they are held.
#[test]
fn half_precision_gives_what_the_same_numbers_give_as_f32() {
    let expected = expected();
    for name in ["f16", "bf16", "pickle_sharded", "pickle_protocol4"] {
        let single = LoadOptions {
            dtype: Some(FloatType::F32),
            ..LoadOptions::on(&Device::default())
        };
        let single = load_model(fixture(name), &single).unwrap().model;
        let kept = load(fixture(name)).model;
        assert_eq!(values(&kept), values(&single), "{name}");
        let [kept, single] = [kept, single].map(|model| logits(&model, &expected.tokens));
        assert_close(&kept, &single, 1e-5);
    }
}

#[test]
fn a_saved_model_loads_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["single", "untied", "f16", "bf16"] {
        let loaded = load(fixture(name));
        for dtype in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
            // Rounding twice to the same type changes nothing more.
            let exact = dtype == FloatType::F32
                || name == "f16" && dtype == FloatType::F16
                || name == "bf16" && dtype == FloatType::Bf16;
            let out = folder.path().join(format!("{name}-{dtype:?}"));
            let options = SaveOptions {
                dtype,
                ..SaveOptions::default()
            };
            save_model(&loaded.model, &out, &options).unwrap();
            let again = load(&out);
            if exact {
                assert_eq!(values(&again.model), values(&loaded.model));
            }
            let third = folder.path().join(format!("{name}-{dtype:?}-again"));
            save_model(&again.model, &third, &options).unwrap();
            assert_eq!(
                fs::read(out.join("model.safetensors")).unwrap(),
                fs::read(third.join("model.safetensors")).unwrap()
            );
        }
    }
}

#[test]
fn a_saved_folder_is_what_transformers_expects() {
    let folder = tempfile::tempdir().unwrap();
    let source = crate::support::copy("single");
    fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
    let loaded = load(source.path());
    let out = folder.path().join("deep/out");
    let options = SaveOptions {
        dtype: FloatType::F16,
        companions: loaded.folder.companions(),
        ..SaveOptions::default()
    };
    save_model(&loaded.model, &out, &options).unwrap();
    assert_eq!(
        fs::read_to_string(out.join("tokenizer.json")).unwrap(),
        "{}"
    );
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert!(header.is_multiple_of(8));
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let original = fs::read(fixture("single").join("model.safetensors")).unwrap();
    let original = safetensors::SafeTensors::deserialize(&original).unwrap();
    let mut names = original.names();
    names.sort_unstable();
    let mut saved = metadata.offset_keys();
    saved.sort();
    assert_eq!(saved, names);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "float16");
    assert_eq!(config["architectures"][0], "GPT2LMHeadModel");
    // Nothing else was left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn the_element_type_is_renamed_where_the_configuration_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = crate::support::copy("single");
    let path = source.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen('{', r#"{"dtype": "float32","#, 1)).unwrap();
    let options = SaveOptions {
        dtype: FloatType::Bf16,
        ..SaveOptions::default()
    };
    let out = folder.path().join("out");
    save_model(&load(source.path()).model, &out, &options).unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["dtype"], "bfloat16");
    assert!(config.get("torch_dtype").is_none());
}

#[test]
fn a_card_goes_with_a_model_unless_the_user_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = load(fixture("single")).model;
    let saved = |name: &str, companions: Vec<Companion>| {
        let out = folder.path().join(name);
        let options = SaveOptions {
            card: Some("a card".to_owned()),
            companions,
            ..SaveOptions::default()
        };
        save_model(&model, &out, &options).unwrap();
        fs::read_to_string(out.join("README.md")).unwrap()
    };
    assert_eq!(saved("a", Vec::new()), "a card");
    let own = folder.path().join("README.md");
    fs::write(&own, "written by hand").unwrap();
    assert_eq!(saved("b", vec![own.into()]), "written by hand");
    // A folder with anything in it is not written to at all.
    let taken = folder.path().join("c");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("README.md"), "mine").unwrap();
    let options = SaveOptions {
        card: Some("a card".to_owned()),
        ..SaveOptions::default()
    };
    assert!(save_model(&model, &taken, &options).is_err());
    assert_eq!(fs::read_to_string(taken.join("README.md")).unwrap(), "mine");
}

#[test]
fn what_cannot_be_saved_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let model = load(fixture("single")).model;
    let changed = |value: f32| {
        replace_tensors(model.clone(), |name, shape| {
            (name == "h.1.ln_2.bias").then(|| TensorData::new(vec![value; 4], shape.to_vec()))
        })
    };
    let f16 = SaveOptions {
        dtype: FloatType::F16,
        ..SaveOptions::default()
    };
    match save_model(&changed(70000.0), path.join("a"), &f16) {
        Err(SaveError::OutOfRange { tensor, found, .. }) => {
            assert_eq!(tensor, "transformer.h.1.ln_2.bias");
            assert_eq!(found, 70000.0);
        }
        other => panic!("{other:?}"),
    }
    match save_model(&changed(f32::NAN), path.join("a"), &f16) {
        Err(SaveError::NonFinite { tensors }) => {
            assert_eq!(tensors, ["transformer.h.1.ln_2.bias"]);
        }
        other => panic!("{other:?}"),
    }
    let lost = SaveOptions {
        companions: vec![path.join("tokenizer.json").into()],
        ..SaveOptions::default()
    };
    match save_model(&model, path.join("a"), &lost) {
        Err(SaveError::Io { path, .. }) => assert!(path.ends_with("tokenizer.json")),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    let allowed = SaveOptions {
        allow_non_finite: true,
        ..SaveOptions::default()
    };
    save_model(&changed(f32::NAN), path.join("a"), &allowed).unwrap();
}

#[test]
fn a_place_that_is_taken_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let model = load(fixture("single")).model;
    let options = SaveOptions::default();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    for out in [folder.path(), file.as_path()] {
        let result = save_model(&model, out, &options);
        assert!(
            matches!(result, Err(SaveError::Output(FileError::Occupied { .. }))),
            "{result:?}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let below = save_model(&model, file.join("out"), &options);
    assert!(
        matches!(below, Err(SaveError::Output(FileError::Io { .. }))),
        "{below:?}"
    );
    assert!(matches!(
        save_model(&model, "..", &options),
        Err(SaveError::Output(
            FileError::NoName { .. } | FileError::Occupied { .. }
        ))
    ));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    save_model(&model, &empty, &options).unwrap();
    load(&empty);
}
