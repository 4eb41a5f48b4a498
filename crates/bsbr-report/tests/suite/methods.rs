//! Ways to train: what is trained, what it costs, and which one the section names.

use bsbr_report::arms;
use bsbr_report::experiments;
use bsbr_report::record::{Measurement, Records};
use bsbr_report::reproduce::{RECORDS, reproduce};
use bsbr_report::runner::NoObserver;
use bsbr_report::section::Block;
use bsbr_report::store::Store;

use crate::definitions::holds_of_tuned;
use crate::{common, tiny};

pub const METHODS: &str = r#"
experiment = "methods"
title = "Ways to train"
question = "Which?"
order = 1
seed = 1
arms = ["dense", "summaries"]
chunk_size = 16
[settings]
window = 1024
rows = 2
length = 80
distance = 60
candidates = 4
max_new_tokens = 4
stemming = true
extension = { repeat_last = { window = 64 } }
[[settings.methods]]
id = "lm"
label = "next token"
learning_rate = 3e-3
objective = "lm"
train = "all"
[[settings.methods]]
id = "distill"
label = "distillation"
learning_rate = 3e-3
objective = { distill = { temperature = 1.0, mix = 0.5 } }
train = "all"
[[settings.methods]]
id = "transfer"
label = "attention transfer"
learning_rate = 3e-3
objective = "transfer"
train = "attention"
[[settings.methods]]
id = "retrieval"
label = "retrieval parameters"
learning_rate = 3e-3
objective = "lm"
train = "retrieval"
[[settings.methods]]
id = "lora"
label = "low-rank adapters"
learning_rate = 3e-3
objective = "lm"
train = { lora = { rank = 2, alpha = 4.0 } }
[counts]
epochs = 2
windows = 4
texts_per_domain = 1
articles = 1
questions = 1
"#;

const WAYS: [&str; 5] = ["lm", "distill", "transfer", "retrieval", "lora"];

#[test]
fn every_way_trains_the_arm_on_as_many_tokens() {
    let out = tempfile::tempdir().unwrap();
    let lab = tiny::lab().with_models_in(out.path().join("models"));
    let plan = tiny::plan(tiny::spec(METHODS));
    reproduce(&plan, &lab, out.path(), &mut NoObserver).unwrap();
    let records = Store::new(out.path().join(RECORDS)).all("methods").unwrap();
    let values = |id: &str, quantity: &str| -> Vec<f64> {
        let own = records.measurements().filter(|one| one.arm == id);
        own.filter_map(|one| one.values.get(quantity).copied())
            .collect()
    };
    let loss = |id: &str| values(id, "nll").iter().sum::<f64>();
    for way in WAYS {
        // Four windows of all 96 positions, twice.
        assert_eq!(values(way, "tokens"), [768.0], "{way}");
        assert!(values(way, "seconds")[0] > 0.0, "{way}");
        assert_eq!(values(way, "nll").len(), 5, "{way}");
        assert_ne!(loss(way), loss("before"), "{way}");
    }
    assert!(loss("lm") < loss("before"));
    let all: Vec<Measurement> = records.measurements().cloned().collect();
    let before = lab.model(tiny::spec(METHODS).arm("summaries").unwrap(), 1);
    holds_of_tuned(&all, "before", &before.unwrap(), &lab, 4);
    let mut folders = std::fs::read_dir(out.path().join("models")).unwrap();
    let tuned = folders.find_map(|folder| {
        let folder = folder.unwrap();
        let name = folder.file_name().to_string_lossy().into_owned();
        name.starts_with("summaries-lora")
            .then(|| folder.path().join("model"))
    });
    let tuned = arms::load(&tuned.unwrap(), &lab.dense().device()).unwrap();
    holds_of_tuned(&all, "lora", &tuned, &lab, 4);
    assert!(values("dense", "top1").iter().all(|&share| share == 1.0));
    assert!(values("before", "seconds").is_empty());
    let text = std::fs::read_to_string(out.path().join("methods.md")).unwrap();
    for part in [
        "summaries, before training",
        "768 tokens",
        "low-rank adapters",
        "way",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_cheapest_way_that_recovers_is_named() {
    let spec = tiny::spec(METHODS);
    let experiment = experiments::build(&spec).unwrap();
    let said = |losses: &[(&str, f64, f64)]| -> String {
        let mut all = Vec::new();
        for &(id, loss, seconds) in losses {
            for index in 0..3 {
                let mut text = Measurement::new(id, "tale", 80, index);
                text.set("nll", loss + 0.1 * index as f64);
                all.push(text);
            }
            let mut cost = Measurement::new(id, "fine-tuning", 96, 0);
            cost.set("seconds", seconds);
            all.push(cost);
        }
        let records = Records::new(vec![common::record(&spec, "unit", all, 1)]);
        let section = experiment.render(&records).unwrap();
        let mut blocks = section.blocks.into_iter();
        let text = blocks.find_map(|block| match block {
            Block::Text(text) => Some(text),
            _ => None,
        });
        text.unwrap()
    };
    let dense = ("dense", 2.0, 0.0);
    let text = said(&[
        dense,
        ("lm", 1.9, 50.0),
        ("lora", 1.95, 20.0),
        ("transfer", 2.1, 1.0),
    ]);
    assert!(
        text.contains("original's: next token; low-rank adapters."),
        "{text}"
    );
    assert!(text.contains("*low-rank adapters*, with 20 s"), "{text}");
    let text = said(&[dense, ("lm", 2.1, 50.0)]);
    assert!(text.starts_with("No method"), "{text}");
}

#[test]
fn mistakes_are_named() {
    for (from, to, part) in [
        ("\"summaries\"", "\"summaries\", \"local\"", "one other"),
        ("epochs = 2", "epochs = 0", "epochs"),
        ("rank = 2", "rank = 0", "`lora`"),
    ] {
        let text = METHODS.replace(from, to);
        assert_ne!(text, METHODS);
        let error = experiments::build(&tiny::spec(&text)).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
}
