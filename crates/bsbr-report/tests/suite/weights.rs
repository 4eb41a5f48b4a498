//! Rounded weights compared with the originals: what is measured, and what the section says.

use bsbr_gpt2::{PositionExtension, ProductType};
use bsbr_report::experiment::Experiment;
use bsbr_report::experiments;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::runner::identity;

use crate::definitions::{answer, closeness, first, holds, loss, question};
use crate::tiny;

pub const WEIGHTS: &str = r#"
experiment = "weights"
title = "Weights"
question = "What does rounding cost?"
order = 1
seed = 1
arms = ["dense", "local"]
chunk_size = 8
[settings]
weights = ["f32", "int8"]
lengths = [16, 24]
context = 20
length = 48
distance = 30
candidates = 4
extension = { repeat_last = { window = 64 } }
[counts]
runs = 2
texts = 2
questions = 1
per_unit = 1
"#;

fn measured(experiment: &dyn Experiment, lab: &Lab) -> Vec<Measurement> {
    let units = experiment.units(lab).unwrap();
    let run = |unit| experiment.run_unit(unit, lab).unwrap();
    units.iter().flat_map(run).collect()
}

#[test]
fn every_row_is_measured_beside_the_weights_as_they_are() {
    let (lab, spec) = (tiny::lab(), tiny::spec(WEIGHTS));
    let experiment = experiments::build(&spec).unwrap();
    let all = measured(&*experiment, &lab);
    let of = |arm: &str, quantity: &str| -> Vec<f64> {
        let own = all.iter().filter(|one| one.arm == arm);
        own.filter_map(|one| one.values.get(quantity).copied())
            .collect()
    };
    for row in ["dense", "dense-int8", "local", "local-int8"] {
        // Two lengths and a context, in two rounds each.
        assert_eq!(of(row, "seconds").len(), 6, "{row}");
        assert_eq!(of(row, "speedup").len(), 6, "{row}");
        assert_eq!(of(row, "kl").len(), 2, "{row}");
        assert_eq!(of(row, "among").len(), 1, "{row}");
    }
    let extension = PositionExtension::RepeatLast { window: 64 };
    let arm = spec.arm("local").unwrap();
    let plain = lab.model_for_any_length(arm, 1, extension).unwrap();
    let rounded = plain.clone().with_packed_weights(ProductType::Int8);
    let ids = lab.corpus().text(1, "tale", 0, 48).unwrap();
    let (question, _) = question(&lab, 30, 4);
    for (id, model) in [("local", plain), ("local-int8", rounded.unwrap())] {
        let one = first(&all, id, "tale");
        holds(one, closeness(lab.dense(), &model, &ids));
        let (own, dense) = (loss(&model, &ids), loss(lab.dense(), &ids));
        let ratio = (own - dense).exp();
        holds(one, [("loss", own), ("perplexity.by_dense", ratio)]);
        let [among, ..] = answer(&model, &question);
        holds(first(&all, id, "storybook questions"), [among]);
    }
    // Of each block 32 to 96, 32 to 32, 32 to 128 and 128 to 32, with biases; and the vocabulary.
    let numbers = 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128) + tiny::tokenizer().vocab_size() * 32;
    let biases = 2 * (96 + 32 + 128 + 32);
    let bytes = |id: &str| of(id, "bytes");
    assert!(
        bytes("local")
            .iter()
            .all(|&found| found == (4 * (numbers + biases)) as f64)
    );
    // A byte of each, and for each output a bias, a step and a sum, with room for padding.
    let outputs = biases + tiny::tokenizer().vocab_size();
    let sound = |found: &f64| (numbers as f64..(numbers + 16 * outputs) as f64).contains(found);
    assert!(
        bytes("local-int8").iter().all(sound),
        "{numbers}: {:?}",
        bytes("local-int8")
    );
    assert!(of("dense", "kl").iter().all(|kl| *kl < 1e-6));
    assert!(of("dense-int8", "kl").iter().all(|kl| *kl > 1e-7));
    assert_eq!(of("dense", "perplexity.by_dense"), [1.0, 1.0]);
    let ratios = of("dense-int8", "perplexity.by_dense");
    assert!(
        ratios
            .iter()
            .all(|one| *one != 1.0 && (one - 1.0).abs() < 0.2)
    );
    assert!(of("dense-int8", "bytes")[0] < 0.5 * of("dense", "bytes")[0]);

    let subjects = experiment.subjects();
    let labels: Vec<&str> = subjects.iter().map(|one| one.label.as_str()).collect();
    assert!(labels[0].ends_with(", f32") && labels[1].ends_with(", int8"));
    assert!(experiment.render(&Records::default()).is_ok());
}

#[test]
fn settings_that_are_none_are_refused() {
    for (old, new) in [
        (r#"["f32", "int8"]"#, r#"["f32", "int3"]"#),
        (r#"["f32", "int8"]"#, "[]"),
        ("candidates = 4", "candidates = 1"),
        ("lengths = [16, 24]", "lengths = []"),
    ] {
        let error = experiments::build(&tiny::spec(&WEIGHTS.replace(old, new)));
        assert!(error.is_err(), "{new}");
    }
}

/// A lab with rounded weights has records of its own, and its arms share the packed weights.
#[test]
fn a_lab_with_rounded_weights_is_another() {
    let plain = tiny::lab();
    let spec = tiny::spec(WEIGHTS);
    let lab = tiny::lab().with_weights(Some(ProductType::Int8)).unwrap();
    let [of_plain, of_lab] = [&plain, &lab].map(|lab| identity(&spec, lab).unwrap());
    assert_ne!(of_plain, of_lab);
    assert_eq!(of_lab.weights.as_deref(), Some("int8"));
    let text = serde_json::to_string(&of_plain).unwrap();
    assert!(!text.contains("weights"), "{text}");

    for arm in &spec.method.arms {
        let model = lab.model(arm, 1).unwrap();
        assert_eq!(model.products(), Some(ProductType::Int8), "{}", arm.id);
        assert_eq!(model.packed_bytes(), lab.dense().packed_bytes());
    }
    let experiment = experiments::build(&spec).unwrap();
    for one in measured(&*experiment, &lab) {
        assert!(one.missing["*"].contains("--weights"), "{one:?}");
    }
}
