//! Layer-wise conversion: what is measured, how an order resumes, and what the section says.

use std::path::{Path, PathBuf};

use bsbr_convert::{ConversionPlan, convert};
use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_report::ReportError;
use bsbr_report::arms::converted_in;
use bsbr_report::experiment::Unit;
use bsbr_report::experiments;
use bsbr_report::forecast::Forecast;
use bsbr_report::lab::Lab;
use bsbr_report::record::{Measurement, Record, Records};
use bsbr_report::reproduce::{RECORDS, differences, reproduce};
use bsbr_report::runner::{NoObserver, Observer};
use bsbr_report::section::{Block, Section};
use bsbr_report::spec::{Overrides, Spec};
use bsbr_report::store::Store;
use bsbr_report::verdict::Judgement;

use crate::common;
use crate::definitions::{closeness, holds, loss};
use crate::tiny;

const LAYERS: usize = 3;

/// KL on texts for choices, as records name it.
const CHOICE: &str = "choice.kl";

pub const SPEC: &str = r#"
experiment = "layers"
title = "Layers"
question = "Which?"
order = 1
seed = 1
arms = ["dense", "moments", "local"]
chunk_size = 16
[settings]
length = 80
least_agreement = 0.9
[counts]
texts = 10
choosing_texts = 5
per_unit = 2
"#;

fn lab() -> Lab {
    tiny::deep_lab(LAYERS)
}

/// Runs all, and gives the records.
fn run(lab: &Lab, out: &Path) -> Vec<Record> {
    reproduce(&tiny::plan(tiny::spec(SPEC)), lab, out, &mut NoObserver).unwrap();
    records(out)
}

fn records(out: &Path) -> Vec<Record> {
    let all = Store::new(out.join(RECORDS)).all("layers").unwrap();
    all.iter().cloned().collect()
}

/// The mean of a quantity over all measurements of a record that have this id.
fn mean(record: &Record, id: &str, quantity: &str) -> f64 {
    let all = record.measurements.iter().filter(|one| one.arm == id);
    let values: Vec<f64> = all.map(|one| one.values[quantity]).collect();
    assert!(!values.is_empty(), "{id}");
    values.iter().sum::<f64>() / values.len() as f64
}

fn step<'a>(records: &'a [Record], arm: &str, step: usize) -> &'a Record {
    let start = format!("greedy-step-{step}-");
    let mut found = records
        .iter()
        .filter(|one| one.unit.starts_with(&start) && one.unit.ends_with(arm));
    found.next().unwrap()
}

#[test]
fn sets_of_layers_are_converted_as_they_say() {
    let lab = lab();
    let folder = tempfile::tempdir().unwrap();
    let all = run(&lab, folder.path());
    assert_eq!(all.len(), 2 * LAYERS + 5);
    let tale = all.iter().find(|one| one.unit.starts_with("tale")).unwrap();
    for (id, arm, layers) in [
        ("dense", "dense", None),
        ("moments", "moments", None),
        ("local in 1", "local", Some("0=dense,2=dense")),
        ("moments in 1, 2", "moments", Some("0=dense")),
    ] {
        let settings = match arm {
            "dense" => "dense".to_owned(),
            "local" => "local:chunk_size=16,sink_tokens=2".to_owned(),
            _ => "moments:chunk_size=16,clusters=4,sink_tokens=2,exact_clusters=8,kv_bits=32"
                .to_owned(),
        };
        let plan = ConversionPlan::parse(&settings, layers).unwrap();
        let model = convert(lab.dense().clone(), &plan).unwrap();
        for index in 0..2 {
            let ids = lab.corpus().text(1, "tale", index, 80).unwrap();
            let expected = closeness(lab.dense(), &model, &ids);
            let mut own = tale.measurements.iter();
            let found = own.find(|one| one.arm == id && one.index == index).unwrap();
            holds(found, expected);
            holds(found, [("nll", loss(&model, &ids))]);
            let kl = found.values["kl"];
            assert_eq!(kl == 0.0, id == "dense", "{id}");
        }
    }
    // Three alone, all, two and two of the first and last: seven, of which an order may be two.
    let ids = |arm: &str| {
        let own = |one: &&Measurement| one.index == 0 && one.arm.starts_with(arm);
        tale.measurements.iter().filter(own).count()
    };
    assert_eq!(ids("dense"), 1);
    for arm in ["moments", "local"] {
        assert!((6..=7).contains(&ids(arm)), "{arm}");
    }
    for one in &tale.measurements {
        let values = &one.values;
        assert!(!values.contains_key(CHOICE));
        assert!((0.0..=1.0).contains(&values["top1"]), "{}", one.arm);
        assert!(values["cosine"] <= 1.0 + 1e-9 && values["nll"] > 0.0);
        let dense = nll_of(tale, "dense", one.index);
        let beyond = values["nll"] - dense;
        assert!((values["nll.minus_dense"] - beyond).abs() < 1e-8);
    }
}

