//! The choice by length: which model reads what, and what the section says.

use std::path::PathBuf;

use bsbr_report::experiments;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{RECORDS, differences, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::section::{Block, Section};
use bsbr_report::spec::{Overrides, Spec};
use bsbr_report::store::Store;
use bsbr_report::verdict::Judgement;

use crate::common;
use crate::definitions::{closeness, holds};
use crate::tiny;

/// Where rounds for the crossover, and those after it, come from.
const SOURCES: [&str; 2] = ["rounds for the crossover", "rounds with the hybrid"];

pub const SPEC: &str = r#"
experiment = "hybrid"
title = "Hybrid"
question = "What for?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_size = 16
[settings]
lengths = [40, 60, 90]
slow_seconds = 100.0
tolerance = 0.1
[counts]
runs = 3
slow_runs = 1
texts = 5
"#;

/// Rounds that were never run, of which the dense model's take `dense` and the arm's `arm` seconds.
fn rounds(source: &str, length: usize, id: &str, seconds: f64) -> Vec<Measurement> {
    (0..3)
        .map(|round| {
            let mut one = Measurement::new(id, source, length, round);
            one.set("seconds", seconds * (0.99 + 0.01 * round as f64));
            one
        })
        .collect()
}

/// Rounds at the lengths of `SPEC` in which the arm takes `arm(tokens)` and dense tokens squared.
fn crossover(spec: &Spec, lengths: &[usize], arm: fn(f64) -> f64) -> Records {
    let all = lengths
        .iter()
        .flat_map(|&length| {
            let n = length as f64;
            let mut both = rounds(SOURCES[0], length, "dense", n * n);
            both.extend(rounds(SOURCES[0], length, &spec.method.arms[1].id, arm(n)));
            both
        })
        .collect();
    Records::new(vec![common::record(spec, "rounds", all, 3)])
}

#[test]
fn the_boundary_is_where_the_rounds_cross() {
    let (lab, spec) = (tiny::lab(), tiny::spec(SPEC));
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 3 + 3 + 3 * 5);
    let converted = lab.model(spec.arm("moments").unwrap(), 1).unwrap();
    // Times cross at 60 tokens exactly, between lengths, before all, and after all.
    for (arm, dense) in [
        ((|n| 60.0 * n) as fn(f64) -> f64, [true, true, false]),
        (|n| 75.0 * n, [true, true, false]),
        (|n| n, [false, false, false]),
        (|n| 900.0 * n, [true, true, true]),
    ] {
        let earlier = crossover(&spec, &[40, 60, 90], arm);
        for (&length, dense) in [40, 60, 90].iter().zip(dense) {
            let texts = units
                .iter()
                .filter(|unit| unit.length == length && !SOURCES.contains(&unit.source.as_str()));
            for unit in texts {
                let all = experiment.run_after(unit, &lab, &earlier).unwrap();
                let of = |id: &str| all.iter().find(|one| one.arm == id).unwrap();
                let (arm, hybrid) = (of("moments"), of("hybrid"));
                assert_eq!(hybrid.values["dense"] == 1.0, dense, "{length}");
                assert_eq!(of("dense").values["kl"], 0.0);
                // Chunks of 16: something is far at every length.
                assert!(arm.values["kl"] > 0.0);
                if unit.source == "tale" && unit.length == 90 {
                    let ids = lab.corpus().text(1, "tale", 0, 90).unwrap();
                    holds(arm, closeness(lab.dense(), &converted, &ids));
                }
                for quantity in ["kl", "top1", "cosine"] {
                    let same = if dense { of("dense") } else { arm };
                    assert_eq!(hybrid.values[quantity], same.values[quantity], "{quantity}");
                }
            }
        }
    }
    let unit = units.last().unwrap();
    let all = experiment.run_unit(unit, &lab).unwrap();
    let hybrid = all.iter().find(|one| one.arm == "hybrid").unwrap();
    assert!(hybrid.missing["*"].contains("never timed"));
}

