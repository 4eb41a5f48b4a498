//! Density: shares that can be counted by hand are what the definition of an arm says.

use std::path::Path;

use bsbr_report::experiments;
use bsbr_report::record::Measurement;
use bsbr_report::spec::{Overrides, Spec, parse_spec, read_arms};

use crate::tiny;

const DENSITY: &str = r#"
experiment = "density"
title = "Density"
question = "How dense?"
order = 1
seed = 1
arms = ["dense", "moments", "summaries", "local", "published"]
chunk_sizes = [16]
[settings]
lengths = [12, 80, 200]
threshold = 0.01
rows = 8
[counts]
texts = 5
"#;

fn spec() -> Spec {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arms.toml");
    std::fs::write(&path, tiny::ARMS).unwrap();
    let arms = read_arms(&path).unwrap();
    parse_spec(
        Path::new("density.toml"),
        &tiny::presented(DENSITY),
        &arms,
        &Overrides::default(),
    )
    .unwrap()
}

#[test]
fn shares_are_those_of_the_definition() {
    let (lab, spec) = (tiny::lab(), spec());
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 15, "five domains at three lengths");
    let all: Vec<Measurement> = units
        .iter()
        .filter(|unit| unit.source == "tale")
        .flat_map(|unit| experiment.run_unit(unit, &lab).unwrap())
        .collect();
    let of = |arm: &str, length: usize| {
        all.iter()
            .find(|one| one.arm == arm && one.length == length)
            .unwrap()
    };
    for arm in &spec.method.arms {
        let reason = &of(&arm.id, 200).missing["*"];
        assert!(reason.contains("96"), "{reason}");
        for length in [12, 80] {
            let values = &of(&arm.id, length).values;
            let dense = (length * (length + 1)) as f64 / 2.0;
            // How many tokens are looked up depends on the sizes of a layer's clusters.
            if arm.id != "moments" {
                let expected = arm.config.exact_pairs(length) / dense;
                assert!((values["exact"] - expected).abs() < 1e-6, "{}", arm.id);
                assert_eq!(values["exact"], values["layer.01.exact"]);
            }
            assert!(values["scored"] >= values["exact"]);
            for quantity in ["above", "effective"] {
                let value = values[quantity];
                assert!(value > 0.0 && value <= 1.0, "{} {quantity}", arm.id);
            }
        }
    }
    // Four clusters of each far chunk beside the tokens near by.
    let summaries = &of("summaries", 80).values;
    assert!(summaries["scored"] > summaries["exact"] && summaries["scored"] < 1.0);
    // Tokens that are looked up are computed exactly, beside the near ones.
    let moments = &of("moments", 80).values;
    assert!(moments["exact"] > summaries["exact"] && moments["exact"] < 1.0);
    // What fits into the near field is dense.
    assert_eq!(
        of("local", 12).values["effective"],
        of("dense", 12).values["effective"]
    );
}
