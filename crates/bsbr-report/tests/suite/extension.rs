//! Texts beyond the trained positions: results of a model with more positions, before and after
//! training, and with each form of the longer table.

use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_report::arms;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{RECORDS, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::store::Store;

use crate::definitions::{answer, holds, nats, question};
use crate::tiny;

pub const SPEC: &str = r#"
experiment = "extension"
title = "Long texts"
question = "How far?"
order = 1
seed = 1
arms = ["dense", "local"]
chunk_size = 16
[settings]
times = 2
window = 96
rows = 2
learning_rate = 3e-3
stretches = [96, 192, 230]
distances = [30, 90]
candidates = 4
[counts]
windows = [0, 2]
more_windows = { local = [4] }
texts_per_domain = 1
questions = 1
per_unit = 5
"#;

pub const FORMS: &str = r#"
experiment = "positions"
title = "Forms"
question = "Which rows?"
order = 1
seed = 1
arms = ["local"]
chunk_size = 16
[settings]
times = 2
forms = [{ repeat = 25 }, "interpolate", { crossfade = { last = 90, fade = 50 } }]
window = 96
rows = 2
learning_rate = 3e-3
stretches = [96, 192, 230]
distances = [30, 90]
candidates = 4
[counts]
windows = [0]
texts_per_domain = 1
questions = 1
per_unit = 5
"#;

/// Holds what is recorded of a model against its logits.
fn check(records: &Records, lab: &Lab, id: &str, model: Gpt2) {
    // Beyond the longer table its second half again.
    let repeat = PositionExtension::repeat_half(2 * tiny::POSITIONS);
    let model = model.with_position_extension(repeat).unwrap();
    let ids = lab.corpus().text(1, "tale", 0, 230).unwrap();
    let mean = |start, end| nats(&model, &ids, start..end) / (end - start) as f64;
    for (start, end) in [(1, 96), (96, 192), (192, 230)] {
        let growth = (mean(start, end) - mean(1, 96)).exp();
        let values = [("nll", mean(start, end)), ("perplexity.growth", growth)];
        holds(of(records, id, "tale", end), values);
    }
    for distance in [30, 90] {
        let (question, between) = question(lab, distance, 4);
        let [among, exact, _] = answer(&model, &question);
        let one = of(records, id, "storybook questions", distance);
        holds(one, [among, exact, ("distance", between)]);
    }
}

fn of<'a>(records: &'a Records, id: &str, source: &str, length: usize) -> &'a Measurement {
    let mut all = records.measurements();
    let found =
        all.find(|one| (one.arm.as_str(), one.source.as_str(), one.length) == (id, source, length));
    found.unwrap_or_else(|| panic!("{id} on {source}, {length}"))
}

#[test]
fn forms_of_the_longer_table_are_compared_untrained() {
    let out = tempfile::tempdir().unwrap();
    let lab = tiny::lab();
    let spec = tiny::spec(FORMS);
    reproduce(&tiny::plan(spec.clone()), &lab, out.path(), &mut NoObserver).unwrap();
    let store = Store::new(out.path().join(RECORDS));
    let records = store.all("positions").unwrap();
    let positions = 2 * tiny::POSITIONS;
    let window = tiny::POSITIONS / 4;
    for (form, rows) in [
        ("repeat 25 %", PositionExtension::RepeatLast { window }),
        ("interpolate", PositionExtension::Interpolate { positions }),
    ] {
        let model = lab.model(spec.arm("local").unwrap(), 1).unwrap();
        let model = model.extended(positions, rows).unwrap();
        check(&records, &lab, &format!("local@{form}"), model);
    }
    // A form that the table has too few rows for says why, and does not end the run.
    let missing = of(&records, "local@crossfade 90 %, 50 %", "tale", 230);
    assert!(missing.values.is_empty());
    let reason = format!("{missing:?}");
    assert!(reason.contains("fade"), "{reason}");
}

#[test]
fn stretches_and_answers_are_those_of_the_logits() {
    let out = tempfile::tempdir().unwrap();
    let lab = tiny::lab().with_models_in(out.path().join("models"));
    let spec = tiny::spec(SPEC);
    reproduce(&tiny::plan(spec.clone()), &lab, out.path(), &mut NoObserver).unwrap();
    let store = Store::new(out.path().join(RECORDS));
    let records = store.all("extension").unwrap();
    let longer = PositionExtension::repeat_half(tiny::POSITIONS);
    let start = lab.model(spec.arm("local").unwrap(), 1).unwrap();
    let start = start.extended(2 * tiny::POSITIONS, longer).unwrap();
    let mut folders = std::fs::read_dir(out.path().join("models")).unwrap();
    let trained = folders.find_map(|folder| {
        let folder = folder.unwrap();
        let name = folder.file_name().to_string_lossy().into_owned();
        name.starts_with("local-positions-2-")
            .then(|| folder.path().join("model"))
    });
    let trained = arms::load(&trained.unwrap(), &lab.dense().device()).unwrap();
    for (id, model) in [("local@0", start), ("local@2", trained)] {
        check(&records, &lab, id, model);
    }
    let nll = |id: &str| of(&records, id, "tale", 96).values["nll"];
    assert_ne!(nll("local@0"), nll("local@2"));
    // The arm's own further run.
    assert_ne!(nll("local@2"), nll("local@4"));
    let ids: Vec<&str> = records.measurements().map(|one| one.arm.as_str()).collect();
    assert!(!ids.contains(&"dense@4"));
}
