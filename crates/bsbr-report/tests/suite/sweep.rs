//! Sweeps: what is measured at each value, and what the section says.

use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use bsbr_report::experiments;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{differences, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::spec::Spec;

use crate::common;
use crate::definitions::{answer, closeness, first, holds, question};
use crate::tiny;

const SWEEP: &str = r#"
experiment = "chunk-size"
title = "Chunk size"
question = "How large?"
order = 1
seed = 1
arms = ["dense"]
[[sweep]]
of = "moments"
parameter = "chunk_size"
values = [8, 16, 128]
[settings]
length = 120
distance = 30
candidates = 4
extension = { repeat_last = { window = 64 } }
[counts]
texts = 5
questions = 2
per_unit = 2
"#;

/// Every sweep: an arm, its setting, and a value of it.
const SWEEPS: [(&str, &str, &str, u32); 6] = [
    ("chunk-size", "moments", "chunk_size", 8),
    ("clusters", "small", "clusters", 2),
    ("exact-clusters", "small", "exact_clusters", 2),
    ("lookups", "small", "kv_bits", 8),
    ("spans", "small", "span", 2),
    ("compression", "state", "compression", 4),
];

/// The tiny specification of one of the sweeps.
pub fn text(experiment: &str) -> String {
    let (_, arm, setting, value) = SWEEPS
        .into_iter()
        .find(|one| one.0 == experiment)
        .unwrap_or_else(|| panic!("{experiment} has no tiny specification"));
    SWEEP
        .replace("chunk-size", experiment)
        .replace("moments", arm)
        .replace("chunk_size", setting)
        .replace("[8, 16, 128]", &format!("[{value}]"))
}

fn spec() -> Spec {
    tiny::spec(SWEEP)
}

#[test]
fn every_sweep_records_what_its_models_give() {
    for (experiment, arm, setting, value) in SWEEPS {
        // Bases are calibrated once for each lab.
        let (lab, spec) = (tiny::lab(), tiny::spec(&text(experiment)));
        let extension = PositionExtension::RepeatLast { window: 64 };
        let id = format!("{arm}-{setting}-{value}");
        let [dense, own] = ["dense", &id].map(|id| {
            let arm = spec.arm(id).unwrap();
            lab.model_for_any_length(arm, 1, extension).unwrap()
        });
        let experiment = experiments::build(&spec).unwrap();
        let units = experiment.units(&lab).unwrap();
        let measured = |source: &str| -> Measurement {
            let unit = units.iter().find(|unit| unit.source == source).unwrap();
            let all = experiment.run_unit(unit, &lab).unwrap();
            first(&all, &id, source).clone()
        };
        let ids = lab.corpus().text(1, "tale", 0, 120).unwrap();
        let one = measured("tale");
        let expected = closeness(&dense, &own, &ids);
        assert!(expected[0].1 > 1e-4, "{id} loses nothing: {expected:?}");
        holds(&one, expected);
        // By definition what is kept by reading.
        let kept = |model: &Gpt2| {
            let mut cache = model.new_cache();
            let batch = TokenBatch::single(&ids).unwrap();
            model.forward_cached(&batch, &mut cache).unwrap();
            cache.bytes() as f64
        };
        // A cache also has the mixture of states that its last chunk reads, of rank 8: two layers of
        // two heads.
        let mixture = match arm {
            "state" => (2 * 2 * 8 * 8 * 4) as f64,
            _ => 0.0,
        };
        holds(&one, [("cache", (kept(&own) - mixture) / kept(&dense))]);
        let (question, _) = question(&lab, 30, 4);
        let [among, exact, _] = answer(&own, &question);
        holds(&measured("storybook questions"), [among, exact]);
    }
}

#[test]
fn each_value_is_measured_on_texts_and_questions() {
    let (lab, spec) = (tiny::lab(), spec());
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 6, "five domains and the questions");
    let all: Vec<Measurement> = units
        .iter()
        .flat_map(|unit| experiment.run_unit(unit, &lab).unwrap())
        .collect();
    assert_eq!(all.len(), 4 * (5 + 2));
    let of = |arm: &str, quantity: &str| -> Vec<f64> {
        let own = all.iter().filter(|one| one.arm == arm);
        own.filter_map(|one| one.values.get(quantity).copied())
            .collect()
    };
    for arm in &spec.method.arms {
        assert_eq!(of(&arm.id, "kl").len(), 5, "{}", arm.id);
        assert_eq!(of(&arm.id, "speedup").len(), 5);
        assert_eq!(of(&arm.id, "among").len(), 2);
    }
    // A chunk of 128 holds all of 120 tokens but the sinks: nothing is far, nothing is lost.
    for exact in ["dense", "moments-chunk_size-128"] {
        assert!(of(exact, "kl").iter().all(|&kl| kl < 1e-9), "{exact}");
        assert_eq!(of(exact, "among"), of("dense", "among"));
    }
    assert!(of("moments-chunk_size-8", "kl").iter().all(|&kl| kl > 1e-9));
    assert_eq!(of("moments-chunk_size-128", "cache")[0], 1.0);
}

#[test]
fn the_section_sets_values_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let plan = tiny::plan(spec());
    reproduce(&plan, &tiny::lab(), folder.path(), &mut NoObserver).unwrap();
    assert_eq!(
        differences(&plan, &tiny::lab(), folder.path()).unwrap(),
        Vec::<std::path::PathBuf>::new()
    );
    let file = folder.path().join("chunk-size.md");
    let text = std::fs::read_to_string(&file).unwrap();
    for part in [
        "moments, chunk size 8",
        "Relative to the first value",
        "| 1.00 |",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // Overviews show arms, not the values of their settings.
    let index = std::fs::read_to_string(folder.path().join("index.md")).unwrap();
    assert!(!index.contains("chunk size 8"), "{index}");
    // A file that was changed by hand is found.
    std::fs::write(&file, text.replace("1.00", "9.99")).unwrap();
    let found = differences(&plan, &tiny::lab(), folder.path()).unwrap();
    assert_eq!(found, [file]);
}

#[test]
fn the_section_says_that_the_dense_model_answers_nothing() {
    let spec = spec();
    let said = |right: [f64; 2]| {
        let measured = |index: usize| {
            let mut one = Measurement::new("dense", "storybook questions", 30, index as u64);
            one.set("among", right[index]);
            one
        };
        let record = common::record(&spec, "questions", vec![measured(0), measured(1)], 2);
        let experiment = experiments::build(&spec).unwrap();
        experiment.word("unanswered", &Records::new(vec![record]))
    };
    let said = [[0.0, 0.0], [0.0, 1.0]].map(|right| said(right).unwrap());
    assert!(said[0].contains("none of these questions"), "{said:?}");
    assert_eq!(said[1], "");
}
