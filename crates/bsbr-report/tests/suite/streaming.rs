//! Long contexts: which rows read and generate, and what the section says of rows that cannot.

use std::path::PathBuf;
use std::time::Instant;

use bsbr_gpt2::{PositionExtension, TokenBatch};
use bsbr_report::corpus::random;
use bsbr_report::experiments;
use bsbr_report::record::Measurement;
use bsbr_report::spec::{Overrides, Spec};

use crate::definitions::mean;
use crate::tiny::{self, spec_with};

pub const STREAMING: &str = r#"
experiment = "streaming"
title = "Long contexts"
question = "How long?"
order = 1
seed = 1
arms = ["dense", "moments"]
chunk_size = 8
[settings]
lengths = [64, 16, 150]
short = 24
piece = 16
baselines = []
extension = { repeat_last = { window = 64 } }
[counts]
rounds = 2
tokens = 9
reading_seconds = 100.0
generating_seconds = 100.0
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

fn with_torch() -> Overrides {
    Overrides {
        baselines: vec!["torch".to_owned()],
        ..Overrides::default()
    }
}

#[test]
fn each_row_goes_on_from_length_to_length() {
    let text = STREAMING.replace("[64, 16, 150]", "[64, 16, 1500]");
    let spec = spec_with(&text, &Overrides::default());
    let all = measurements(&spec, None);
    let lengths: Vec<usize> = all.iter().map(|unit| unit[0].length).collect();
    assert_eq!(lengths, [16, 64, 1500, 16, 64, 1500]);
    for unit in &all {
        assert_eq!(unit.len(), 2, "two rounds");
        assert!(unit.iter().all(|one| one.values["token"] > 0.0));
        assert!(unit.iter().all(|one| one.values["token.growth"] > 0.0));
        assert!(!unit[1].values.contains_key("first"));
    }
    // Reading a hundred times as much takes longer.
    let first = |unit: usize| all[unit][0].values["first"];
    assert!(first(0) < first(2) && first(3) < first(5));
    // Keys and values of two layers, 32 dimensions each.
    assert_eq!(all[2][0].values["cache"], (2 * 2 * 32 * 1500 * 4) as f64);
    let kept = |unit: usize| all[unit][0].values["cache"];
    assert!(kept(3) < kept(4) && kept(4) < kept(5));
    // Of the arm, what reading it at once keeps.
    let lab = tiny::lab();
    let extension = PositionExtension::RepeatLast { window: 64 };
    let model = lab.model_for_any_length(spec.arm("moments").unwrap(), 1, extension);
    let model = model.unwrap();
    let ids = random(1, 0, lab.dense().config().vocab_size, 1500);
    let mut cache = model.new_cache();
    let batch = TokenBatch::single(&ids).unwrap();
    model.forward_cached(&batch, &mut cache).unwrap();
    assert_eq!(kept(5), cache.bytes() as f64);
}

/// Tokens after a long context take longer than after a short one, whichever is generated first: in
/// even rounds the short one's are, in odd rounds the long one's.
#[test]
fn a_token_is_timed_after_its_own_context() {
    let long = STREAMING
        .replace("[64, 16, 150]", "[12000]")
        .replace("short = 24", "short = 4")
        .replace("piece = 16", "piece = 512")
        .replace("rounds = 2", "rounds = 6")
        .replace("tokens = 9", "tokens = 20");
    let start = Instant::now();
    let all = measurements(&spec_with(&long, &Overrides::default()), None);
    let wall = start.elapsed().as_secs_f64();
    for unit in &all {
        for odd in [0, 1] {
            let rounds = unit.iter().filter(|one| one.index % 2 == odd);
            let growth = mean(rounds.map(|one| one.values["token.growth"]));
            assert!(growth > 1.2, "{}, {odd}: {growth}", unit[0].arm);
        }
    }
    let spent = all.iter().flatten().map(|one| {
        let first = one.values.get("first").copied().unwrap_or_default();
        first + 20.0 * one.values["token"]
    });
    let spent: f64 = spent.sum();
    assert!(spent > 0.2 * wall && spent < wall, "{spent} of {wall}");
}

#[test]
fn a_row_that_takes_too_long_leaves_its_reason_and_the_others() {
    let hasty = STREAMING.replace("reading_seconds = 100.0", "reading_seconds = 0.0");
    let all = measurements(&spec_with(&hasty, &Overrides::default()), None);
    let reason = &all[0][0].missing["*"];
    assert!(reason.contains("24 tokens would take"), "{reason}");
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|unit| unit[0].missing.contains_key("*")));

    let none = STREAMING.replace("extension = { repeat_last = { window = 64 } }", "");
    let all = measurements(&spec_with(&none, &Overrides::default()), None);
    assert!(all[0][0].values.contains_key("token"));
    let reason = &all[2][0].missing["*"];
    assert!(reason.contains("positions"), "{reason}");
}

#[test]
fn without_pytorch_its_row_says_why() {
    let all = measurements(
        &spec_with(STREAMING, &with_torch()),
        Some("no/such/python".into()),
    );
    assert_eq!(all.len(), 9);
    for unit in &all[6..] {
        assert_eq!(unit[0].arm, "torch-sdpa");
        assert!(unit[0].missing["*"].contains("--python"));
    }
    assert!(
        all[..6]
            .iter()
            .all(|unit| unit[0].values.contains_key("token"))
    );
}

/// Answers as PyTorch's script does: a token takes 1 ms after the short context and 4 ms after others.
#[cfg(unix)]
#[test]
fn pytorch_generates_after_both_contexts_of_each_round() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    let script = "#!/bin/sh\necho ready\nwhile read kind scope number; do\ncase $scope in\n\
                  read) last=$number; echo 2.0 ;;\ncache) echo 4096.0 ;;\n\
                  generate) [ $last = 24 ] && echo 0.001 || echo 0.004 ;;\nesac\ndone\n";
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let all = measurements(&spec_with(STREAMING, &with_torch()), Some(python.clone()));
    let of_torch = &all[8];
    assert_eq!(of_torch.len(), 2);
    assert_eq!(of_torch[1].values["token"], 0.004);
    assert_eq!(of_torch[1].values["token.growth"], 4.0);
    assert_eq!(of_torch[0].values["first"], 2.0);
    assert_eq!(of_torch[0].values["cache"], 4096.0);

    // The short context takes 2 s, so that the longest would take more than 10.
    let hasty = STREAMING.replace("reading_seconds = 100.0", "reading_seconds = 10.0");
    let all = measurements(&spec_with(&hasty, &with_torch()), Some(python));
    assert!(all[7][0].values.contains_key("token"));
    let reason = &all[8][0].missing["*"];
    assert!(reason.contains("150 tokens would take about"), "{reason}");
}
