//! Sweeps: what is measured at each value, and what is said of it.

use std::path::Path;

use bsbr_report::experiments;
use bsbr_report::overview::Overview;
use bsbr_report::record::Measurement;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::{Plan, differences, reproduce};
use bsbr_report::runner::Nobody;
use bsbr_report::spec::{Overrides, Spec, parse_spec, read_arms};

use crate::tiny;

const SWEEP: &str = r#"
experiment = "chunk-size"
title = "Chunk size"
question = "How large?"
order = 1
seed = 1
arms = ["dense"]
[[sweep]]
of = "moments"
parameter = "chunk_size"
values = [8, 16, 128]
[settings]
length = 120
distance = 30
candidates = 4
extension = { repeat_last = { window = 64 } }
[counts]
texts = 5
questions = 2
per_unit = 2
"#;

fn spec() -> Spec {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arms.toml");
    std::fs::write(&path, tiny::ARMS).unwrap();
    let arms = read_arms(&path).unwrap();
    parse_spec(
        Path::new("sweep.toml"),
        &tiny::presented(SWEEP),
        &arms,
        &Overrides::default(),
    )
    .unwrap()
}

#[test]
fn each_value_is_measured_on_texts_and_questions() {
    let (lab, spec) = (tiny::lab(), spec());
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 6, "five domains and the questions");
    let all: Vec<Measurement> = units
        .iter()
        .flat_map(|unit| experiment.run_unit(unit, &lab).unwrap())
        .collect();
    assert_eq!(all.len(), 4 * (5 + 2));
    let of = |arm: &str, quantity: &str| -> Vec<f64> {
        let own = all.iter().filter(|one| one.arm == arm);
        own.filter_map(|one| one.values.get(quantity).copied())
            .collect()
    };
    for arm in &spec.method.arms {
        assert_eq!(of(&arm.id, "kl").len(), 5, "{}", arm.id);
        assert_eq!(of(&arm.id, "speedup").len(), 5);
        assert_eq!(of(&arm.id, "among").len(), 2);
    }
    // A chunk of 128 holds all of 120 tokens but the sinks: nothing is far, nothing is lost.
    for exact in ["dense", "moments-chunk_size-128"] {
        assert!(of(exact, "kl").iter().all(|&kl| kl < 1e-9), "{exact}");
        assert_eq!(of(exact, "among"), of("dense", "among"));
    }
    assert!(of("moments-chunk_size-8", "kl").iter().all(|&kl| kl > 1e-9));
    assert_eq!(of("moments-chunk_size-128", "cache")[0], 1.0);
}

#[test]
fn the_section_sets_values_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        specs: vec![spec()],
        only: Vec::new(),
        reported: Reported::default(),
        overview: Overview::default(),
        command: "a test".to_owned(),
        commit: None,
    };
    reproduce(&plan, &tiny::lab(), folder.path(), &mut Nobody).unwrap();
    assert_eq!(
        differences(&plan, &tiny::lab(), folder.path()).unwrap(),
        Vec::<std::path::PathBuf>::new()
    );
    let file = folder.path().join("chunk-size.md");
    let text = std::fs::read_to_string(&file).unwrap();
    for part in [
        "moments, chunk size 8",
        "Relative to the first value",
        "| 1.00 |",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // Overviews show arms, not the values of their settings.
    let index = std::fs::read_to_string(folder.path().join("index.md")).unwrap();
    assert!(!index.contains("chunk size 8"), "{index}");
    // A file that was changed by hand is found.
    std::fs::write(&file, text.replace("1.00", "9.99")).unwrap();
    let found = differences(&plan, &tiny::lab(), folder.path()).unwrap();
    assert_eq!(found, [file]);
}
