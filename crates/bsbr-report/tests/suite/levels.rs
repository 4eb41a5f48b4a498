//! Levels of heads: the texts on which they are chosen, and the measurements with them.

use std::collections::BTreeSet;

use bsbr_attention::HeadLevel;
use bsbr_convert::{ChosenLevels, choose_levels};
use bsbr_gpt2::{PositionExtension, TokenBatch};
use bsbr_report::arms;
use bsbr_report::experiments;
use bsbr_report::experiments::levels::CHOICE;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{RECORDS, differences, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::store::Store;

use crate::common::close;
use crate::definitions::{answer, closeness, first, holds, mean, question};
use crate::tiny;

pub const SPEC: &str = r#"
experiment = "levels"
title = "Levels"
question = "How many?"
order = 1
seed = 1
arms = ["dense", "moments", "local"]
chunk_size = 16
[settings]
budgets = [0.0, 0.001, 100.0]
choosing_length = 96
length = 90
distance = 20
candidates = 4
extension = { repeat_last = { window = 64 } }
[counts]
choosing_texts = 3
texts = 5
questions = 2
per_unit = 2
"#;

/// Tokens in a row that no text for choices shares with another.
const SHARED: usize = 32;

/// The levels that conversion chooses on the texts for choices.
fn chosen(lab: &Lab, budget: f64) -> ChosenLevels {
    let spec = tiny::spec(SPEC);
    let model = lab.model(spec.arm("moments").unwrap(), 1).unwrap();
    let texts = lab.corpus().development(1, 3, 96).unwrap();
    let batches: Vec<TokenBatch> = texts
        .iter()
        .map(|text| TokenBatch::single(text).unwrap())
        .collect();
    choose_levels(model, &batches, budget, |_, _| {}).unwrap().1
}

#[test]
fn texts_for_choices_are_no_others() {
    let lab = tiny::lab();
    let windows = |text: &[u32]| -> BTreeSet<Vec<u32>> {
        text.windows(SHARED).map(<[u32]>::to_vec).collect()
    };
    let for_choices: BTreeSet<Vec<u32>> = lab
        .corpus()
        .development(1, 10, 400)
        .unwrap()
        .iter()
        .flat_map(|text| windows(text))
        .collect();
    assert!(for_choices.len() > 3_000);
    for domain in lab.corpus().domains() {
        for index in 0..4 {
            let text = lab.corpus().text(1, &domain, index, 400).unwrap();
            assert!(windows(&text).is_disjoint(&for_choices), "{domain} {index}");
        }
    }
}

#[test]
fn each_budget_is_measured_with_the_levels_that_it_gives() {
    let (lab, spec) = (tiny::lab(), tiny::spec(SPEC));
    let folder = tempfile::tempdir().unwrap();
    let plan = tiny::plan(spec.clone());
    reproduce(&plan, &lab, folder.path(), &mut NoObserver).unwrap();
    assert_eq!(
        differences(&plan, &lab, folder.path()).unwrap(),
        Vec::<std::path::PathBuf>::new()
    );
    let records: Records = Store::new(folder.path().join(RECORDS))
        .all("levels")
        .unwrap();
    let all: Vec<Measurement> = records.measurements().cloned().collect();
    let (question, _) = question(&lab, 20, 4);
    let of = |arm: &str, source: &str| -> Vec<&Measurement> {
        let own = |one: &&Measurement| {
            one.arm == arm && (one.source == source || source == "texts" && one.length == 90)
        };
        all.iter().filter(own).collect()
    };
    let values = |arm: &str, quantity: &str| -> Vec<f64> {
        let all = of(arm, "texts");
        all.iter().map(|one| one.values[quantity]).collect()
    };
    for budget in ["0", "0.001", "100"] {
        let id = format!("moments-budget-{budget}");
        let expected = chosen(&lab, budget.parse().unwrap());
        let choice = of(&id, CHOICE)[0];
        let looking = expected.levels.concat();
        let count = |level| looking.iter().filter(|of| **of == level).count() as f64;
        for (quantity, level) in [
            ("heads.near", HeadLevel::Near),
            ("heads.clusters", HeadLevel::Clusters),
            ("heads.lookups", HeadLevel::Lookups),
        ] {
            assert_eq!(choice.values[quantity], count(level), "{id} {quantity}");
        }
        for (layer, heads) in expected.levels.iter().enumerate() {
            for (head, level) in heads.iter().enumerate() {
                let number = match level {
                    HeadLevel::Near => 0.0,
                    HeadLevel::Clusters => 1.0,
                    HeadLevel::Lookups => 2.0,
                };
                holds(choice, [(format!("level.{layer:02}.{head:02}"), number)]);
            }
        }
        let arm = &spec.arm("moments").unwrap().config;
        let model = arms::with_levels(lab.dense(), arm, &expected.levels).unwrap();
        let choices = lab.corpus().development(1, 3, 96).unwrap();
        let kl = |text: &Vec<u32>| closeness(lab.dense(), &model, text)[0].1;
        holds(choice, [("choice.kl", mean(choices.iter().map(kl)))]);
        let kl = choice.values["choice.kl"];
        assert!((kl - expected.kl_after).abs() <= 1e-8 * kl, "{id}");
        // Texts and questions are read with these levels, and keep what they say.
        let extension = PositionExtension::RepeatLast { window: 64 };
        let model = model.with_position_extension(extension).unwrap();
        let ids = lab.corpus().text(1, "tale", 0, 90).unwrap();
        let one = first(&all, &id, "tale");
        holds(one, closeness(lab.dense(), &model, &ids));
        let mut cache = model.new_cache();
        let batch = TokenBatch::single(&ids).unwrap();
        model.forward_cached(&batch, &mut cache).unwrap();
        let bytes = cache.bytes() as f64;
        close(one.values["cache.bytes"] / bytes, 1.0, 1e-7, &id);
        holds(one, [("cache", bytes / (2 * 2 * 32 * 90 * 4) as f64)]);
        let [among, exact, _] = answer(&model, &question);
        holds(first(&all, &id, "storybook questions"), [among, exact]);
        assert_eq!(values(&id, "kl").len(), 5);
        assert_eq!(of(&id, "storybook questions").len(), 2);
    }
    // Without a limit no head looks far, as in the local arm.
    assert_eq!(
        of("moments-budget-100", CHOICE)[0].values["heads.near"],
        4.0
    );
    let [near, local] = ["moments-budget-100", "local"].map(|id| values(id, "kl"));
    for (near, local) in near.iter().zip(&local) {
        assert!((near - local).abs() < 1e-6, "{near}, {local}");
    }
    let [own, base] = ["moments-budget-100", "moments"].map(|id| values(id, "cache"));
    assert!(own.iter().zip(&base).all(|(own, base)| own < base));
    let page = std::fs::read_to_string(folder.path().join("levels.md")).unwrap();
    for part in [
        "budget 0.001",
        "near",
        "attention, speed-up",
        "Compared with the default",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
    let plot = folder.path().join("plots/levels-pareto.svg");
    let plot = std::fs::read_to_string(plot).unwrap();
    // Four charts, a point for each of six rows.
    assert_eq!(plot.matches("class=\"mark\"").count(), 4 * 6);
}

#[test]
fn what_is_unsound_is_refused() {
    for (from, to, part) in [
        ("[0.0, 0.001, 100.0]", "[]", "`budgets`"),
        ("[0.0, 0.001, 100.0]", "[-1.0]", "`budgets`"),
        ("length = 90", "length = 96", "differ"),
        (
            "choosing_texts = 3",
            "choosing_texts = 0",
            "`choosing_texts`",
        ),
        (
            "[\"dense\", \"moments\", \"local\"]",
            "[\"dense\", \"local\"]",
            "the default arm",
        ),
    ] {
        let spec = tiny::spec(&SPEC.replacen(from, to, 1));
        let error = experiments::build(&spec).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    // Without the record of the choice, rows of budgets say why they are empty.
    let (lab, spec) = (tiny::lab(), tiny::spec(SPEC));
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    let text = units.iter().find(|unit| unit.length == 90).unwrap();
    let all = experiment.run_unit(text, &lab).unwrap();
    let one = all
        .iter()
        .find(|one| one.arm == "moments-budget-0.001")
        .unwrap();
    assert_eq!(one.missing["*"], "levels have not been chosen yet");
}
