//! Linear layers stored in 8 bits.

use std::fs;
use std::path::Path;

use bsbr_convert::{
    ConversionPlan, FloatType, LoadError, LoadOptions, LoadedModel, SaveError, SaveOptions,
    check_output, convert, load_model, save_model,
};
use bsbr_gpt2::{Gpt2, Gpt2Config, ProductType};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use tempfile::TempDir;

use crate::allocations::peak;
use crate::support::{assert_close, load, logits, message, values};

const FILE: &str = "model-int8.safetensors";
const NUMBERS: &str = "transformer.h.0.attn.c_attn.weight_int8";
const STEPS: &str = "transformer.h.0.attn.c_attn.weight_scale";

fn model() -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 90, "n_positions": 32, "n_embd": 36, "n_layer": 2, "n_head": 2}"#,
    )
    .unwrap();
    Gpt2::init(&config, 1, &Device::default()).unwrap()
}

fn saved(model: &Gpt2, dtype: FloatType, int8: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions {
        dtype,
        weights: int8.then_some(ProductType::Int8),
        ..SaveOptions::default()
    };
    save_model(model, folder.path(), &options).unwrap();
    folder
}

fn load_as(folder: &Path, dtype: Option<FloatType>, in_place: bool) -> LoadedModel {
    let options = LoadOptions {
        dtype,
        in_place,
        ..LoadOptions::on(&Device::default())
    };
    load_model(folder, &options).unwrap()
}

fn ids() -> Vec<u32> {
    (0..31).map(|id| id * 7 % 90).collect()
}

fn has_int8() -> bool {
    bsbr_kernels::fuses_mixed_matmul(&Device::default())
}

#[test]
fn a_folder_in_8_bits_computes_what_the_weights_packed_in_memory_do() {
    if !has_int8() {
        return;
    }
    let plan = ConversionPlan::parse("moments:chunk_size=8,near_chunks=1,clusters=2", None);
    let moments = convert(model(), &plan.unwrap()).unwrap();
    for model in [model(), moments] {
        let folder = saved(&model, FloatType::F32, true);
        let packed = model.with_packed_weights(ProductType::Int8).unwrap();
        for in_place in [true, false] {
            let found = load_as(folder.path(), None, in_place);
            assert_eq!(found.model.packed_bytes(), packed.packed_bytes());
            assert!(logits(&found.model, &ids()) == logits(&packed, &ids()));
            assert_eq!(found.report.loaded["I8"], 8);
        }
        // What is packed so already is not packed again.
        let found = load(folder.path()).model;
        let again = found.with_packed_weights(ProductType::Int8).unwrap();
        assert!(logits(&again, &ids()) == logits(&packed, &ids()));
    }
}

#[test]
fn in_floating_point_it_is_the_rounded_weights() {
    let original = model();
    let folder = saved(&original, FloatType::F32, true);
    let found = load_as(folder.path(), Some(FloatType::F32), true).model;
    assert_eq!(found.packed_bytes(), 0);
    for ((name, found), (_, expected)) in values(&found).iter().zip(values(&original)) {
        let rounded = name.ends_with("c_attn.weight") || name.ends_with("mlp.c_fc.weight");
        assert!(!rounded || *found != expected, "{name}");
        assert_close(found, &expected, 0.005);
    }
    // Saved in floating point again, it is any folder.
    let plain = saved(&found, FloatType::F32, false);
    assert!(!plain.path().join(FILE).exists());
    let config = fs::read_to_string(plain.path().join("config.json")).unwrap();
    assert!(!config.contains("bsbr_weights"), "{config}");
    assert_eq!(values(&load(plain.path()).model), values(&found));
}

#[test]
fn what_is_no_matrix_of_a_linear_layer_has_the_type_that_was_asked_for() {
    let folder = saved(&model(), FloatType::Bf16, true);
    let header = header(&fs::read(folder.path().join(FILE)).unwrap());
    let dtype = |name: &str| header[name]["dtype"].as_str().unwrap().to_owned();
    assert_eq!(dtype("transformer.wte.weight"), "BF16");
    assert_eq!(dtype("transformer.h.1.ln_2.bias"), "BF16");
    assert_eq!([dtype(NUMBERS), dtype(STEPS)], ["I8", "F32"]);
    assert_eq!(header[NUMBERS]["shape"], serde_json::json!([36, 108]));
    assert_eq!(header[STEPS]["shape"], serde_json::json!([108]));
    assert!(header.get("transformer.h.0.attn.c_attn.weight").is_none());
}

/// Loading takes the packed form, and no copy of the file.
#[test]
fn the_file_is_mapped() {
    if !has_int8() {
        return;
    }
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 64, "n_positions": 8, "n_embd": 128, "n_layer": 2, "n_head": 2}"#,
    )
    .unwrap();
    let model = Gpt2::init(&config, 1, &Device::default()).unwrap();
    let folder = saved(&model, FloatType::F32, true);
    let matrices = 2 * 12 * 128 * 128;
    let (loaded, own) = peak(|| load_as(folder.path(), None, true));
    let packed = loaded.model.packed_bytes();
    assert!(own < packed + matrices / 2, "{own} bytes, {packed} packed");
}

