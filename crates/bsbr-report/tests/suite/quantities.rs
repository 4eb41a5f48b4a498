//! Experiments record what specifications declare, derived quantities follow from the records, and
//! no time is longer than its clock's.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use bsbr_report::experiments;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{RECORDS, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::spec::{Overrides, Spec};
use bsbr_report::store::Store;

use crate::{
    common, density, extension, hybrid, layers, levels, methods, reading_memory, recovery, speed,
    streaming, sweep, tiny, training_memory, weights,
};

/// The least that an experiment can be run on.
fn least(experiment: &str) -> String {
    let text = match experiment {
        "density" => density::DENSITY,
        "extension" => extension::SPEC,
        "hybrid" => hybrid::SPEC,
        "layers" => layers::SPEC,
        "levels" => levels::SPEC,
        "memory" => reading_memory::PASS,
        "positions" => extension::FORMS,
        "methods" => methods::METHODS,
        "reading-memory" => reading_memory::READING,
        "recovery" => recovery::RECOVERY,
        "speed" => speed::SPEED,
        "streaming" => streaming::STREAMING,
        "training-memory" => training_memory::SPEC,
        "weights" => weights::WEIGHTS,
        "chunk-size" | "clusters" | "compression" | "exact-clusters" | "lookups" | "spans" => {
            return sweep::text(experiment);
        }
        shared => tiny::text(shared),
    };
    // A training is enough, and a question at each distance.
    let less = [
        ("epochs = [0, 1, 2]", "epochs = [0, 1]"),
        ("epochs = 2", "epochs = 1"),
        ("windows = 4", "windows = 1"),
        ("texts_per_domain = 2", "texts_per_domain = 1"),
        ("articles = 2", "articles = 1"),
        ("pieces = 100", "pieces = 1"),
    ];
    let less = less.iter();
    less.fold(text.to_owned(), |text, (more, less)| {
        text.replace(more, less)
    })
}

/// The records of an experiment at its least.
fn records(experiment: &str, out: &Path) -> (Spec, Records) {
    let worker = match experiment {
        "training-memory" => training_memory::worker(),
        _ => reading_memory::worker(),
    };
    let lab = tiny::lab()
        .with_models_in(out.join("models"))
        .with_worker(worker)
        .with_python(Some(reading_memory::python(out)));
    // The script has no answers for others.
    let baselines = match experiment {
        "reading-memory" => vec!["torch".to_owned()],
        _ => Vec::new(),
    };
    let overrides = Overrides {
        baselines,
        ..Overrides::default()
    };
    let spec = tiny::spec_with(&least(experiment), &overrides);
    reproduce(&tiny::plan(spec.clone()), &lab, out, &mut NoObserver).unwrap();
    let records = Store::new(out.join(RECORDS)).all(experiment).unwrap();
    (spec, records)
}

/// Whether a name is a declared one, of which a `*` is any part.
fn is_like(declared: &str, name: &str) -> bool {
    let parts: [Vec<&str>; 2] = [declared, name].map(|name| name.split('.').collect());
    let [declared, name] = &parts;
    let mut both = declared.iter().zip(name);
    declared.len() == name.len() && both.all(|(one, other)| *one == "*" || one == other)
}

/// Each declared quantity has a value, and each value is declared.
fn check_names(spec: &Spec, records: &Records) {
    let all = records.measurements();
    let names: BTreeSet<&String> = all.flat_map(|one| one.values.keys()).collect();
    let declared: Vec<&str> = spec.layout.quantities.names().collect();
    let experiment = &spec.method.experiment;
    for name in &declared {
        let found = names.iter().any(|found| is_like(name, found));
        assert!(found, "{experiment} declares `{name}`, but records none");
    }
    for found in names {
        let known = declared.iter().any(|name| is_like(name, found));
        assert!(known, "{experiment} records `{found}`, but declares none");
    }
}

/// How a quantity follows from one of the row's and that of another row of the same round or sample.
type Rule = fn(f64, f64) -> f64;

