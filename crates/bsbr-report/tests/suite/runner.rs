//! Running and resuming, with an experiment that only counts.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use bsbr_gpt2::ProductType;
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_report::ReportError;
use bsbr_report::corpus::Corpus;
use bsbr_report::experiment::{Experiment, Unit, batches};
use bsbr_report::host::Machine;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Identity, Measurement, Record, Records, RunInfo};
use bsbr_report::runner::{Job, NoObserver, identity, recorded, run};
use bsbr_report::spec::{Overrides, Spec, parse_spec};
use bsbr_report::store::Store;
use burn::tensor::DType;

use crate::tiny;

#[derive(Debug)]
struct Counting {
    spec: Spec,
    runs: Rc<Cell<usize>>,
    lengths: Vec<u32>,
}

impl AsRef<Spec> for Counting {
    fn as_ref(&self) -> &Spec {
        &self.spec
    }
}

impl Experiment for Counting {
    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let of_length = |&length: &u32| batches("counting", length as usize, 5, 2, 1);
        Ok(self.lengths.iter().flat_map(of_length).collect())
    }

    fn run_unit(&self, unit: &Unit, _lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        self.runs.set(self.runs.get() + 1);
        let measurements = unit.samples.clone().map(|index| {
            let mut one = Measurement::new("dense", &unit.source, unit.length, index);
            one.set("third", index as f64 / 3.0);
            one.set("nothing", f64::INFINITY);
            one
        });
        Ok(measurements.collect())
    }
}

fn job(runs: &Rc<Cell<usize>>, seed: u64) -> Job {
    job_at(runs, seed, &[8], "agreement")
}

fn job_at(runs: &Rc<Cell<usize>>, seed: u64, lengths: &[u32], experiment: &str) -> Job {
    let text = format!(
        "experiment = \"{experiment}\"\ntitle = \"\"\nquestion = \"\"\norder = 1\nseed = 1\n\
         arms = []\n[settings]\nlengths = [8]\n[quantities]\n\
         third = {{ title = \"a third\", style = \"digits 3\" }}\n\
         nothing = {{ title = \"nothing\", style = \"digits 3\" }}"
    );
    let overrides = Overrides {
        seed: Some(seed),
        lengths: lengths.to_vec(),
        ..Overrides::default()
    };
    let spec = parse_spec(Path::new("counting.toml"), &text, &[], &overrides).unwrap();
    Job {
        experiment: Box::new(Counting {
            spec: spec.clone(),
            runs: runs.clone(),
            lengths: lengths.to_vec(),
        }),
        spec,
    }
}

fn info() -> RunInfo {
    RunInfo {
        command: "a test".to_owned(),
        commit: None,
        version: String::new(),
        date: "2026-01-01".to_owned(),
        machine: Machine::this(),
        threads: 1,
        texts: String::new(),
        calibration: String::new(),
    }
}

#[test]
fn finished_units_are_not_run_again_unless_something_differs() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let runs = Rc::new(Cell::new(0));
    let run = |seed| {
        run(&[job(&runs, seed)], &lab, &store, &info(), &mut NoObserver)
            .unwrap()
            .remove(0)
    };

    let first = run(1);
    assert_eq!(runs.get(), 3);
    let second = run(1);
    assert_eq!(runs.get(), 3);
    let values = |records: &Records| -> Vec<f64> {
        records
            .measurements()
            .map(|one| one.values["third"])
            .collect()
    };
    assert_eq!(values(&first), values(&second));
    assert_eq!(values(&first).len(), 5);
    assert!(
        second
            .measurements()
            .all(|one| one.missing.contains_key("nothing"))
    );

    // Another seed is another method, and so is what follows from it.
    run(2);
    assert_eq!(runs.get(), 6);
    assert!(
        recorded(&job(&runs, 1), &lab, &store)
            .unwrap()
            .first()
            .is_none()
    );

    // A record that was damaged in any way counts as none, and is measured again.
    let path = store.path("agreement", "counting-00008-0002-0004");
    let bytes = std::fs::read(&path).unwrap();
    let digit = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
    let (mut other, mut no_text) = (bytes.clone(), bytes.clone());
    other[digit] = if other[digit] == b'1' { b'2' } else { b'1' };
    no_text[digit] = 0xff;
    for (index, damaged) in [&bytes[..bytes.len() / 2], &other, &no_text]
        .into_iter()
        .enumerate()
    {
        std::fs::write(&path, damaged).unwrap();
        run(2);
        assert_eq!(runs.get(), 7 + index);
        assert_ne!(std::fs::read(&path).unwrap(), damaged);
    }
    assert!(store.all("agreement").is_ok());
}

