//! Running and resuming, with an experiment that only counts.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use bsbr_report::ReportError;
use bsbr_report::experiment::{Experiment, Unit, batches};
use bsbr_report::host::Machine;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Measurement, Records, RunInfo};
use bsbr_report::runner::{Job, Nobody, recorded, run};
use bsbr_report::section::Section;
use bsbr_report::spec::{Overrides, parse_spec};
use bsbr_report::store::Store;

use crate::tiny;

#[derive(Debug)]
struct Counting {
    runs: Rc<Cell<usize>>,
    lengths: Vec<u32>,
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

    fn render(&self, _records: &Records) -> Result<Section, ReportError> {
        Ok(Section::default())
    }
}

fn job(runs: &Rc<Cell<usize>>, seed: u64) -> Job {
    job_at(runs, seed, &[8], "agreement")
}

fn job_at(runs: &Rc<Cell<usize>>, seed: u64, lengths: &[u32], experiment: &str) -> Job {
    let text = format!(
        "experiment = \"{experiment}\"\ntitle = \"\"\nquestion = \"\"\norder = 1\nseed = 1\n\
         arms = []\n[settings]\nlengths = [8]"
    );
    let overrides = Overrides {
        seed: Some(seed),
        lengths: lengths.to_vec(),
        ..Overrides::default()
    };
    Job {
        spec: parse_spec(Path::new("counting.toml"), &text, &[], &overrides).unwrap(),
        experiment: Box::new(Counting {
            runs: runs.clone(),
            lengths: lengths.to_vec(),
        }),
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
        run(&[job(&runs, seed)], &lab, &store, &info(), &mut Nobody)
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

    // A record that was cut short counts as none.
    let path = store.path("agreement", "counting-00008-0002-0004");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    run(2);
    assert_eq!(runs.get(), 7);
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
            run(&jobs, &lab, &store, &info(), &mut Nobody).unwrap();
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
