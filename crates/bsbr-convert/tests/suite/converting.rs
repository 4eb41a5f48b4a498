//! Conversion from one arm to another.

use std::fs;

use bsbr_convert::{
    ConversionPlan, ConvertError, LoadError, LoadOptions, ModelCard, SaveError, SaveOptions,
    calibrate, convert, load_model, save_model, uncalibrated_layers,
};
use bsbr_gpt2::parameters::replace_tensors;
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use burn::tensor::{Device, Tensor, TensorData};

use crate::support::{assert_close, copy, expected, fixture, load, logits, tensors};

fn converted(arm: &str, layers: Option<&str>) -> Gpt2 {
    let plan = ConversionPlan::parse(arm, layers).unwrap();
    convert(load(fixture("single")).model, &plan).unwrap()
}

/// Three batches, one of them padded.
fn text() -> Vec<TokenBatch> {
    let rows = [[1u32, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2]];
    vec![
        TokenBatch::rows(&rows).unwrap(),
        TokenBatch::padded(&[vec![3u32, 1, 4, 1, 5, 9], vec![2, 6, 5, 3, 5, 8, 9]]).unwrap(),
        TokenBatch::single(&[10, 0, 10, 0, 3, 3, 1]).unwrap(),
    ]
}

#[test]
fn a_converted_model_has_its_arms_and_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let model = load(fixture("single")).model;
    let converted = converted("moments:chunk_size=2,clusters=2", Some("1=dense"));
    let arms = converted.config().bsbr.unwrap().layers;
    assert_eq!(arms[0].name(), "moments");
    assert_eq!(arms[1].name(), "dense");
    assert_eq!(converted.h[0].attn.bsbr.config(), &arms[0]);
    assert_eq!(tensors(&converted), tensors(&model));
    let out = folder.path().join("out");
    save_model(&converted, &out, &SaveOptions::default()).unwrap();
    let again = load(&out);
    assert_eq!(again.config.bsbr, converted.config().bsbr);
    assert_eq!(tensors(&again.model), tensors(&converted));
    let tokens = expected().tokens;
    assert_eq!(logits(&again.model, &tokens), logits(&converted, &tokens));
}

#[test]
fn a_model_of_one_chunk_is_the_original() {
    let expected = expected();
    for arm in ["local:chunk_size=8", "moments:chunk_size=8"] {
        let model = converted(arm, None);
        assert_close(&logits(&model, &expected.tokens), &expected.logits, 1e-5);
    }
    // Small chunks change something, or nothing was converted.
    let local = converted("local:chunk_size=1,near_chunks=0,sink_tokens=0", None);
    let found = logits(&local, &expected.tokens);
    assert!(
        found
            .iter()
            .zip(&expected.logits)
            .any(|(a, b)| (a - b).abs() > 0.01)
    );
}

#[test]
fn a_conversion_can_be_undone() {
    let model = converted("published:chunk_size=2", None);
    let dense = ConversionPlan::parse("dense", None).unwrap();
    let back = convert(model, &dense).unwrap();
    assert_eq!(tensors(&back), tensors(&load(fixture("single")).model));
    let expected = expected();
    assert_close(&logits(&back, &expected.tokens), &expected.logits, 1e-5);
}

#[test]
fn published_routing_starts_from_the_projections() {
    let folder = tempfile::tempdir().unwrap();
    let model = converted("published:chunk_size=2", None);
    let projection = &expected().tensors["h.1.attn.c_attn.weight"].1;
    let part = |row: usize, which: usize, column: usize| projection[row * 12 + which * 4 + column];
    let mean = |a: usize, b: usize| -> Vec<f32> {
        (0..16)
            .map(|i| (part(i / 4, a, i % 4) + part(i / 4, b, i % 4)) / 2.0)
            .collect()
    };
    let routing = model.h[1].attn.bsbr.routing.as_ref().unwrap();
    let values = |x: Tensor<2>| x.into_data().try_into_vec::<f32>().unwrap();
    assert_close(&values(routing.retrieval.weight.val()), &mean(0, 1), 1e-6);
    assert_close(&values(routing.summary.weight.val()), &mean(1, 2), 1e-6);

    let out = folder.path().join("out");
    save_model(&model, &out, &SaveOptions::default()).unwrap();
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = "transformer.h.1.attn.bsbr.routing.summary.bias";
    assert_eq!(file.tensor(name).unwrap().shape(), [4]);
    let again = load(&out).model;
    assert_eq!(tensors(&again), tensors(&model));
}

