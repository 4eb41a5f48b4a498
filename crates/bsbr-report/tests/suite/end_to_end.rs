//! All experiments on a random GPT-2 of two layers.

use std::path::Path;

use bsbr_report::ReportError;
use bsbr_report::experiment::Unit;
use bsbr_report::forecast::Forecast;
use bsbr_report::overview::Overview;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::{Plan, RECORDS, reproduce};
use bsbr_report::runner::{NoObserver, Observer};
use bsbr_report::spec::{ArmSpec, Overrides, Spec, parse_spec, read_arms};
use bsbr_report::store::Store;

use crate::tiny;

fn arms() -> Vec<ArmSpec> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arms.toml");
    std::fs::write(&path, tiny::ARMS).unwrap();
    read_arms(&path).unwrap()
}

fn specs(overrides: &Overrides) -> Vec<Spec> {
    let arms = arms();
    tiny::SPECS
        .iter()
        .map(|text| tiny::presented(text))
        .map(|text| parse_spec(Path::new("spec.toml"), &text, &arms, overrides).unwrap())
        .collect()
}

fn plan(overrides: &Overrides) -> Plan {
    Plan {
        specs: specs(overrides),
        only: Vec::new(),
        reported: Reported::default(),
        overview: Overview::default(),
        command: "a test".to_owned(),
        commit: None,
    }
}

/// Counts the units that are run, and stops after some.
#[derive(Debug, Default)]
struct Counter {
    run: usize,
    stop_after: Option<usize>,
}

impl Observer for Counter {
    fn recorded(&mut self, _: &str, _: &Unit, _: f64, _: &Forecast) {
        self.run += 1;
    }

    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|most| self.run >= most)
    }
}

/// Text without its sections on time, which is never the same twice.
fn without_times(text: &str) -> String {
    let sections = text.split("\n## ");
    let kept: Vec<&str> = sections.filter(|one| !one.starts_with("Time")).collect();
    kept.join("\n## ")
}

