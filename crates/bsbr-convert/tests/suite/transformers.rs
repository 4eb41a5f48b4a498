//! Every arm compared with its second implementation, the Python code in converted folders; and
//! what `transformers` finds in such a folder.

use std::collections::HashMap;
use std::fs;

use bsbr_convert::{ConversionPlan, ModelFolder, SaveOptions, convert, save_model};
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use bsbr_gpt2::{GenerationConfig, Gpt2, TokenBatch};
use burn::tensor::{Device, TensorData};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::support::{fixture, load};

/// What `generate.py` wrote.
#[derive(Deserialize)]
struct Cases {
    rows: Vec<Vec<u32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    layers: Vec<bsbr_convert::ArmConfig>,
    continuations: Vec<Vec<u32>>,
}

type Numbers = HashMap<String, Vec<f32>>;

fn numbers(file: &str) -> Numbers {
    let bytes = fs::read(fixture("transformers").join(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let of = |data: &[u8]| {
        let all = data.as_chunks::<4>().0.iter();
        all.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let tensors = tensors.iter();
    tensors
        .map(|(name, tensor)| (name.to_owned(), of(tensor.data())))
        .collect()
}

/// The model of a case.
fn model(case: &Case, own: &Numbers) -> Gpt2 {
    let folder = fixture("transformers");
    let weights = load(&folder).model;
    let config = weights.config().with_arms(case.layers.clone());
    let mut tensors = HashMap::new();
    visit_tensors(&weights, |name, data| {
        tensors.insert(name.to_owned(), data);
    });
    let model = Gpt2::zeros(&config, &Device::default()).unwrap();
    let mut left = own.keys().filter(|key| belongs(key, case)).count();
    let model = replace_tensors(model, |name, shape| {
        if let Some(found) = own.get(&format!("{}/{name}", case.name)) {
            left -= 1;
            return Some(TensorData::new(found.clone(), shape.to_vec()));
        }
        Some(tensors[name].clone())
    });
    assert_eq!(left, 0, "{}: parameters that no arm has", case.name);
    model
}

fn belongs(key: &str, case: &Case) -> bool {
    key.split_once('/')
        .is_some_and(|(name, _)| name == case.name)
}

/// Calls `test` with each case, its model and its logits, row after row.
fn each(test: impl Fn(&Cases, &Case, &Gpt2, &[f32])) {
    let text = fs::read_to_string(fixture("transformers/cases.json")).unwrap();
    let cases: Cases = serde_json::from_str(&text).unwrap();
    let (own, expected) = (numbers("own.safetensors"), numbers("expected.safetensors"));
    assert_eq!(cases.cases.len(), expected.len());
    for case in &cases.cases {
        test(&cases, case, &model(case, &own), &expected[&case.name]);
    }
}

/// Of the largest logit: sums in another order.
const TOLERANCE: f32 = 1e-4;

fn assert_same(case: &Case, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{}", case.name);
    let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= TOLERANCE * largest,
            "{}: {found} for {expected}",
            case.name
        );
    }
}

fn values(logits: burn::tensor::Tensor<3>) -> Vec<f32> {
    logits.into_data().try_into_vec::<f32>().unwrap()
}

#[test]
fn every_arm_gives_what_it_gives_in_transformers() {
    each(|cases, case, model, expected| {
        let batch = TokenBatch::padded(&cases.rows).unwrap();
        let vocabulary = model.config().vocab_size;
        let logits = values(model.logits(model.hidden_states(&batch).unwrap()));
        let width = batch.seq_len() * vocabulary;
        let found: Vec<f32> = logits
            .chunks(width)
            .zip(&cases.rows)
            .flat_map(|(all, row)| &all[width - row.len() * vocabulary..])
            .copied()
            .collect();
        assert_same(case, &found, expected);
    });
}

#[test]
fn pieces_of_any_size_give_what_transformers_gives() {
    each(|cases, case, model, expected| {
        let mut found = Vec::new();
        for row in &cases.rows {
            let mut cache = model.new_cache();
            let mut rest = row.as_slice();
            for size in [3, 1, 1, 9, 1, 2, 7, 1].into_iter().cycle() {
                let (piece, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                let batch = TokenBatch::single(piece).unwrap();
                let states = model.forward_cached(&batch, &mut cache).unwrap();
                found.extend(values(model.logits(states)));
                if rest.is_empty() {
                    break;
                }
            }
        }
        assert_same(case, &found, expected);
    });
}

#[test]
fn padded_prompts_are_continued_token_for_token() {
    each(|cases, case, model, _| {
        let config = GenerationConfig {
            max_new_tokens: case.continuations[0].len(),
            temperature: 0.0,
            ..GenerationConfig::default()
        };
        let prompts = TokenBatch::padded(&cases.rows).unwrap();
        let found = model.generate(&prompts, &config).unwrap();
        assert_eq!(found, case.continuations, "{}", case.name);
    });
}

fn converted(arm: &str, out: &std::path::Path) {
    let model = load(fixture("single")).model;
    let plan = ConversionPlan::parse(arm, None).unwrap();
    let model = convert(model, &plan).unwrap();
    save_model(&model, out, &SaveOptions::default()).unwrap();
}

fn json(folder: &std::path::Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

#[test]
fn a_folder_holds_the_code_of_its_arms_and_a_dense_one_none() {
    let place = tempfile::tempdir().unwrap();
    let [arm, dense] = ["arm", "dense"].map(|name| place.path().join(name));
    converted("moments:chunk_size=2,clusters=2", &arm);
    let config = json(&arm);
    assert_eq!(config["model_type"], "bsbr_gpt2");
    assert_eq!(config["architectures"][0], "BsbrGpt2LMHeadModel");
    for (_, class) in config["auto_map"].as_object().unwrap() {
        let (module, class) = class.as_str().unwrap().split_once('.').unwrap();
        let code = fs::read_to_string(arm.join(format!("{module}.py"))).unwrap();
        assert!(code.contains(&format!("class {class}(")), "{class}");
    }

    let opened = load(&arm);
    let plan = ConversionPlan::parse("dense", None).unwrap();
    let options = SaveOptions {
        companions: ModelFolder::open(&arm).unwrap().companions(),
        ..SaveOptions::default()
    };
    save_model(&convert(opened.model, &plan).unwrap(), &dense, &options).unwrap();
    let config = json(&dense);
    assert_eq!(config["model_type"], "gpt2");
    assert_eq!(config["architectures"][0], "GPT2LMHeadModel");
    assert!(config.get("auto_map").is_none());
    let python = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|end| end == "py");
    let entries = fs::read_dir(&dense).unwrap().map(Result::unwrap);
    assert_eq!(entries.filter(python).count(), 0);
}

/// Folders of before have the model type of a GPT-2.
#[test]
fn an_older_folder_opens_as_it_did() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    converted("moments:chunk_size=2,clusters=2", &out);
    let mut config = json(&out);
    config["model_type"] = "gpt2".into();
    config.as_object_mut().unwrap().remove("auto_map");
    fs::write(out.join("config.json"), config.to_string()).unwrap();
    assert_eq!(load(&out).model.config().arm(1).name(), "moments");
}