/// What the quantity of this name follows from: a quantity, the other row's id, and how.
fn derived<'a>(spec: &'a Spec, name: &'a str) -> Option<(&'a str, &'a str, Rule)> {
    let arms = &spec.method.arms;
    let default = arms
        .iter()
        .find(|arm| arm.default)
        .map(|arm| arm.id.as_str());
    let over: Rule = |own, other| own / other;
    let beyond: Rule = |own, other| own - other;
    let faster: Rule = |own, other| other / own;
    match (spec.method.experiment.as_str(), name) {
        ("memory", "share") => return Some(("growth", "dense", over)),
        ("weights", "milliseconds") => return Some(("seconds", "dense", |own, _| own * 1e3)),
        ("weights", "perplexity.by_dense") => {
            return Some(("loss", "dense", |own, other| (own - other).exp()));
        }
        (_, "speedup") => return Some(("seconds", "dense", faster)),
        (_, "attention.speedup") => return Some(("attention.seconds", "dense", faster)),
        _ => {}
    }
    let (base, beside) = name.rsplit_once('.')?;
    Some(match beside {
        "minus_dense" => (base, "dense", beyond),
        "by_dense" => (base, "dense", over),
        "by_torch" => (base, "torch-sdpa", over),
        "minus_default" => (base, default?, beyond),
        "by_default" => (base, default?, over),
        _ => return None,
    })
}

/// Recomputes what is derived, beside the rows of its own round or sample; says how much was.
fn check_derived(spec: &Spec, records: &Records) -> BTreeSet<String> {
    let all: Vec<&Measurement> = records.measurements().collect();
    let mut checked = BTreeSet::new();
    for one in &all {
        for (name, found) in &one.values {
            let Some((base, other, rule)) = derived(spec, name) else {
                continue;
            };
            let place = (other, &one.source, one.length, one.index);
            let mut others = all.iter();
            let other =
                others.find(|it| (it.arm.as_str(), &it.source, it.length, it.index) == place);
            let expected = rule(one.values[base], other.unwrap().values[base]);
            let near = (found - expected).abs() <= 1e-7 * (1.0 + expected.abs());
            assert!(
                near,
                "{name} of {} in {place:?}: {found}, not {expected}",
                one.arm
            );
            checked.insert(name.clone());
        }
    }
    checked
}

/// The seconds of a measurement that passed while its unit ran.
fn spent(experiment: &str, one: &Measurement) -> f64 {
    let of = |name: &str| one.values.get(name).copied().unwrap_or_default();
    match (experiment, one.source.as_str()) {
        // The mean of 32 tokens.
        ("weights", "decoding") => 32.0 * of("seconds"),
        // Nine tokens; contexts are read on from those of other units.
        ("streaming", _) => 9.0 * of("token"),
        // A worker that only says what it took.
        ("memory" | "reading-memory" | "training-memory", _) => 0.0,
        _ => of("seconds") + of("attention.seconds"),
    }
}

/// The minimum share of all units' time that [`spent`] has. Where times are most of what a unit does,
/// it is more than half of the usual share, so that half of a time would be found out.
fn least_spent(experiment: &str) -> f64 {
    match experiment {
        "summarisation" | "qa" => 0.6,
        "speed" => 0.4,
        "streaming" => 0.25,
        "weights" => 0.2,
        _ => 0.0,
    }
}

#[test]
fn what_is_declared_is_recorded_and_follows_from_its_definition() {
    let mut declared = BTreeSet::new();
    for committed in common::specs(&Overrides::default()) {
        let experiment = committed.method.experiment.as_str();
        let out = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let (spec, records) = records(experiment, out.path());
        let wall = start.elapsed().as_secs_f64();
        // The quantities are those of the committed specification.
        assert_eq!(spec.layout.quantities, committed.layout.quantities);
        check_names(&spec, &records);
        let checked = check_derived(&spec, &records);
        for name in spec.layout.quantities.names() {
            let is_derived = derived(&spec, name).is_some();
            assert_eq!(is_derived, checked.contains(name), "{experiment} {name}");
        }
        let mut units = 0.0;
        let mut total = 0.0;
        for record in records.iter() {
            let own = record.measurements.iter();
            let spent: f64 = own.map(|one| spent(experiment, one)).sum();
            // Records have milliseconds.
            let within = record.seconds + 1e-3;
            assert!(
                spent <= within,
                "{experiment}, {}: {spent} of {within}",
                record.unit
            );
            units += record.seconds;
            total += spent;
        }
        let least = least_spent(experiment) * units;
        assert!(
            total >= least,
            "{experiment}: {total} of {units}, not {least}"
        );
        assert!(
            units <= wall + 1e-3 * records.iter().count() as f64,
            "{experiment}"
        );
        declared.insert(experiment.to_owned());
    }
    let known: BTreeSet<String> = experiments::names()
        .iter()
        .map(|&name| name.into())
        .collect();
    assert_eq!(
        declared, known,
        "experiments without a committed specification"
    );
}