/// Markdown without what tells of the day and of the time taken.
fn figures(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for folder in [folder.to_owned(), folder.join("plots")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ending = path
                .extension()
                .map(|end| end.to_string_lossy().into_owned());
            if matches!(ending.as_deref(), Some("md" | "svg")) {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("## How it was run").next().unwrap();
                let text = without_times(text);
                all.push((
                    path.file_name().unwrap().to_string_lossy().into_owned(),
                    text,
                ));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_run_stops_goes_on_and_gives_the_same_figures_as_one_without_a_stop() {
    let lab = tiny::lab();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan(&Overrides::default());

    let mut stopped = Counter {
        stop_after: Some(3),
        ..Counter::default()
    };
    let error = reproduce(&plan, &lab, one.path(), &mut stopped).unwrap_err();
    assert!(
        matches!(error, ReportError::Stopped { done: 3, .. }),
        "{error}"
    );
    let mut rest = Counter::default();
    reproduce(&plan, &lab, one.path(), &mut rest).unwrap();

    let mut whole = Counter::default();
    let page = reproduce(&plan, &lab, two.path(), &mut whole).unwrap();
    assert_eq!(stopped.run + rest.run, whole.run);
    assert_eq!(page, two.path().join("index.html"));
    assert_eq!(figures(one.path()), figures(two.path()));

    let mut again = Counter::default();
    reproduce(&plan, &lab, two.path(), &mut again).unwrap();
    assert_eq!(again.run, 0);
}

#[test]
fn the_dense_arm_shows_no_difference_and_too_long_input_is_a_dash() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    reproduce(
        &plan(&Overrides::default()),
        &lab,
        folder.path(),
        &mut NoObserver,
    )
    .unwrap();
    let store = Store::new(folder.path().join(RECORDS));
    for (experiment, quantity, expected) in [
        ("similarity", "logits.kl", 0.0),
        ("similarity", "final.cosine", 1.0),
        ("agreement", "top1", 1.0),
        ("attention-maps", "maps.between", 1.0),
        ("attention-maps", "maps.own", 1.0),
        ("qa", "among.minus_dense", 0.0),
        ("qa", "share.minus_dense", 0.0),
    ] {
        let records = store.all(experiment).unwrap();
        let values: Vec<f64> = records
            .measurements()
            .filter(|one| one.arm == "dense" && one.length < 200)
            .map(|one| one.values[quantity])
            .collect();
        assert!(!values.is_empty());
        for value in values {
            assert!((value - expected).abs() < 1e-9, "{quantity}: {value}");
        }
    }
    let text = std::fs::read_to_string(folder.path().join("similarity.md")).unwrap();
    assert!(text.contains("the model has 96 positions"), "{text}");
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(page.contains("data:image/png;base64,"));
}

#[test]
fn questions_are_longer_than_the_model_and_the_section_says_what_was_done() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let only = Plan {
        only: vec!["qa".to_owned()],
        ..plan(&Overrides::default())
    };
    reproduce(&only, &lab, folder.path(), &mut NoObserver).unwrap();
    let records = Store::new(folder.path().join(RECORDS)).all("qa").unwrap();
    for one in records.measurements() {
        assert!(one.missing.is_empty(), "{:?}", one.missing);
        assert!(one.values["distance"] >= one.length as f64);
        assert!(one.values["tokens"] > tiny::POSITIONS as f64);
        assert!(one.values["seconds"] > 0.0);
        assert!((0.0..=1.0).contains(&one.values["share"]));
        // The most likely of five has at least a fifth.
        assert!(one.values["among"] == 0.0 || one.values["share"] >= 0.2);
    }
    assert_eq!(records.measurements().count(), 2 * 2 * 4);
    let text = std::fs::read_to_string(folder.path().join("qa.md")).unwrap();
    assert!(text.contains("has 96 positions"), "{text}");
    assert!(text.contains("chance is 20.0 %"), "{text}");
}

#[test]
fn summaries_are_recorded_with_their_texts_and_scored_beside_the_dense_model() {
    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let only = Plan {
        only: vec!["summarisation".to_owned()],
        ..plan(&Overrides::default())
    };
    reproduce(&only, &lab, folder.path(), &mut NoObserver).unwrap();
    let store = Store::new(folder.path().join(RECORDS));
    let records = store.all("summarisation").unwrap();
    // Four arms, two baselines and the highlights of two articles.
    assert_eq!(records.measurements().count(), 7 * 2);
    for one in records.measurements() {
        let modelled = !["lead-3", "random-3"].contains(&one.arm.as_str());
        assert_eq!(one.missing.is_empty(), modelled, "{:?}", one.missing);
        let text = &one.texts["summary"];
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(one.values["words"], text.split_whitespace().count() as f64);
        match one.arm.as_str() {
            "reference" => {
                let article = &one.texts["article"];
                assert!(article.ends_with('\n') && article.contains(' '));
                assert!(one.values["tokens"] > tiny::POSITIONS as f64);
                continue;
            }
            "lead-3" => {
                assert!(one.values["rouge1"] > 0.0);
                assert!(text.split_whitespace().count() > 9, "{text}");
            }
            "random-3" => {}
            _ => {
                assert!((1.0..=6.0).contains(&one.values["new_tokens"]));
                assert!(one.values["ended"] == 1.0 || one.values["new_tokens"] == 6.0);
                assert!(one.values["seconds"] > 0.0);
            }
        }
        if one.arm == "dense" {
            assert_eq!(one.values["rougeLsum.minus_dense"], 0.0);
            assert_eq!(one.values["as_dense"], 1.0);
        }
        assert!((0.0..=1.0).contains(&one.values["rouge2"]));
    }
    let text = std::fs::read_to_string(folder.path().join("summarisation.md")).unwrap();
    for part in [
        "has 96 positions",
        "no votes yet",
        "Lead-3, no model",
        "from the 20 most likely tokens at temperature 1,",
        "## An article and its summaries",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn another_seed_or_another_count_is_another_record() {
    let spec = |overrides: &Overrides| specs(overrides)[0].method.hash().unwrap();
    let standard = spec(&Overrides::default());
    assert_eq!(standard, spec(&Overrides::default()));
    let seed = Overrides {
        seed: Some(2),
        ..Overrides::default()
    };
    let quick = Overrides {
        quick: true,
        ..Overrides::default()
    };
    assert_ne!(standard, spec(&seed));
    assert_ne!(standard, spec(&quick));

    let lab = tiny::lab();
    let folder = tempfile::tempdir().unwrap();
    let only = |overrides: &Overrides| Plan {
        only: vec!["agreement".to_owned()],
        ..plan(overrides)
    };
    reproduce(
        &only(&Overrides::default()),
        &lab,
        folder.path(),
        &mut NoObserver,
    )
    .unwrap();
    let mut counter = Counter::default();
    reproduce(&only(&seed), &lab, folder.path(), &mut counter).unwrap();
    assert_eq!(counter.run, 5);
}

#[test]
fn what_a_scale_omits_runs_only_if_it_is_named() {
    let quick = Overrides {
        quick: true,
        ..Overrides::default()
    };
    let text = tiny::presented(tiny::SPECS[0]).replace("[quick]\n", "[quick]\nomit = true\n");
    let arms = arms();
    let parse = |overrides| parse_spec(Path::new("spec.toml"), &text, &arms, overrides).unwrap();
    let standard = Overrides::default();
    assert!(parse(&quick).omitted && !parse(&standard).omitted);

    let runs = |only: Vec<String>| {
        let mut plan = plan(&quick);
        plan.specs.truncate(2);
        plan.specs[0] = parse(&quick);
        plan.only = only;
        let folder = tempfile::tempdir().unwrap();
        reproduce(&plan, &tiny::lab(), folder.path(), &mut NoObserver).unwrap();
        let recorded = |spec: &Spec| {
            let records = folder.path().join(RECORDS);
            records.join(&spec.method.experiment).is_dir()
        };
        plan.specs.iter().map(recorded).collect::<Vec<_>>()
    };
    let named = specs(&quick)[0].method.experiment.clone();
    assert_eq!(runs(Vec::new()), [false, true]);
    assert_eq!(runs(vec![named]), [true, false]);
}

#[test]
fn what_is_asked_for_must_be_there() {
    let unknown = Plan {
        only: vec!["speed".to_owned()],
        ..plan(&Overrides::default())
    };
    let error = unknown.check().unwrap_err().to_string();
    assert!(
        error.contains("speed") && error.contains("agreement"),
        "{error}"
    );
}