fn nll_of(record: &Record, id: &str, index: u64) -> f64 {
    let mut all = record.measurements.iter();
    let found = all.find(|one| one.arm == id && one.index == index);
    found.unwrap().values["nll"]
}

#[test]
fn each_step_tries_what_is_left_on_texts_that_no_table_reports() {
    let lab = lab();
    let folder = tempfile::tempdir().unwrap();
    let all = run(&lab, folder.path());
    for arm in ["moments", "local"] {
        let first = step(&all, arm, 1);
        let id = |layer: usize| format!("{arm} in {layer}");
        let costs: Vec<f64> = (0..LAYERS)
            .map(|layer| mean(first, &id(layer), CHOICE))
            .collect();
        assert_eq!(first.measurements.len(), LAYERS * 5);
        let least = costs.iter().copied().fold(f64::MAX, f64::min);
        let chosen = costs.iter().position(|&cost| cost == least).unwrap();
        let second = step(&all, arm, 2);
        assert_eq!(second.measurements.len(), (LAYERS - 1) * 5);
        for one in &second.measurements {
            let layers = one.arm.split_once(" in ").unwrap().1;
            assert!(layers.contains(&chosen.to_string()), "{}", one.arm);
        }
        let third = step(&all, arm, 3);
        assert!(third.measurements.iter().all(|one| one.arm == arm));
        // On the first of the other texts, which are those of another split.
        let text = Storybook::new(1)
            .plain(Split::Validation, Domain::Tale, 0, 80)
            .text;
        let mut ids = lab.corpus().tokenizer().encode_document(&text).unwrap();
        ids.truncate(80);
        let all = lab.model(tiny::spec(SPEC).arm(arm).unwrap(), 1).unwrap();
        for one in [&first.measurements[1], &second.measurements[0]] {
            let layers = one.arm.split_once(" in ").unwrap().1;
            let layers = layers
                .split([',', '–'])
                .map(|at| at.trim().parse().unwrap());
            let model = converted_in(&all, layers).unwrap();
            let [(_, kl), ..] = closeness(lab.dense(), &model, &ids);
            holds(one, [(CHOICE, kl)]);
        }
        for one in [first, second, third]
            .iter()
            .flat_map(|one| &one.measurements)
        {
            assert_eq!(one.source, "storybook, validation split");
            assert!(!one.values.contains_key("kl"));
        }
    }
    let choices = lab.corpus().development(1, 10, 80).unwrap();
    assert_eq!(choices.len(), 10);
    for domain in lab.corpus().domains() {
        for index in 0..4 {
            let text = lab.corpus().text(1, &domain, index, 80).unwrap();
            assert!(!choices.contains(&text), "{domain} {index}");
        }
    }
}

/// Counts the units that are run, and stops after some.
#[derive(Debug, Default)]
struct Counter {
    run: Vec<String>,
    stop_after: Option<usize>,
}

impl Observer for Counter {
    fn recorded(&mut self, _: &str, unit: &Unit, _: f64, _: &Forecast) {
        self.run.push(unit.id());
    }

    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|most| self.run.len() >= most)
    }
}

/// What was measured, without the time that it took.
fn measured(records: &[Record]) -> Vec<(String, Vec<Measurement>)> {
    let one = |record: &Record| (record.unit.clone(), record.measurements.clone());
    records.iter().map(one).collect()
}

#[test]
fn an_order_goes_on_at_the_step_where_it_stopped() {
    let lab = lab();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = tiny::plan(tiny::spec(SPEC));
    // After two steps of the first arm, and after one of the second.
    for stop_after in [2, 2] {
        let mut stopped = Counter {
            stop_after: Some(stop_after),
            ..Counter::default()
        };
        let error = reproduce(&plan, &lab, one.path(), &mut stopped).unwrap_err();
        assert!(matches!(error, ReportError::Stopped { .. }), "{error}");
    }
    let mut rest = Counter::default();
    reproduce(&plan, &lab, one.path(), &mut rest).unwrap();
    assert_eq!(rest.run.len(), 2 * LAYERS + 5 - 4);
    let whole = run(&lab, two.path());
    assert_eq!(measured(&records(one.path())), measured(&whole));

    // A step that is lost is taken again, from those before it, and nothing else is.
    let lost = step(&whole, "moments", 2).unit.clone();
    let path = Store::new(two.path().join(RECORDS)).path("layers", &lost);
    std::fs::remove_file(path).unwrap();
    let mut again = Counter::default();
    reproduce(&plan, &lab, two.path(), &mut again).unwrap();
    assert_eq!(again.run, [lost]);
    assert_eq!(measured(&records(two.path())), measured(&whole));
}