#[test]
fn all_take_turns_after_the_choice() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let plan = tiny::plan(tiny::spec(SPEC));
    reproduce(&plan, &lab, folder.path(), &mut NoObserver).unwrap();
    let records = Store::new(folder.path().join(RECORDS))
        .all("hybrid")
        .unwrap();
    let of = |source: &str| -> Vec<&Measurement> {
        let all = records.measurements();
        all.filter(|one| one.source == source).collect()
    };
    assert_eq!(of(SOURCES[0]).len(), 3 * 3 * 2);
    let after = of(SOURCES[1]);
    assert_eq!(after.len(), 3 * 3 * 3);
    for one in after.iter().filter(|one| one.arm == "hybrid") {
        let same = |id: &str| {
            let mut all = after.iter();
            let found = all.find(|other| {
                (other.arm.as_str(), other.length, other.index) == (id, one.length, one.index)
            });
            found.unwrap().values["seconds"]
        };
        let form = match one.values["dense"] {
            1.0 => same("dense"),
            _ => same("moments"),
        };
        let expected = one.values["seconds"] / form;
        assert!((one.values["beside_form"] / expected - 1.0).abs() < 1e-6);
    }
    let others = differences(&plan, &lab, folder.path()).unwrap();
    assert_eq!(others, Vec::<PathBuf>::new());
    let text = std::fs::read_to_string(folder.path().join("hybrid.md")).unwrap();
    for part in [
        "**Boundary**: the arm *moments* is ",
        "## The hybrid by length",
        "| reads with | ",
        "time ÷ chosen form",
        "median time ÷ faster of both",
        "speed-up over dense",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn arms_must_be_dense_and_another() {
    for arms in [
        r#"["dense"]"#,
        r#"["moments", "dense"]"#,
        r#"["dense", "moments", "local"]"#,
    ] {
        let text = SPEC.replace(r#"["dense", "moments"]"#, arms);
        let error = experiments::build(&tiny::spec(&text)).err().unwrap();
        assert!(error.to_string().contains("`arms`"), "{error}");
    }
}

/// Made-up records of the committed specification, in which the arm is the faster one beyond 1,200
/// tokens, and the hybrid takes `slower` times as long as it should.
pub fn made_up(slower: f64) -> Section {
    let spec: Spec = common::specs(&Overrides::default())
        .into_iter()
        .find(|spec| spec.method.experiment == "hybrid")
        .unwrap();
    let lengths = [256usize, 512, 1024, 1536, 2048, 3072, 4096];
    let mut all = crossover(&spec, &lengths, |n| 1200.0 * n)
        .measurements()
        .cloned()
        .collect::<Vec<_>>();
    for length in lengths {
        let n = length as f64;
        let reads_dense = length <= 1200;
        let own = n * n.min(1200.0) * slower;
        for (id, seconds) in [
            ("dense", n * n),
            ("summaries-state", 1200.0 * n),
            ("hybrid", own),
        ] {
            for mut one in rounds(SOURCES[1], length, id, seconds) {
                one.set("speedup", n * n / seconds);
                if id == "hybrid" {
                    one.set("dense", f64::from(u8::from(reads_dense)));
                    one.set("beside_form", slower);
                }
                all.push(one);
            }
            let exact = id == "dense" || id == "hybrid" && reads_dense;
            for index in 0..3 {
                let mut one = Measurement::new(id, "tale", length, index);
                let kl = if exact {
                    0.0
                } else {
                    1e-3 * (1.0 + index as f64)
                };
                one.set("kl", kl);
                one.set("top1", 1.0 - kl);
                one.set("cosine", 1.0 - kl);
                if id == "hybrid" {
                    one.set("dense", f64::from(u8::from(reads_dense)));
                }
                all.push(one);
            }
        }
    }
    let records = Records::new(vec![common::record(&spec, "all", all, 3)]);
    let experiment = experiments::build(&spec).unwrap();
    experiment.render(&records).unwrap()
}

#[test]
fn what_is_said_follows_from_the_numbers() {
    let section = made_up(1.0);
    let Block::Text(text) = &section.blocks[0] else {
        panic!("{:?}", section.blocks[0])
    };
    for part in [
        "the arm *summaries and state* is faster than dense from 1,200 tokens [",
        "At 4,096 tokens, it is 3.41 times as fast as dense.",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let found = |section: &Section| -> Vec<Judgement> {
        section.verdicts.iter().map(|one| one.judgement).collect()
    };
    assert_eq!(found(&section), [Judgement::Holds; 3]);
    assert!(
        section.verdicts[1]
            .claim
            .contains("difference of KL from summaries and state")
    );
    let slow = [Judgement::Holds, Judgement::Holds, Judgement::Misses];
    assert_eq!(found(&made_up(1.2)), slow);
}
