//! The memory of training: what is measured, the reasons in cells without a number, and the bars.
#![cfg(unix)]

use bsbr_attention::ArmConfig;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension};
use bsbr_report::experiments;
use bsbr_report::experiments::memory::worker::{Pass, Task, Training, Worker, measure_here};
use bsbr_report::reproduce::reproduce;
use bsbr_report::runner::NoObserver;
use burn::tensor::Device;

use crate::definitions::holds;
use crate::tiny;

pub const SPEC: &str = r#"
experiment = "training-memory"
title = "Memory of training"
question = "How much?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_size = 8
[settings]
lengths = [16, 48]
limit_mib = 4096
extension = { repeat_last = { window = 64 } }
[counts]
processes = 2
[[goal]]
text = "Fits"
arm = "dense"
measure = { mean = { quantity = "peak.recomputed", length = 48 } }
at_most = 1e6
"#;

/// Answers with 3 MiB where activations are kept, and with 0.5 MiB where they are not, as many times
/// as its seed. The dense arm runs out of memory where they are kept.
pub fn worker() -> Worker {
    let script = r#"
        cell=$(cat)
        seed=${cell#*'"seed":'}
        seed=${seed%%,*}
        case $cell in
        *moments*'"recompute":true'*) peak=524288 growth=262144 seconds=2.5 ;;
        *moments*) peak=3145728 growth=2097152 seconds=1.5 ;;
        *'"recompute":true'*) peak=1048576 growth=524288 seconds=3.5 ;;
        *) echo 'memory allocation of 8388608 bytes failed' >&2; exit 1 ;;
        esac
        echo "{\"peak\": $((peak * seed)), \"growth\": $((growth * seed)), \"seconds\": $seconds}""#;
    Worker {
        program: "sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
    }
}

#[test]
fn every_arm_is_measured_both_ways_in_every_round() {
    let lab = tiny::lab().with_worker(worker());
    let experiment = experiments::build(&tiny::spec(SPEC)).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 2);
    for unit in &units {
        let all = experiment.run_unit(unit, &lab).unwrap();
        assert_eq!(all.len(), 4, "two arms in two rounds");
        for one in &all {
            let times = (one.index + 1) as f64;
            if one.arm == "dense" {
                let reason = &one.missing["peak.kept"];
                assert!(
                    reason.contains("8 MiB more could not be allocated"),
                    "{reason}"
                );
                holds(one, [("peak.recomputed", 1_048_576.0 * times)]);
                continue;
            }
            let expected = [
                ("peak.kept", 3_145_728.0 * times),
                ("growth.kept", 2_097_152.0 * times),
                ("seconds.kept", 1.5),
                ("peak.recomputed", 524_288.0 * times),
                ("growth.recomputed", 262_144.0 * times),
                ("seconds.recomputed", 2.5),
            ];
            holds(one, expected);
        }
    }
}

#[test]
fn the_section_tells_both_ways_the_reasons_and_the_bar() {
    let folder = tempfile::tempdir().unwrap();
    let plan = tiny::plan(tiny::spec(SPEC));
    let lab = tiny::lab().with_worker(worker());
    reproduce(&plan, &lab, folder.path(), &mut NoObserver).unwrap();
    let text = std::fs::read_to_string(folder.path().join("training-memory.md")).unwrap();
    for part in [
        "Peak of the process, blocks recomputed",
        "Time of a step, activations kept",
        "| 16 tokens | 48 tokens |",
        "2 steps for each cell",
        "4,096 MiB of address space",
        "8 MiB more could not be allocated",
        "Fits",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn settings_that_measure_nothing_are_refused() {
    let none = SPEC.replace("[16, 48]", "[]");
    let error = experiments::build(&tiny::spec(&none)).err().unwrap();
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
        let task = Task {
            arm: ArmConfig::DENSE,
            seed: 1,
            length: 70,
            extension: PositionExtension::RepeatLast { window: 16 },
            pass: Pass::Step { recompute },
        };
        let found = measure_here(model(), &task).unwrap();
        assert!(found.peak > 0 && found.seconds > 0.0, "{found:?}");
        let none = Task {
            extension: PositionExtension::None,
            ..task
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