#[test]
fn the_section_is_made_of_records_alone() {
    let lab = lab();
    let folder = tempfile::tempdir().unwrap();
    let all = run(&lab, folder.path());
    let plan = tiny::plan(tiny::spec(SPEC));
    let others = differences(&plan, &lab, folder.path()).unwrap();
    assert_eq!(others, Vec::<PathBuf>::new());
    let experiment = experiments::build(&tiny::spec(SPEC)).unwrap();
    let render = || experiment.render(&Records::new(all.clone())).unwrap();
    assert_eq!(render(), render());
    let text = std::fs::read_to_string(folder.path().join("layers.md")).unwrap();
    for part in [
        "## Each layer alone",
        "| dense: none |",
        "| local, layer 2 |",
        "| moments, 2: 0, 1 |",
        "| moments, 3: 0–2 |",
        "## The k cheapest layers, chosen greedily",
        "perplexity",
        "**local**: converted alone, layer ",
        "validation split",
        "| local, step 3: layer ",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

/// What a layer costs, in made-up records.
pub const COSTS: [f64; 4] = [0.001, 0.002, 0.004, 0.008];

/// Made-up records of the committed specification: costs add up, and on the texts for choices a
/// layer costs `choice` of itself.
pub fn made_up(choice: fn(usize) -> f64) -> Section {
    let spec: Spec = common::specs(&Overrides::default())
        .into_iter()
        .find(|spec| spec.method.experiment == "layers")
        .unwrap();
    let mut all = Vec::new();
    for set in 0u32..16 {
        let layers: Vec<usize> = (0..4).filter(|layer| set >> layer & 1 == 1).collect();
        // Of four layers, only three in a row are written as a range.
        let words = match layers.as_slice() {
            [first, .., last] if last - first > 1 && last - first + 1 == layers.len() => {
                format!("{first}–{last}")
            }
            _ => {
                let words: Vec<String> = layers.iter().map(usize::to_string).collect();
                words.join(", ")
            }
        };
        for arm in ["summaries-state", "local"] {
            let id = match layers.len() {
                0 => "dense".to_owned(),
                4 => arm.to_owned(),
                _ => format!("{arm} in {words}"),
            };
            for index in 0..3u64 {
                let spread = 0.9 + 0.1 * index as f64;
                let cost = |of: &dyn Fn(usize) -> f64| -> f64 {
                    layers.iter().map(|&layer| of(layer)).sum::<f64>() * spread
                };
                let mut one = Measurement::new(&id, "tale", 1024, index);
                let kl = cost(&|layer| COSTS[layer]);
                one.set("kl", kl);
                one.set("top1", 1.0 - kl);
                one.set("cosine", 1.0 - kl);
                one.set("nll", 2.0 + kl);
                one.set("nll.minus_dense", kl);
                if !(layers.is_empty() && arm == "local") {
                    all.push(one);
                }
                let mut one = Measurement::new(&id, "made up for choices", 1024, index);
                one.set(CHOICE, cost(&|layer| choice(layer)));
                all.push(one);
            }
        }
    }
    let records = Records::new(vec![common::record(&spec, "all", all, 3)]);
    let experiment = experiments::build(&spec).unwrap();
    experiment.render(&records).unwrap()
}

fn first_text(section: &Section) -> &str {
    match &section.blocks[0] {
        Block::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_said_follows_from_the_numbers() {
    let section = made_up(|layer| COSTS[layer]);
    let text = first_text(&section);
    for part in [
        "**summaries and state**: converted alone, layer 3 costs the most, a KL of 0.00800 [",
        "layer 0 the least, 0.00100 [",
        "sum to 0.0150; all layers together cost 0.0150, 1.00 times the sum",
        "The greedy order is 0, 1, 2, 3.",
        "With 2 of 4 layers converted, KL reaches 20 % of its full value in the greedy order, \
         20 % for the first layers and 80 % for the last.",
        "The largest number of converted layers with at least 99 % top-1 agreement is 3 in the \
         greedy order, 3 for the first layers and 1 for the last.",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let found: Vec<Judgement> = section.verdicts.iter().map(|one| one.judgement).collect();
    assert_eq!(found, [Judgement::Holds; 2]);

    // An order that was chosen where layers cost otherwise misses, and the verdict says where.
    let section = made_up(|layer| COSTS[3 - layer]);
    assert!(first_text(&section).contains("The greedy order is 3, 2, 1, 0."));
    let verdict = &section.verdicts[0];
    assert_eq!(verdict.judgement, Judgement::Misses);
    assert!(verdict.claim.contains("k = 2"), "{}", verdict.claim);
}