/// The header of a file.
fn header(bytes: &[u8]) -> Value {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

/// Puts bytes at the start of a tensor.
fn overwrite(folder: &Path, name: &str, new: &[u8]) {
    let path = folder.join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let start = header(&bytes)[name]["data_offsets"][0].as_u64().unwrap() as usize;
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[data + start..][..new.len()].copy_from_slice(new);
    fs::write(&path, bytes).unwrap();
}

/// Puts other words of the same length into the header.
fn rename(folder: &Path, old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let path = folder.join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(old.len())
        .position(|part| part == old.as_bytes())
        .unwrap();
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    fs::write(&path, bytes).unwrap();
}

fn refusal(folder: &Path) -> String {
    message(load_model(folder, &LoadOptions::on(&Device::default())))
}

#[test]
fn damaged_files_are_refused_by_name() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &[&str]); 8] = [
        (
            "a step that is no number",
            |folder| overwrite(folder, STEPS, &f32::NAN.to_le_bytes()),
            &[STEPS, "NaN"],
        ),
        (
            "a step below zero",
            |folder| overwrite(folder, STEPS, &(-1.0_f32).to_le_bytes()),
            &[STEPS, "-1", "from 0 on"],
        ),
        (
            "a number that rounding does not give",
            |folder| overwrite(folder, NUMBERS, &[0x80]),
            &[NUMBERS, "-128", "-127 to 127"],
        ),
        (
            "numbers of another type",
            |folder| rename(folder, r#""dtype":"I8""#, r#""dtype":"U8""#),
            &["weight_int8", "is U8, expected I8"],
        ),
        (
            "steps that are missing",
            |folder| rename(folder, "c_attn.weight_scale", "c_attn.weight_scalf"),
            &["missing", "h.0.attn.c_attn.weight_scale", "weight_scalf"],
        ),
        (
            "numbers that are missing",
            |folder| rename(folder, "c_attn.weight_int8", "c_attn.weight_int4"),
            &["missing", "h.0.attn.c_attn.weight_int8", "weight_int4"],
        ),
        (
            "another shape",
            |folder| rename(folder, r#""shape":[36,108]"#, r#""shape":[108,36]"#),
            &["h.0.attn.c_attn.weight_int8", "[108, 36]", "[36, 108]"],
        ),
        (
            "a file that is cut short",
            |folder| {
                let bytes = fs::read(folder.join(FILE)).unwrap();
                fs::write(folder.join(FILE), &bytes[..bytes.len() - 9]).unwrap();
            },
            &[FILE, "bytes"],
        ),
    ];
    for (what, damage, parts) in cases {
        let folder = saved(&model(), FloatType::F32, true);
        damage(folder.path());
        let error = refusal(folder.path());
        for part in parts {
            assert!(error.contains(part), "{what}: {part} in {error}");
        }
    }
}

#[test]
fn configuration_and_file_must_agree() {
    let int8 = saved(&model(), FloatType::F32, true);
    let plain = saved(&model(), FloatType::F32, false);
    let config = |folder: &TempDir| folder.path().join("config.json");
    let texts = [&int8, &plain].map(|folder| fs::read_to_string(config(folder)).unwrap());
    let [of_int8, of_plain] = &texts;

    fs::write(config(&int8), of_plain).unwrap();
    let error = refusal(int8.path());
    assert!(error.contains("has nothing as `bsbr_weights`"), "{error}");
    assert!(error.contains(FILE), "{error}");

    fs::write(config(&int8), of_int8.replace("\"int8\"", "\"int2\"")).unwrap();
    assert!(refusal(int8.path()).contains("int2"));

    fs::write(config(&plain), of_int8).unwrap();
    let error = refusal(plain.path());
    assert!(error.contains("weights of another type"), "{error}");
    let options = LoadOptions::on(&Device::default());
    let error = load_model(plain.path(), &options).map(|_| ());
    assert!(matches!(error, Err(LoadError::WeightForm { .. })));
}

struct Infinite;

impl ModuleMapper for Infinite {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor * f32::INFINITY)
    }
}

#[test]
fn weights_of_other_products_are_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    for products in [ProductType::F32, ProductType::Bf16, ProductType::Int4] {
        let options = SaveOptions {
            weights: Some(products),
            ..SaveOptions::default()
        };
        for error in [
            check_output(&model(), folder.path(), &options),
            save_model(&model(), folder.path(), &options),
        ] {
            assert!(
                matches!(error, Err(SaveError::NotStored { .. })),
                "{error:?}"
            );
        }
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn what_8_bits_cannot_hold_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions {
        weights: Some(ProductType::Int8),
        allow_non_finite: true,
        ..SaveOptions::default()
    };
    let error = save_model(&model().map(&mut Infinite), folder.path(), &options);
    assert!(matches!(error, Err(SaveError::NotInt8 { .. })), "{error:?}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}