#[test]
fn layers_that_keep_their_arm_keep_what_it_learned() {
    let name = "h.0.attn.bsbr.routing.retrieval.bias";
    let learned = replace_tensors(converted("published:chunk_size=2", None), |found, shape| {
        (found == name).then(|| TensorData::new(vec![5f32; 4], shape.to_vec()))
    });
    let bias = |model: &Gpt2| -> Vec<u8> {
        let all = tensors(model).into_iter();
        all.filter(|(found, _)| found == name)
            .flat_map(|(_, bytes)| bytes)
            .collect()
    };
    let fives: Vec<u8> = [5f32; 4].iter().flat_map(|v| v.to_le_bytes()).collect();
    let again = |arm: &str| {
        let plan = ConversionPlan::parse(arm, Some("1=dense")).unwrap();
        convert(learned.clone(), &plan).unwrap()
    };
    assert_eq!(bias(&again("published:chunk_size=2")), fives);
    assert_ne!(bias(&again("published:chunk_size=4")), fives);
}

#[test]
fn what_moments_learns_starts_from_the_projections_and_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let plain = "moments:chunk_size=2,near_chunks=0,sink_tokens=0,clusters=2,state=true";
    let model = converted(
        &format!("{plain},learned=true"),
        Some("1=moments:chunk_size=2,near_chunks=0,sink_tokens=0,clusters=2,learned=true"),
    );
    let names: Vec<String> = tensors(&model)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.contains(".bsbr."))
        .collect();
    let of = |layer: usize, parts: &[&str]| -> Vec<String> {
        let name = |part: &&str| format!("h.{layer}.attn.bsbr.{part}");
        parts.iter().map(name).collect()
    };
    let routing = [
        "routing.retrieval.weight",
        "routing.retrieval.bias",
        "routing.summary.weight",
        "routing.summary.bias",
        "tuning.temperature",
        "tuning.bias",
        "tuning.gain",
    ];
    assert_eq!(names[..7], of(0, &routing));
    // Without a state there is nothing to route and nothing to scale.
    assert_eq!(names[7..], of(1, &["tuning.temperature", "tuning.bias"]));

    let projection = &expected().tensors["h.0.attn.c_attn.weight"].1;
    let part = |which: usize| -> Vec<f32> {
        (0..16)
            .map(|i| projection[i / 4 * 12 + which * 4 + i % 4])
            .collect()
    };
    let own = model.h[0].attn.bsbr.routing.as_ref().unwrap();
    let values = |x: Tensor<2>| x.into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(values(own.retrieval.weight.val()), part(0));
    assert_eq!(values(own.summary.weight.val()), part(1));

    let out = folder.path().join("out");
    save_model(&model, &out, &SaveOptions::default()).unwrap();
    let again = load(&out).model;
    assert_eq!(tensors(&again), tensors(&model));
    // A model that never learned has nothing of it, nor does its configuration speak of it.
    let text = converted(plain, None).config().to_json().unwrap();
    assert!(!text.contains("learned"), "{text}");
    let given = converted(plain, None).with_learned_retrieval();
    let all = converted(&format!("{plain},learned=true"), None);
    assert_eq!(tensors(&given), tensors(&all));
    assert_eq!(given.config(), all.config());
}

#[test]
fn a_plan_that_does_not_fit_the_model_is_refused() {
    let model = load(fixture("single")).model;
    let beyond = ConversionPlan::parse("dense", Some("2=local")).unwrap();
    assert!(convert(model.clone(), &beyond).is_err());
    let wrong = ConversionPlan::parse("moments:clusters=3", None).unwrap();
    let error = convert(model, &wrong).unwrap_err();
    assert!(error.to_string().contains("clusters"), "{error}");
}

#[test]
fn compressed_states_need_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let model = converted(
        "moments:chunk_size=2,near_chunks=0,sink_tokens=0,clusters=1,state=true,compression=4",
        Some("0=dense"),
    );
    assert_eq!(uncalibrated_layers(&model), [1]);
    match save_model(&model, folder.path().join("a"), &SaveOptions::default()) {
        Err(SaveError::NonFinite { tensors }) => assert_eq!(
            tensors,
            [
                "transformer.h.1.attn.bsbr.bases.key",
                "transformer.h.1.attn.bsbr.bases.value"
            ]
        ),
        other => panic!("{other:?}"),
    }
    match calibrate(model.clone(), &[]) {
        Err(ConvertError::Calibration { layer: 1, .. }) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
    let strange = [TokenBatch::single(&[11]).unwrap()];
    match calibrate(model.clone(), &strange) {
        Err(ConvertError::Input(_)) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }

    let model = calibrate(model, &text()).unwrap();
    assert!(uncalibrated_layers(&model).is_empty());
    let bases = model.h[1].attn.bsbr.bases.as_ref().unwrap();
    for basis in [bases.key.val(), bases.value.val()] {
        assert_eq!(basis.dims(), [2, 2, 1]);
        let products = basis.clone().swap_dims(1, 2).matmul(basis).into_data();
        assert_close(&products.try_into_vec::<f32>().unwrap(), &[1.0, 1.0], 1e-5);
    }
    let out = folder.path().join("out");
    save_model(&model, &out, &SaveOptions::default()).unwrap();
    let again = load(&out).model;
    assert_eq!(tensors(&again), tensors(&model));
    let found = logits(&again, &expected().tokens);
    assert!(found.iter().all(|v| v.is_finite()));
}

