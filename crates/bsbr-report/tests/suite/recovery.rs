//! Recovery by training: what is trained, kept and measured, and what the section says.

use std::path::{Path, PathBuf};

use bsbr_report::ReportError;
use bsbr_report::arms;
use bsbr_report::experiments;
use bsbr_report::judge::Session;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{Plan, RECORDS, differences, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::section::{Block, Cell, Table};
use bsbr_report::store::Store;
use bsbr_train::finetune::Mix;

use crate::common::{self, close};
use crate::definitions::{first, holds, holds_of_tuned, loss};
use crate::tiny;

pub const RECOVERY: &str = r#"
experiment = "recovery"
title = "Recovery"
question = "How much?"
order = 1
seed = 1
arms = ["dense", "moments", "local"]
chunk_size = 16
[settings]
window = 1024
rows = 2
learning_rate = 3e-3
length = 80
distance = 60
candidates = 4
max_new_tokens = 4
stemming = true
extension = { repeat_last = { window = 64 } }
[counts]
epochs = [0, 1, 2]
windows = 4
held_out = 1
texts_per_domain = 1
articles = 2
questions = 2
per_unit = 2
"#;

fn plan() -> Plan {
    tiny::plan(tiny::spec(RECOVERY))
}

fn run(out: &Path) -> Records {
    let lab = tiny::lab().with_models_in(out.join("models"));
    reproduce(&plan(), &lab, out, &mut NoObserver).unwrap();
    assert_eq!(differences(&plan(), &lab, out).unwrap(), [] as [PathBuf; 0]);
    Store::new(out.join(RECORDS)).all("recovery").unwrap()
}

fn values(records: &Records, id: &str, quantity: &str) -> Vec<f64> {
    let own = records.measurements().filter(|one| one.arm == id);
    own.filter_map(|one| one.values.get(quantity).copied())
        .collect()
}

fn folders(models: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(models)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

#[test]
fn every_arm_is_measured_before_and_after_training_and_without_its_retrieval() {
    let out = tempfile::tempdir().unwrap();
    let records = run(out.path());
    let kept = folders(&out.path().join("models"));
    // Three arms, trained for one epoch and for two.
    assert_eq!(kept.len(), 6, "{kept:?}");
    for folder in &kept {
        let mut inside = folders(folder);
        inside.retain(|path| path.is_dir());
        let names: Vec<_> = inside
            .iter()
            .map(|path| path.file_name().unwrap())
            .collect();
        assert_eq!(names, ["model"], "no checkpoint is left");
    }
    for id in ["dense@0", "moments@1", "local@2", "moments@2/cut"] {
        assert_eq!(values(&records, id, "nll").len(), 5, "{id}");
        assert_eq!(values(&records, id, "rougeL").len(), 2, "{id}");
        assert_eq!(values(&records, id, "among").len(), 2, "{id}");
    }
    assert!(values(&records, "local@2/cut", "nll").is_empty());
    let lab = tiny::lab();
    let all: Vec<Measurement> = records.measurements().cloned().collect();
    let tuned = kept.iter().find(|folder| {
        let name = folder.file_name().unwrap().to_string_lossy();
        name.starts_with("moments-002")
    });
    let tuned = arms::load(&tuned.unwrap().join("model"), &lab.dense().device()).unwrap();
    let arm = tiny::spec(RECOVERY).arm("moments").unwrap().clone();
    let near = arm.config.without_retrieval().unwrap();
    let cut = arms::convert(&tuned, &near, &[]).unwrap();
    holds_of_tuned(&all, "moments@2", &tuned, &lab, 4);
    holds_of_tuned(&all, "moments@2/cut", &cut, &lab, 4);
    let before = lab.model(&arm, 1).unwrap();
    let held_out = lab.corpus().windows(Mix::Plain, 1, 96, 4, 1).unwrap();
    let held_out: Vec<u32> = held_out.validation().next().unwrap().unwrap().ids;
    for (id, model, epochs) in [("moments@0", &before, 0.0), ("moments@2", &tuned, 2.0)] {
        let perplexity = loss(model, &held_out).exp();
        let one = first(&all, id, "fine-tuning");
        let found = one.values["validation_perplexity"];
        close(found / perplexity, 1.0, 1e-3, id);
        // Four windows of 96 tokens an epoch, two windows a step.
        holds(
            one,
            [("steps", 2.0 * epochs), ("tokens", 4.0 * 96.0 * epochs)],
        );
    }
    // The dense model before training is the original.
    assert!(
        values(&records, "dense@0", "top1")
            .iter()
            .all(|&x| x == 1.0)
    );
    let mean = |id: &str| values(&records, id, "nll").iter().sum::<f64>();
    for arm in ["dense", "moments", "local"] {
        let [before, after] = [0, 2].map(|epochs| mean(&format!("{arm}@{epochs}")));
        assert!(after < before, "{arm}: {before} before, {after} after");
        let curve: Vec<f64> = (0..=2)
            .flat_map(|epochs| {
                values(
                    &records,
                    &format!("{arm}@{epochs}"),
                    "validation_perplexity",
                )
            })
            .collect();
        assert_eq!(curve.len(), 3);
        assert!(curve[2] < curve[0], "{curve:?}");
    }
    // Untrained, `local` is what is left of `moments` without its retrieval; trained it is not.
    assert_ne!(mean("moments@2/cut"), mean("local@2"));
    assert_ne!(mean("moments@2/cut"), mean("moments@2"));

    let text = std::fs::read_to_string(out.path().join("recovery.md")).unwrap();
    for part in [
        "## After 2 epochs",
        "## Perplexity by epochs",
        "## The gap to the original closed after 1 epoch",
        "## The gap to the tuned original closed after 2 epochs",
        "## With the retrieval deleted after training",
        "deleting the retrieval changes",
        "no votes yet",
        "an epoch is 384 tokens",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // People can be asked about any two of the models.
    let pair = [Some("moments@2"), Some("dense@2")];
    let session = Session::open(out.path(), pair, "ada").unwrap();
    assert_eq!(session.progress().1, 2);
}

#[test]
fn models_are_trained_once_and_a_training_that_was_ended_goes_on() {
    let out = tempfile::tempdir().unwrap();
    let first = run(out.path());
    let models = out.path().join("models");
    let of = |start: &str| -> PathBuf {
        let mut all = folders(&models).into_iter();
        all.find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(start)
        })
        .unwrap()
    };
    let [once, twice] = ["moments-001", "moments-002"].map(of);
    let weights = |folder: &Path| folder.join("model/model.safetensors");
    let written = |folder: &Path| {
        std::fs::metadata(weights(folder))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = written(&once);

    // Records that are lost are measured again on the models that are kept.
    std::fs::remove_dir_all(out.path().join(RECORDS)).unwrap();
    let again = run(out.path());
    let all = |records: &Records| {
        records
            .measurements()
            .cloned()
            .collect::<Vec<Measurement>>()
    };
    assert_eq!(all(&first), all(&again));
    assert_eq!(written(&once), before);

    // A model that is lost is made again, the same.
    let bytes = std::fs::read(weights(&twice)).unwrap();
    std::fs::remove_dir_all(twice.join("model")).unwrap();
    std::fs::remove_dir_all(out.path().join(RECORDS)).unwrap();
    let third = run(out.path());
    assert_eq!(std::fs::read(weights(&twice)).unwrap(), bytes);
    assert_eq!(written(&once), before);
    assert_eq!(all(&first), all(&third));
}

#[test]
fn shares_of_gaps_are_said_where_there_is_a_gap() {
    let spec = tiny::spec(RECOVERY);
    // Mean negative log likelihoods of every text but for what the texts have in common.
    let models = [
        ("dense@0", 1.0),
        ("dense@1", 0.95),
        ("dense@2", 0.9),
        ("moments@0", 1.0),
        ("moments@1", 0.96),
        ("moments@2", 0.92),
        ("moments@2/cut", 0.92),
        ("local@0", 1.4),
        ("local@1", 1.2),
        ("local@2", 1.0),
    ];
    let one = |(id, nll): (&str, f64), index| {
        let mut one = Measurement::new(id, "tale", 80, index);
        one.set("nll", nll);
        one
    };
    let all = models
        .iter()
        .flat_map(|&model| [0, 1].map(|index| one(model, index)));
    let records = Records::new(vec![common::record(&spec, "tale", all.collect(), 2)]);
    let experiment = experiments::build(&spec).unwrap();
    let section = experiment.render(&records).unwrap();
    let tables: Vec<&Table> = section
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::Table(table) => Some(table),
            _ => None,
        })
        .collect();
    let cell = |title: &str, row: &str| -> &Cell {
        let table = tables.iter().find(|table| table.title == title).unwrap();
        &table
            .rows
            .iter()
            .find(|one| one.head.starts_with(row))
            .unwrap()
            .cells[0]
    };
    let share = |title: &str, row: &str| match cell(title, row) {
        Cell::Measured(found, _) => found.mean,
        other => panic!("{other:?}"),
    };
    let original = "The gap to the original closed after 2 epochs";
    assert!((share(original, "local") - 1.0).abs() < 1e-9);
    let control = "The gap to the tuned original closed after 2 epochs";
    let [before, after, goal] = [1.4f64, 1.0, 0.9].map(f64::exp);
    let expected = (before - after) / (before - goal);
    assert!((share(control, "local") - expected).abs() < 1e-9);
    let no_gap = cell(original, "moments");
    assert!(matches!(no_gap, Cell::Missing(_)), "{no_gap:?}");
    let same = tables
        .iter()
        .find(|one| one.title.starts_with("With the retrieval"));
    let words = same.unwrap().rows[0].cells.last().unwrap();
    assert_eq!(*words, Cell::Text("nothing".to_owned()));
}

#[test]
fn mistakes_are_named() {
    for (from, to, part) in [
        ("epochs = [0, 1, 2]", "epochs = [1, 2]", "epochs"),
        ("rows = 2", "rows = 2\nroes = 2", "roes"),
        ("epochs = [0, 1, 2]", "epochs = [0, 2, 1]", "epochs"),
        ("windows = 4", "windows = 0", "windows"),
        ("distance = 60", "distance = 80", "distance"),
        (
            "learning_rate = 3e-3",
            "learning_rate = 0.0",
            "learning_rate",
        ),
    ] {
        let text = RECOVERY.replace(from, to);
        assert_ne!(text, RECOVERY);
        let error = experiments::build(&tiny::spec(&text)).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
    let spec = tiny::spec(RECOVERY);
    let experiment = experiments::build(&spec).unwrap();
    let lab = tiny::lab();
    let unit = experiment.units(&lab).unwrap().remove(0);
    let error = experiment.run_unit(&unit, &lab).unwrap_err();
    assert!(matches!(error, ReportError::NoModelFolder), "{error}");
}
