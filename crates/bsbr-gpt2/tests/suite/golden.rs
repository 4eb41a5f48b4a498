//! Hidden states and logits equal those of `transformers`.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{
    GOLDENS, TOLERANCE, Tensors, assert_close, config, distance, floats, golden, load, logits,
    single,
};
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::{Device, TensorData};

#[test]
fn hidden_states_and_logits_are_those_of_transformers() {
    for (folder, _) in GOLDENS {
        let (model, golden) = (load(folder), golden(folder));
        let batch = golden.batch();
        let states = model.all_hidden_states(&batch).expect(folder);
        assert_eq!(states.len(), model.config().n_layer + 1);
        for (i, state) in states.iter().enumerate() {
            let expected = golden.floats(&format!("hidden.{i}"));
            assert_close(
                &floats(state.clone()),
                &expected,
                &format!("{folder}, state {i}"),
            );
        }
        let expected = golden.floats("logits");
        let last = states.last().expect("states").clone();
        assert_close(&floats(model.logits(last.clone())), &expected, folder);
        assert_close(&logits(&model, &batch), &expected, folder);

        let vocab_size = model.config().vocab_size;
        let last_expected: Vec<f32> = expected
            .chunks(batch.seq_len() * vocab_size)
            .flat_map(|row| row[row.len() - vocab_size..].to_vec())
            .collect();
        assert_close(&floats(model.last_logits(last)), &last_expected, folder);
    }
}

/// What the tolerance is worth: each flag alone moves the logits by more than ten times as much.
#[test]
fn every_flag_changes_the_numbers() {
    for (folder, weights) in GOLDENS.iter().filter(|(folder, weights)| folder != weights) {
        let change = distance(
            &golden(folder).floats("logits"),
            &golden(weights).floats("logits"),
        );
        assert!(change > 10.0 * TOLERANCE, "{folder} changes {change}");
    }
}

/// What the goldens are worth: without any one tensor, the logits are wrong.
#[test]
fn no_tensor_can_be_left_out() {
    for folder in ["base", "wide"] {
        let (model, golden) = (load(folder), golden(folder));
        let expected = golden.floats("logits");
        let mut names = Vec::new();
        visit_tensors(&model, |name, _| names.push(name.to_owned()));
        assert!(names.len() > 20);
        for name in names {
            let without = replace_tensors(model.clone(), |found, shape| {
                (found == name).then(|| TensorData::zeros::<f32, _>(shape.to_vec()))
            });
            let change = distance(&logits(&without, &golden.batch()), &expected);
            assert!(
                change > 10.0 * TOLERANCE,
                "{folder}: {name} changes {change}"
            );
        }
    }
}

#[test]
fn padded_rows_are_those_of_transformers_and_what_they_are_alone() {
    for folder in ["base", "wide"] {
        let (model, golden) = (load(folder), golden(folder));
        let vocab_size = model.config().vocab_size;
        let rows = golden.unpadded();
        let together = logits(&model, &TokenBatch::padded(&rows).expect("rows"));
        let expected = golden.floats("padded.logits");
        let seq_len = golden.ids("padded.ids")[0].len();
        for (row, ids) in rows.iter().enumerate() {
            let real = ids.len() * vocab_size;
            let end = (row + 1) * seq_len * vocab_size;
            let what = format!("{folder}, row {row}");
            assert_close(
                &together[end - real..end],
                &expected[end - real..end],
                &what,
            );
            let alone = logits(&model, &single(ids));
            assert_close(&together[end - real..end], &alone, &what);
        }
    }
}

#[test]
fn what_a_token_gets_does_not_depend_on_what_follows() {
    let (model, ids) = (load("base"), golden("base").ids("ids").remove(0));
    let before = logits(&model, &single(&ids));
    let vocab_size = model.config().vocab_size;
    for changed in 1..ids.len() {
        let mut other = ids.clone();
        other[changed] = (other[changed] + 1) % vocab_size as u32;
        let after = logits(&model, &single(&other));
        let past = changed * vocab_size;
        assert!(
            before[..past]
                .iter()
                .zip(&after[..past])
                .all(|(a, b)| a.to_bits() == b.to_bits()),
            "changing token {changed} reaches back"
        );
        assert!(distance(&before[past..], &after[past..]) > TOLERANCE);
    }
}

#[test]
fn the_same_numbers_with_gradients_tracked() {
    let device = Device::default().autodiff();
    let (model, golden) = (crate::common::load_on("base", &device), golden("base"));
    let hidden = model.hidden_states(&golden.batch()).expect("hidden");
    let logits = model.logits(hidden);
    assert_close(&floats(logits.clone()), &golden.floats("logits"), "logits");
    let gradients = logits.sum().backward();
    let bias = model.h[0].attn.c_attn.bias.val();
    assert!(
        bias.grad(&gradients).is_some(),
        "loaded weights are trainable"
    );
}

#[test]
fn a_fresh_model_is_the_same_for_the_same_seed() {
    let config = config("base");
    let device = Device::default();
    let weights = |seed| {
        let mut all = Vec::new();
        let model = Gpt2::init(&config, seed, &device).expect("config");
        visit_tensors(&model, |name, data| all.push((name.to_owned(), data)));
        all
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
    for (name, data) in weights(1) {
        let values: Vec<f32> = data.try_into_vec().expect("floats");
        let square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        let expected = match name.as_str() {
            name if name.ends_with("bias") => 0.0,
            name if name.contains("ln_") => 1.0,
            name if name.ends_with("c_proj.weight") => 0.02 / 6f32.sqrt(),
            _ => 0.02,
        };
        assert!(
            (square.sqrt() - expected).abs() <= 0.1 * expected,
            "{name}: {square}"
        );
    }
}

#[test]
fn tensors_have_the_names_and_shapes_of_transformers() {
    for (folder, weights) in [("base", "base"), ("wide", "wide")] {
        let stored = Tensors::read(&format!("{weights}/model.safetensors"));
        let mut expected: Vec<String> = stored.names();
        let mut found = Vec::new();
        let model = Gpt2::zeros(&config(folder), &Device::default()).expect(folder);
        visit_tensors(&model, |name, data| {
            found.push(name.to_owned());
            let stored = stored
                .get(&format!("transformer.{name}"))
                .or_else(|| stored.get(name))
                .unwrap_or_else(|| panic!("{name} is not stored"));
            assert_eq!(stored.shape().to_vec(), data.shape().to_vec(), "{name}");
        });
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
}
