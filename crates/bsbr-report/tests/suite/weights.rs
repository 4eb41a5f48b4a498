//! Rounded weights beside those that were not: what is measured, and what is said of it.

use std::path::Path;

use bsbr_gpt2::ProductType;
use bsbr_report::experiment::Experiment;
use bsbr_report::experiments;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::runner::identity;
use bsbr_report::spec::{Overrides, Spec, parse_spec, read_arms};

use crate::tiny;

const WEIGHTS: &str = r#"
experiment = "weights"
title = "Weights"
question = "What does rounding cost?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_sizes = [8]
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
[quantities]
"seconds" = { title = "seconds", style = "digits 3", better = "less" }
"milliseconds" = { title = "ms", style = "digits 3", better = "less" }
"speedup" = { title = "speed-up", style = "fixed 2", better = "more" }
"bytes" = { title = "MiB", style = "mebibytes", better = "less" }
"kl" = { title = "KL", style = "digits 3", better = "less" }
"top1" = { title = "top-1", style = "percent 2", better = "more" }
"cosine" = { title = "cosine", style = "fixed 5", better = "more" }
"loss" = { title = "nats", style = "digits 4", better = "less" }
"perplexity.by_dense" = { title = "perplexity ÷ dense", style = "fixed 4", better = "less" }
"among" = { title = "right answers", style = "percent 1", better = "more" }
"#;

fn spec(text: &str) -> Spec {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arms.toml");
    std::fs::write(&path, tiny::ARMS).unwrap();
    let arms = read_arms(&path).unwrap();
    let path = Path::new("weights.toml");
    parse_spec(path, text, &arms, &Overrides::default()).unwrap()
}

fn measured(experiment: &dyn Experiment, lab: &Lab) -> Vec<Measurement> {
    let units = experiment.units(lab).unwrap();
    let run = |unit| experiment.run_unit(unit, lab).unwrap();
    units.iter().flat_map(run).collect()
}

#[test]
fn every_row_is_measured_beside_the_weights_as_they_are() {
    let experiment = experiments::build(&spec(WEIGHTS)).unwrap();
    let all = measured(&*experiment, &tiny::lab());
    let of = |arm: &str, quantity: &str| -> Vec<f64> {
        let own = all.iter().filter(|one| one.arm == arm);
        own.filter_map(|one| one.values.get(quantity).copied())
            .collect()
    };
    for row in ["dense", "dense-int8", "moments", "moments-int8"] {
        // Two lengths and a context, in two rounds each.
        assert_eq!(of(row, "seconds").len(), 6, "{row}");
        assert_eq!(of(row, "speedup").len(), 6, "{row}");
        assert_eq!(of(row, "kl").len(), 2, "{row}");
        assert_eq!(of(row, "among").len(), 1, "{row}");
    }
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
    let verdicts = experiment.verdicts(&Records::default());
    assert_eq!(verdicts.len(), 1);
}

#[test]
fn settings_that_are_none_are_refused() {
    for (old, new) in [
        (r#"["f32", "int8"]"#, r#"["f32", "int3"]"#),
        (r#"["f32", "int8"]"#, "[]"),
        ("candidates = 4", "candidates = 1"),
        ("lengths = [16, 24]", "lengths = []"),
    ] {
        let error = experiments::build(&spec(&WEIGHTS.replace(old, new)));
        assert!(error.is_err(), "{new}");
    }
}

/// Records of a lab with rounded weights are others, and its arms share what is packed.
#[test]
fn a_lab_with_rounded_weights_is_another() {
    let plain = tiny::lab();
    let spec = spec(WEIGHTS);
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
