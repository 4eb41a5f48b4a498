//! The memory of training: what is measured, what a cell that cannot be says, and the bars.
#![cfg(unix)]

use std::path::Path;

use bsbr_attention::ArmConfig;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension};
use bsbr_report::experiments;
use bsbr_report::experiments::memory::worker::{Cell, Pass, Worker, measure_here};
use bsbr_report::experiments::training_memory::step::Training;
use bsbr_report::overview::Overview;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::{Plan, reproduce};
use bsbr_report::runner::Nobody;
use bsbr_report::spec::{Overrides, Spec, parse_spec, read_arms};
use burn::tensor::Device;

use crate::tiny;

const SPEC: &str = r#"
experiment = "training-memory"
title = "Memory of training"
question = "How much?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_sizes = [8]
[settings]
lengths = [16, 48]
limit_mib = 4096
extension = { repeat_last = { window = 64 } }
[counts]
processes = 2
[[goal]]
name = "Fits"
quantity = "peak.recomputed"
arm = "dense"
length = 48
at_most = 1e6
"#;

fn spec(text: &str) -> Spec {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arms.toml");
    std::fs::write(&path, tiny::ARMS).unwrap();
    let arms = read_arms(&path).unwrap();
    let file = Path::new("training-memory.toml");
    parse_spec(file, &tiny::presented(text), &arms, &Overrides::default()).unwrap()
}

/// Answers with 3 MiB where activations are kept, and with 0.5 MiB where they are not, but for the
/// moments arm, which runs out of memory where they are kept.
fn worker() -> Worker {
    let script = r#"
        cell=$(cat)
        case $cell in
        *'"recompute":true'*) echo '{"peak": 524288, "growth": 1048576, "seconds": 2.5}' ;;
        *moments*) echo 'memory allocation of 8388608 bytes failed' >&2; exit 1 ;;
        *) echo '{"peak": 3145728, "growth": 2097152, "seconds": 1.5}' ;;
        esac"#;
    Worker {
        program: "sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
    }
}

#[test]
fn every_arm_is_measured_both_ways_in_every_round() {
    let lab = tiny::lab().with_worker(worker());
    let experiment = experiments::build(&spec(SPEC)).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 2);
    for unit in &units {
        let all = experiment.run_unit(unit, &lab).unwrap();
        assert_eq!(all.len(), 4, "two arms in two rounds");
        for one in &all {
            assert_eq!(one.values["peak.recomputed"], 524_288.0);
            match one.arm.as_str() {
                "dense" => assert_eq!(one.values["seconds.kept"], 1.5),
                _ => {
                    let reason = &one.missing["peak.kept"];
                    assert!(
                        reason.contains("8 MiB more could not be allocated"),
                        "{reason}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_section_tells_both_ways_the_reasons_and_the_bar() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        specs: vec![spec(SPEC)],
        only: Vec::new(),
        reported: Reported::default(),
        overview: Overview::default(),
        command: "a test".to_owned(),
        commit: None,
    };
    let lab = tiny::lab().with_worker(worker());
    reproduce(&plan, &lab, folder.path(), &mut Nobody).unwrap();
    let text = std::fs::read_to_string(folder.path().join("training-memory.md")).unwrap();
    for part in [
        "Peak of the process, blocks recomputed",
        "Time of a step, activations kept",
        "| 16 tokens | 48 tokens |",
        "2 steps for each cell",
        "4096 MiB of address space",
        "8 MiB more could not be allocated",
        "Fits",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn settings_that_measure_nothing_are_refused() {
    let none = SPEC.replace("[16, 48]", "[]");
    let error = experiments::build(&spec(&none)).err().unwrap();
    assert!(error.to_string().contains("lengths"), "{error}");
}

fn model() -> Gpt2 {
    let config = Gpt2Config {
        vocab_size: 50,
        n_positions: 32,
        n_embd: 16,
        n_layer: 2,
        n_head: 2,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    Gpt2::init(&config, 3, &Device::default()).unwrap()
}

/// A cell of the real worker, at a length that the model has no positions for.
#[cfg(target_os = "linux")]
#[test]
fn a_step_is_measured_beyond_the_positions_of_the_model() {
    for recompute in [false, true] {
        let cell = Cell {
            arm: ArmConfig::DENSE,
            seed: 1,
            length: 70,
            extension: PositionExtension::RepeatLast { window: 16 },
            pass: Pass::Step { recompute },
        };
        let found = measure_here(model(), &cell).unwrap();
        assert!(found.peak > 0 && found.seconds > 0.0, "{found:?}");
        let none = Cell {
            extension: PositionExtension::None,
            ..cell
        };
        let reason = measure_here(model(), &none).unwrap_err();
        assert!(reason.contains("70"), "{reason}");
    }
}

#[test]
fn a_step_that_failed_is_not_gone_on_from() {
    let mut training = Training::new(model(), true);
    training.step((0..20).collect()).unwrap();
    assert!(
        training.step(vec![0, 50, 1]).is_err(),
        "there is no token 50"
    );
    assert!(training.step((0..20).collect()).is_err());
}
