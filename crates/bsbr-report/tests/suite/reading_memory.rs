//! The memory of reading: what is measured, the baselines, and the page.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bsbr_attention::ArmConfig;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension};
use bsbr_report::experiments;
use bsbr_report::experiments::memory::worker::{Pass, Task, Worker, measure_here};
use bsbr_report::overview::{Conclusion, Measure, Overview, Statement};
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::{Plan, differences, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::spec::{Overrides, Spec};
use burn::tensor::Device;

use crate::definitions::holds;
use crate::tiny::{self, spec_with};

pub const READING: &str = r#"
experiment = "reading-memory"
title = "Memory of reading"
question = "How much to go on from?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_size = 8
[settings]
lengths = [16, 48]
piece = 8
fit_from = 16
baselines = []
extension = { repeat_last = { window = 64 } }
[counts]
processes = 2
[[goal]]
text = "Half of PyTorch's"
measure = { mean = { quantity = "peak.by_torch", length = 48 } }
at_most = 0.5
"#;

pub const PASS: &str = r#"
experiment = "memory"
title = "Peak memory"
question = "How much?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_size = 8
[settings]
lengths = [16, 48]
fit_from = 16
extension = { repeat_last = { window = 64 } }
[counts]
processes = 2
"#;

fn with_torch() -> Overrides {
    Overrides {
        baselines: vec!["torch".to_owned()],
        ..Overrides::default()
    }
}

/// Reads with 4 MiB where everything is kept, and with 3 MiB where it is not; a pass takes 2 MiB, or
/// 1 MiB. Another round takes another multiple of it: as many times as its seed.
pub fn worker() -> Worker {
    let script = r#"
        cell=$(cat)
        seed=${cell#*'"seed":'}
        seed=${seed%%,*}
        case $cell in
        *moments*'"reading":{"piece":8}'*) peak=3145728 growth=1048576 ;;
        *'"reading":{"piece":8}'*) peak=4194304 growth=2097152 ;;
        *moments*) peak=1048576 growth=131072 ;;
        *) peak=2097152 growth=524288 ;;
        esac
        echo "{\"peak\": $((peak * seed)), \"growth\": $((growth * seed)), \"seconds\": 1}""#;
    Worker {
        program: "sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
    }
}

/// Answers as PyTorch's script does: 8 MiB at the peak, 4 MiB of growth.
pub fn python(folder: &Path) -> PathBuf {
    let path = folder.join("python");
    let script = "#!/bin/sh\necho ready\nwhile read kind scope number; do\n\
                  case $kind-$scope in sdpa-reading) echo 4194304.0 ;; sdpa-peak) echo 8388608.0 ;;\n\
                  *) echo \"no $kind $scope\" ;; esac\ndone\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn every_row_is_measured_beside_dense_and_pytorch_in_every_round() {
    let folder = tempfile::tempdir().unwrap();
    let lab = tiny::lab()
        .with_worker(worker())
        .with_python(Some(python(folder.path())));
    let experiment = experiments::build(&spec_with(READING, &with_torch())).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 2);
    for unit in &units {
        let all = experiment.run_unit(unit, &lab).unwrap();
        assert_eq!(all.len(), 6, "two arms and PyTorch in two rounds");
        for one in &all {
            // Seed 1, and 2 in the round after that.
            let times = (one.index + 1) as f64;
            let [peak, growth] = match one.arm.as_str() {
                "dense" => [4.0 * times, 2.0 * times],
                "moments" => [3.0 * times, times],
                _ => [8.0, 4.0],
            };
            let mib = 1_048_576.0;
            let expected = [
                ("peak", peak * mib),
                ("growth", growth * mib),
                ("peak.by_dense", peak / (4.0 * times)),
                ("growth.by_dense", growth / (2.0 * times)),
                ("peak.by_torch", peak / 8.0),
                ("growth.by_torch", growth / 4.0),
            ];
            holds(one, expected);
        }
        assert_eq!(all[2].arm, "torch-sdpa");
    }
}

#[test]
fn a_pass_is_measured_beside_dense_in_every_round() {
    let lab = tiny::lab().with_worker(worker());
    let experiment = experiments::build(&tiny::spec(PASS)).unwrap();
    for unit in experiment.units(&lab).unwrap() {
        let all = experiment.run_unit(&unit, &lab).unwrap();
        assert_eq!(all.len(), 4, "two arms in two rounds");
        for one in &all {
            let [peak, growth] = match one.arm.as_str() {
                "dense" => [2_097_152.0, 524_288.0],
                _ => [1_048_576.0, 131_072.0],
            };
            let times = (one.index + 1) as f64;
            let share = ("share", growth / 524_288.0);
            holds(
                one,
                [("peak", peak * times), ("growth", growth * times), share],
            );
        }
    }
}

