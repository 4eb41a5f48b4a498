//! Comparison of models, each with the attention of its folder.

use bsbr_attention::ArmConfig;
use bsbr_convert::{ConversionPlan, SaveOptions, convert, save_model};
use bsbr_gpt2::Gpt2;
use bsbr_report::ReportError;
use bsbr_report::corpus::Texts;
use bsbr_report::evaluate::evaluate;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Pool, Records};
use bsbr_report::reproduce::{Plan, RECORDS, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::section::Cell;
use bsbr_report::spec::Spec;
use bsbr_report::store::Store;
use burn::tensor::Device;

use crate::tiny;

const LOCAL: &str = "local:chunk_size=16,sink_tokens=2";

const SPEED: &str = r#"
experiment = "speed"
title = "Speed"
question = "How fast?"
order = 7
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
lengths = [32, 80]
fit_from = 32
slow_seconds = 30.0
baselines = []
[counts]
runs = 2
slow_runs = 1
"#;

fn plan() -> Plan {
    let specs: Vec<Spec> = tiny::SPECS
        .into_iter()
        .chain([SPEED])
        .map(tiny::spec)
        .collect();
    Plan {
        specs: specs.clone(),
        ..tiny::plan(specs[0].clone())
    }
}

fn converted(plan: &ConversionPlan) -> Gpt2 {
    convert(tiny::model(tiny::tokenizer().vocab_size()), plan).unwrap()
}

fn uniform(arm: &str) -> Gpt2 {
    converted(&ConversionPlan::uniform(arm.parse().unwrap()))
}

#[test]
fn a_model_is_measured_as_its_arm_is() {
    let folder = tempfile::tempdir().unwrap();
    let only = Plan {
        only: vec!["agreement".to_owned()],
        ..plan()
    };
    reproduce(&only, &tiny::lab(), folder.path(), &mut NoObserver).unwrap();
    let expected: Records = Store::new(folder.path().join(RECORDS))
        .all("agreement")
        .unwrap();
    let expected = expected.estimate("local", Pool::Texts, 80, "top1").unwrap();

    let folder = tempfile::tempdir().unwrap();
    let lab = tiny::lab().with_given("some/folder", uniform(LOCAL), "a hash");
    let lab = lab.unwrap();
    let found = evaluate(&plan(), &lab, folder.path(), &mut NoObserver).unwrap();
    let row = |title: &str| {
        let found = found.headlines.iter().find(|one| one.title == title);
        &found.unwrap_or_else(|| panic!("{title}")).cells
    };
    let top1 = &row("top-1")["some/folder"];
    assert!(
        matches!(top1, Cell::Measured(found, _) if found.mean == expected.mean),
        "{top1:?}"
    );
    assert_eq!(row("top-1")["dense"].value(), Some(1.0));
    for title in ["perplexity", "right answers", "ROUGE-L", "speed-up"] {
        assert!(
            row(title).values().all(|cell| cell.value().is_some()),
            "{title}"
        );
    }
    let cache = row("cache, MiB");
    assert!(cache["some/folder"].value() < cache["dense"].value());

    let table = found.markdown();
    for part in [
        "tiny (base)",
        "some/folder",
        LOCAL,
        "| perplexity",
        "[",
        "- ROUGE-L: F1",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let json = found.json();
    assert_eq!(json["models"][1]["name"], "some/folder");
    let share = json["models"][1]["measured"]["top-1"]["value"].as_f64();
    assert_eq!(share, Some(expected.mean));

    let wrong = Plan {
        only: vec!["density".to_owned()],
        ..plan()
    };
    let error = evaluate(&wrong, &lab, folder.path(), &mut NoObserver).unwrap_err();
    assert!(
        error.to_string().contains("perplexity, agreement"),
        "{error}"
    );
}

#[test]
fn a_model_of_another_vocabulary_is_refused() {
    let error = tiny::lab()
        .with_given("other", tiny::model(300), "a hash")
        .unwrap_err();
    assert!(
        matches!(
            error,
            ReportError::Unlike {
                what: "vocabulary",
                ..
            }
        ),
        "{error}"
    );
}

fn opened(model: &Gpt2) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    save_model(model, folder.path(), &SaveOptions::default()).unwrap();
    tiny::tokenizer().save(folder.path()).unwrap();
    Lab::open(folder.path(), &Device::flex(), "flex", &Texts::default()).unwrap()
}

#[test]
fn a_converted_folder_stands_where_the_default_arm_does() {
    let arm: ArmConfig = LOCAL.parse().unwrap();
    let lab = opened(&uniform(LOCAL));
    assert!(lab.has_arms());
    let mut specs = plan().specs;
    let before = lab.model_hash().to_owned();
    let lab = lab.replacing_default_arm(None, &mut specs).unwrap();
    assert_ne!(lab.model_hash(), before);
    for spec in &specs {
        let own = spec.arm("moments").unwrap();
        assert_eq!(own.config, arm);
        assert_eq!(lab.model(own, 1).unwrap().config().arm(1), arm);
        let dense = lab.model(spec.arm("dense").unwrap(), 1).unwrap();
        assert_eq!(dense.config().arm(1), ArmConfig::DENSE);
    }

    let dense = opened(&tiny::model(tiny::tokenizer().vocab_size()));
    assert!(!dense.has_arms());
    let (mut same, before) = (plan().specs, dense.model_hash().to_owned());
    let dense = dense.replacing_default_arm(None, &mut same).unwrap();
    assert_eq!(
        (dense.model_hash(), &same),
        (before.as_str(), &plan().specs)
    );

    // An arm of the run's own is a row of converted and of other models.
    let other: ArmConfig = "local:chunk_size=8".parse().unwrap();
    for lab in [dense, opened(&uniform(LOCAL))] {
        let lab = lab.replacing_default_arm(Some(&other), &mut same).unwrap();
        for spec in &same {
            let own = spec.arm("moments").unwrap();
            assert_eq!(
                (&own.config, own.label.as_str()),
                (&other, "local:chunk_size=8")
            );
            assert_eq!(lab.model(own, 1).unwrap().config().arm(1), other);
        }
    }
}

#[test]
fn layers_with_several_arms_are_refused_where_a_row_has_one() {
    let plan = ConversionPlan::uniform(ArmConfig::DENSE).with_layer(1, LOCAL.parse().unwrap());
    let error = opened(&converted(&plan))
        .replacing_default_arm(None, &mut [])
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("(0: dense, 1: {LOCAL})")), "{text}");
}
