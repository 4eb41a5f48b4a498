//! Timing: what is timed, how often, and what the section says.

use std::path::PathBuf;
use std::time::Instant;

use bsbr_report::experiments;
use bsbr_report::overview::Overview;
use bsbr_report::record::Measurement;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::{Plan, RECORDS, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::spec::{Overrides, Spec};

use crate::tiny::{self, spec_with};

pub const SPEED: &str = r#"
experiment = "speed"
title = "Inference time"
question = "How long?"
order = 1
seed = 1
arms = ["dense", "moments", "published"]
chunk_size = 8
[settings]
lengths = [1, 16, 48, 120]
fit_from = 16
slow_seconds = 100.0
baselines = []
extension = { repeat_last = { window = 64 } }
[counts]
runs = 3
slow_runs = 1
"#;

fn measurements(spec: &Spec, python: Option<PathBuf>) -> Vec<Vec<Measurement>> {
    let lab = tiny::lab().with_python(python);
    let experiment = experiments::build(spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    units
        .iter()
        .map(|unit| experiment.run_unit(unit, &lab).unwrap())
        .collect()
}

#[test]
fn every_arm_is_timed_in_every_round() {
    let all = measurements(&spec_with(SPEED, &Overrides::default()), None);
    assert_eq!(all.len(), 8, "two scopes at four lengths");
    for unit in all {
        assert_eq!(unit.len(), 9, "three arms in three rounds");
        for one in &unit {
            let seconds = one.values["seconds"];
            let dense = unit
                .iter()
                .find(|other| other.arm == "dense" && other.index == one.index)
                .unwrap();
            let speedup = dense.values["seconds"] / seconds;
            assert!((one.values["speedup"] / speedup - 1.0).abs() < 1e-6);
        }
    }
}

/// Of the time that a unit takes, most is that of its runs: one of four is not timed.
#[test]
fn recorded_times_are_those_of_the_clock() {
    let lab = tiny::lab();
    let long = SPEED.replace("[1, 16, 48, 120]", "[400]");
    let experiment = experiments::build(&spec_with(&long, &Overrides::default())).unwrap();
    for unit in experiment.units(&lab).unwrap() {
        // What is made once for each lab is made here.
        experiment.run_unit(&unit, &lab).unwrap();
        let start = Instant::now();
        let all = experiment.run_unit(&unit, &lab).unwrap();
        let wall = start.elapsed().as_secs_f64();
        let spent: f64 = all.iter().map(|one| one.values["seconds"]).sum();
        assert!(
            spent > 0.3 * wall && spent < wall,
            "{}: {spent} of {wall}",
            unit.source
        );
    }
}

#[test]
fn what_is_slow_runs_less_often() {
    let slow = SPEED.replace("slow_seconds = 100.0", "slow_seconds = 0.0");
    for unit in measurements(&spec_with(&slow, &Overrides::default()), None) {
        assert_eq!(unit.len(), 3, "three arms in one round");
    }
}

#[test]
fn a_baseline_that_cannot_run_leaves_its_reason_and_the_arms() {
    let overrides = Overrides {
        lengths: vec![16],
        baselines: vec!["torch".to_owned()],
        ..Overrides::default()
    };
    for python in ["no/such/python", "true"] {
        for unit in measurements(&spec_with(SPEED, &overrides), Some(python.into())) {
            let (torch, arms): (Vec<_>, Vec<_>) =
                unit.iter().partition(|one| one.arm.starts_with("torch"));
            assert_eq!((torch.len(), arms.len()), (6, 9));
            assert!(arms.iter().all(|one| one.values.contains_key("seconds")));
            let reason = &torch[0].missing["*"];
            let expected = if python == "true" {
                "torch"
            } else {
                "--python"
            };
            assert!(reason.contains(expected), "{reason}");
        }
    }
}

/// Answers as the script does, without PyTorch.
#[cfg(unix)]
#[test]
fn a_baseline_is_asked_in_every_round() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    let script = "#!/bin/sh\necho ready\nwhile read kind scope tokens; do\n\
                  case $kind in sdpa) echo 0.25 ;; *) echo \"OutOfMemory: $tokens\" ;; esac\ndone\n";
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let overrides = Overrides {
        lengths: vec![16],
        baselines: vec!["torch".to_owned()],
        ..Overrides::default()
    };
    for unit in measurements(&spec_with(SPEED, &overrides), Some(python)) {
        let of = |id: &str| unit.iter().filter(|one| one.arm == id).collect::<Vec<_>>();
        assert_eq!(of("torch-sdpa").len(), 3);
        assert_eq!(of("torch-sdpa")[2].values["seconds"], 0.25);
        assert_eq!(of("torch-eager")[0].missing["*"], "OutOfMemory: 16");
    }
}

#[test]
fn the_section_tells_speed_ups_crossovers_and_exponents() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        specs: vec![spec_with(SPEED, &Overrides::default())],
        only: Vec::new(),
        reported: Reported::default(),
        overview: Overview::default(),
        command: "a test".to_owned(),
        commit: None,
    };
    reproduce(&plan, &tiny::lab(), folder.path(), &mut NoObserver).unwrap();
    assert!(folder.path().join(RECORDS).is_dir());
    let text = std::fs::read_to_string(folder.path().join("speed.md")).unwrap();
    for part in [
        "3 timed runs",
        "speed-up over dense",
        "below dense from, attention alone",
        "exponent of multiply-adds",
        "has 96 positions",
        "R² ",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // The dense model is as fast as itself.
    assert!(text.contains("1.00 ± 0.00 [1.00, 1.00]"), "{text}");
}