#[test]
fn what_cannot_be_measured_leaves_its_reason_and_the_others() {
    let run = |lab: bsbr_report::lab::Lab, overrides: &Overrides| {
        let experiment = experiments::build(&spec_with(READING, overrides)).unwrap();
        let unit = experiment.units(&lab).unwrap().remove(0);
        experiment.run_unit(&unit, &lab).unwrap()
    };
    let all = run(tiny::lab().with_worker(worker()), &Overrides::default());
    assert_eq!(all.len(), 4, "two arms in two rounds");
    assert!(all[1].missing["peak.by_torch"].contains("--baseline"));
    assert_eq!(all[1].values["peak.by_dense"], 0.75);

    let lab = tiny::lab()
        .with_worker(worker())
        .with_python(Some("no/such/python".into()));
    let all = run(lab, &with_torch());
    assert!(all[2].missing["*"].contains("--python"), "{:?}", all[2]);
    assert!(all[1].missing["peak.by_torch"].contains("has no peak"));
    assert_eq!(all[1].values["growth.by_dense"], 0.5);
}

fn plan(specs: Vec<Spec>, only: &[&str]) -> Plan {
    let statement = Statement {
        text: "Reading takes less".to_owned(),
        observation: false,
        experiment: "reading-memory".to_owned(),
        arm: "moments".to_owned(),
        beside: Vec::new(),
        device: None,
        measure: Measure::Goal("Half of PyTorch's".to_owned()),
        bounds: Default::default(),
        style: Default::default(),
        reported: None,
        note: None,
    };
    Plan {
        specs,
        only: only.iter().map(|&one| one.to_owned()).collect(),
        reported: Reported::default(),
        overview: Overview {
            conclusions: vec![Conclusion {
                text: "Memory".to_owned(),
                statements: vec![statement],
            }],
            ..Overview::default()
        },
        command: "a test".to_owned(),
        commit: None,
    }
}

#[test]
fn reading_and_the_pass_have_a_page_each_and_a_claim_cites_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let lab = tiny::lab()
        .with_worker(worker())
        .with_python(Some(python(folder.path())));
    let specs = [READING, PASS].map(|text| spec_with(text, &with_torch()));
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();

    let pass = plan(specs.to_vec(), &["memory"]);
    reproduce(&pass, &lab, &out, &mut NoObserver).unwrap();
    assert!(!out.join("reading-memory.md").exists());
    assert!(text("index.md").contains("No records of “reading-memory”"));
    assert_eq!(differences(&pass, &lab, &out).unwrap(), [] as [PathBuf; 0]);

    let both = plan(specs.to_vec(), &[]);
    reproduce(&both, &lab, &out, &mut NoObserver).unwrap();
    let reading = text("reading-memory.md");
    for part in [
        "# Memory of reading\n\n*How much to go on from?*",
        "Half of PyTorch's",
        "| moments ◆ | 4.5 ± ",
        "| PyTorch, SDPA | 8.0 ± 0.0 [8.0, 8.0] |",
        "pieces of 8 tokens",
        "plots/reading-memory-reading.svg",
    ] {
        assert!(reading.contains(part), "{part}:\n{reading}");
    }
    assert!(text("memory.md").contains("plots/memory-memory.svg"));
    let index = text("index.md");
    assert!(index.contains("[Reading takes less](reading-memory.md)"));
    assert_eq!(differences(&both, &lab, &out).unwrap(), [] as [PathBuf; 0]);
}

#[test]
fn settings_that_measure_nothing_are_refused() {
    for (from, to, part) in [
        ("[16, 48]", "[]", "lengths"),
        ("piece = 8", "piece = 0", "piece"),
        ("baselines = []", "baselines = [\"numpy\"]", "numpy"),
    ] {
        let text = READING.replace(from, to);
        let error = experiments::build(&spec_with(&text, &Overrides::default())).err();
        let error = error.unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A cell of the real worker, at a length that the model has no positions for.
#[cfg(target_os = "linux")]
#[test]
fn reading_is_measured_beyond_the_positions_of_the_model() {
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
    let model = || Gpt2::init(&config, 3, &Device::default()).unwrap();
    let task = Task {
        arm: ArmConfig::DENSE,
        seed: 1,
        length: 70,
        extension: PositionExtension::RepeatLast { window: 16 },
        pass: Pass::Reading { piece: 8 },
    };
    let found = measure_here(model(), &task).unwrap();
    assert!(found.peak > 0 && found.seconds > 0.0, "{found:?}");
    let none = Task {
        extension: PositionExtension::None,
        ..task
    };
    assert!(measure_here(model(), &none).is_err());
}