#[test]
fn each_layer_is_calibrated_on_what_the_layers_before_it_give() {
    let arm =
        "moments:chunk_size=2,near_chunks=0,sink_tokens=0,clusters=1,state=true,compression=4";
    let both = calibrate(converted(arm, None), &text()).unwrap();
    // The second layer alone, behind a first one that is set already.
    let first = both.h[0].attn.bsbr.clone();
    let mut second = converted(arm, None);
    second.h[0].attn.bsbr = first;
    let mut seen = bsbr_attention::Calibration::new(
        second.h[1].attn.bsbr.config(),
        second.config().head_shape(),
    )
    .unwrap();
    for batch in text() {
        let x = second.h[0].forward(second.embed(&batch, 0), batch.padding());
        let normed = second.h[1].ln_1.forward(x);
        seen.observe(&second.h[1].attn.project(normed, batch.padding()));
    }
    let alone = seen.bases(&Device::default()).unwrap();
    let found = both.h[1].attn.bsbr.bases.as_ref().unwrap();
    assert_eq!(alone.key.val().into_data(), found.key.val().into_data());
    assert_eq!(alone.value.val().into_data(), found.value.val().into_data());
}

#[test]
fn a_model_that_compresses_nothing_needs_no_text() {
    let model = converted("moments:chunk_size=2,clusters=2", None);
    assert!(uncalibrated_layers(&model).is_empty());
    let same = calibrate(model.clone(), &[]).unwrap();
    assert_eq!(tensors(&same), tensors(&model));
}

#[test]
fn arms_without_their_tensors_and_tensors_without_their_arm_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let model = converted("published:chunk_size=2", Some("0=dense"));
    save_model(&model, &out, &SaveOptions::default()).unwrap();

    let options = LoadOptions::on(&Device::default());
    let missing = copy("single");
    fs::copy(out.join("config.json"), missing.path().join("config.json")).unwrap();
    match load_model(missing.path(), &options) {
        Err(LoadError::Keys(report)) => {
            let names = [
                "retrieval.weight",
                "retrieval.bias",
                "summary.weight",
                "summary.bias",
            ]
            .map(|name| format!("h.1.attn.bsbr.routing.{name}"));
            let mut found = report.missing.clone();
            found.sort();
            let mut names = names.to_vec();
            names.sort();
            assert_eq!(found, names);
        }
        other => panic!("{other:?}"),
    }
    let config = fixture("single").join("config.json");
    fs::copy(config, out.join("config.json")).unwrap();
    match load_model(&out, &options) {
        Err(LoadError::Keys(report)) => assert_eq!(report.unexpected.len(), 4),
        other => panic!("{other:?}"),
    }
    // Without both, it is the original again.
    let allowed = LoadOptions {
        allow_unexpected: true,
        ..options
    };
    let original = load_model(&out, &allowed).unwrap().model;
    assert_eq!(tensors(&original), tensors(&load(fixture("single")).model));
}

#[test]
fn more_positions_are_saved_as_those_of_any_gpt2() {
    let folder = tempfile::tempdir().unwrap();
    let extension = PositionExtension::RepeatLast { window: 3 };
    let trained = load(fixture("single")).model.config().n_positions;
    let model = converted("moments:chunk_size=2,clusters=2", None);
    let model = model.extended(trained + 10, extension).unwrap();
    let card = ModelCard::default().to_markdown(&model.config());
    assert!(
        card.contains(&format!("with {} positions", trained + 10)),
        "{card}"
    );
    assert!(
        card.contains(&format!("trained with {trained} positions")),
        "{card}"
    );
    let out = folder.path().join("out");
    save_model(&model, &out, &SaveOptions::default()).unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["n_positions"], trained + 10);
    assert_eq!(
        config["bsbr"]["positions"]["extension"]["repeat_last"]["window"],
        3
    );
    let loaded = load(&out).model;
    assert_eq!(tensors(&loaded), tensors(&model));
    let ids: Vec<u32> = (0..trained as u32 + 10).map(|id| id % 11).collect();
    let long = TokenBatch::single(&ids).unwrap();
    let states = |model: &Gpt2| model.hidden_states(&long).unwrap().into_data();
    assert_eq!(states(&loaded), states(&model));
    // What undoes the arm leaves the table.
    let dense = convert(loaded, &ConversionPlan::parse("dense", None).unwrap()).unwrap();
    assert_eq!(
        dense.config().extended_positions(),
        model.config().extended_positions()
    );
    dense.hidden_states(&long).unwrap();
}