#[test]
fn more_lengths_leave_the_records_where_they_are_an_amount() {
    let lab = tiny::lab();
    for (experiment, expected) in [("density", 6), ("hybrid", 9)] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let runs = Rc::new(Cell::new(0));
        let run = |seed, lengths: &[u32]| {
            let jobs = [job_at(&runs, seed, lengths, experiment)];
            run(&jobs, &lab, &store, &info(), &mut NoObserver).unwrap();
        };
        run(1, &[8]);
        assert_eq!(runs.get(), 3);
        run(1, &[8, 16]);
        assert_eq!(runs.get(), expected, "{experiment}");
        // What else the method says must be the same all along.
        run(2, &[8]);
        assert_eq!(runs.get(), expected + 3);
    }
}

#[test]
fn what_is_not_declared_is_not_recorded() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let mut job = job(&Rc::new(Cell::new(0)), 1);
    job.spec.layout.quantities = Default::default();
    let error = run(&[job], &lab, &store, &info(), &mut NoObserver).unwrap_err();
    assert!(matches!(error, ReportError::Undeclared { .. }), "{error}");
    assert!(error.to_string().contains("`nothing`"), "{error}");
}

fn toml_table(text: &str) -> toml::Table {
    text.parse().unwrap()
}

/// A lab of this model on this device, with texts of its own where `words` are given.
fn other_lab(hash: &str, device: &str, dtype: DType, words: Option<&Path>) -> Lab {
    let corpus = match words {
        Some(path) => Corpus::files(tiny::tokenizer(), &[path.to_owned()]),
        None => Corpus::storybook(tiny::tokenizer()),
    };
    let model = tiny::model(tiny::tokenizer().vocab_size());
    let model = cast_tensors(model, dtype);
    Lab::new("tiny", model, hash.to_owned(), device, corpus.unwrap()).unwrap()
}

/// Each part of a record's identity is that of the lab, and a lab that differs in any of them
/// measures again.
#[test]
fn a_record_of_another_lab_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.txt");
    std::fs::write(&words, "a lamp in the attic ".repeat(60)).unwrap();
    let plain = || other_lab("a hash", "flex", DType::F32, None);
    let runs = Rc::new(Cell::new(0));
    let own = job(&runs, 1);
    // A part that is added must be told apart, too.
    let Identity {
        spec,
        model,
        data,
        device,
        dtype,
        weights,
    } = identity(&own.spec, &plain()).unwrap();
    assert_eq!(spec, own.spec.method.hash().unwrap());
    assert_eq!([model, device, dtype], ["a hash", "flex", "f32"]);
    assert_eq!((data.as_str(), weights), (plain().corpus().hash(), None));

    let given = |lab: Lab| {
        let model = tiny::model(tiny::tokenizer().vocab_size());
        lab.with_given("moments", model, "another hash").unwrap()
    };
    let others = [
        ("model", other_lab("another", "flex", DType::F32, None)),
        ("device", other_lab("a hash", "cuda", DType::F32, None)),
        ("dtype", other_lab("a hash", "flex", DType::F16, None)),
        (
            "texts",
            other_lab("a hash", "flex", DType::F32, Some(&words)),
        ),
        (
            "weights",
            plain().with_weights(Some(ProductType::Int8)).unwrap(),
        ),
        ("given model", given(plain())),
    ];
    for (name, other) in others {
        let store = Store::new(folder.path().join(name));
        let run = |lab: &Lab| {
            run(&[job(&runs, 1)], lab, &store, &info(), &mut NoObserver).unwrap();
            runs.replace(0)
        };
        assert_eq!([run(&plain()), run(&plain())], [3, 0], "{name}");
        let found = recorded(&own, &other, &store).unwrap();
        assert!(found.first().is_none(), "{name}");
        assert_eq!([run(&other), run(&other)], [3, 0], "{name}");
    }
}

/// A record is of one specification, model, device and type, and of one set of texts.
#[test]
fn a_record_of_anything_else_is_not_used() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let runs = Rc::new(Cell::new(0));
    let run = || {
        run(&[job(&runs, 1)], &lab, &store, &info(), &mut NoObserver).unwrap();
        runs.replace(0)
    };
    assert_eq!(run(), 3);
    assert_eq!(run(), 0);
    let changes: [fn(&mut Record); 11] = [
        |record| record.identity.model.push('x'),
        |record| record.identity.data.push('x'),
        |record| record.identity.device = "cuda".to_owned(),
        |record| record.identity.dtype = "f16".to_owned(),
        |record| record.identity.weights = Some("int8".to_owned()),
        |record| record.method.experiment = "similarity".to_owned(),
        |record| record.method.settings = toml_table("lengths = [9]"),
        |record| record.method.counts = toml_table("texts = 9"),
        |record| record.method.seed += 1,
        |record| record.method.version += 1,
        |record| record.unit.push('x'),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let unit = "counting-00008-0002-0004";
        let mut record = store.find("agreement", unit).unwrap().unwrap();
        let path = store.path("agreement", unit);
        change(&mut record);
        record.identity.spec = record.method.hash().unwrap();
        store.save(&record).unwrap();
        // The name of the file does not show its contents.
        let saved = store.path(&record.method.experiment, &record.unit);
        if saved != path {
            std::fs::rename(saved, path).unwrap();
        }
        assert_eq!(run(), 1, "change {index}");
    }
}
