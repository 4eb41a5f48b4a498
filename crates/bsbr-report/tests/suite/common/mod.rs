//! Made-up records to render: smooth functions, not measurements.

use std::path::{Path, PathBuf};

use bsbr_report::experiments;
use bsbr_report::host::{Commit, Machine};
use bsbr_report::overview::{Overview, Recorded, answer};
use bsbr_report::present::subject::Subject;
use bsbr_report::record::{
    FORMAT, Identity, Measurement, ModelInfo, RANDOM, Record, Records, RunInfo,
};
use bsbr_report::render::{Report, heatmap};
use bsbr_report::reported::{REPORT, Reported};
use bsbr_report::spec::{Overrides, Spec, read_specs};

pub const LAYERS: usize = 4;
pub const HEADS: usize = 4;
pub const DOMAINS: [&str; 5] = ["tale", "news", "dialogue", "procedure", "ledger"];

/// Whether two numbers differ by no more than they may.
pub fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found}, expected {expected}"
    );
}

pub fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

pub fn specs(overrides: &Overrides) -> Vec<Spec> {
    read_specs(&assets().join("experiments"), overrides).unwrap()
}

/// How far an arm is from the dense model, in these made-up records.
fn distance(arm: &str) -> f64 {
    match arm {
        "dense" => 0.0,
        "dense-8bit" => 0.0001,
        "moments-state-32bit" => 0.0002,
        "moments" => 0.0003,
        "summaries-state" => 0.0004,
        "moments-4bit" => 0.0005,
        "summaries-state-compressed" => 0.0006,
        "summaries" => 0.0009,
        "local" => 0.07,
        _ => 4.0,
    }
}

/// A number between 0 and 1 that depends on its arguments alone.
fn wobble(parts: &[&str], index: u64) -> f64 {
    let mut state = 0xcbf2_9ce4_8422_2325u64 ^ index;
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    state = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((state >> 11) as f64) / (1u64 << 53) as f64
}

fn near_one(distance: f64) -> f64 {
    1.0 / (1.0 + distance * 2.0)
}

pub fn record(spec: &Spec, unit: &str, measurements: Vec<Measurement>, samples: usize) -> Record {
    Record {
        format: FORMAT,
        checksum: String::new(),
        unit: unit.to_owned(),
        identity: Identity {
            spec: spec.method.hash().unwrap(),
            model: "0".repeat(64),
            data: "1".repeat(64),
            device: "flex".to_owned(),
            dtype: "f32".to_owned(),
            weights: None,
        },
        method: spec.method.clone(),
        model: ModelInfo {
            name: "made-up".to_owned(),
            layers: LAYERS,
            heads: HEADS,
            hidden_size: 256,
            positions: 4096,
            vocabulary: 3072,
            parameters: 4_994_560,
        },
        run: RunInfo {
            command: "cargo xtask reproduce".to_owned(),
            commit: Some(Commit {
                hash: "c".repeat(40),
                dirty: false,
                built: true,
            }),
            version: "0.1.0".to_owned(),
            date: "2026-01-01".to_owned(),
            machine: Machine {
                cpu: Some("A processor".to_owned()),
                cores: 2,
                memory_gib: Some(8.0),
                system: "linux x86_64".to_owned(),
                accelerator: None,
            },
            threads: 2,
            texts: "made up".to_owned(),
            calibration: "none".to_owned(),
        },
        seconds: 1.5,
        samples,
        measurements,
    }
}

pub fn similarity(spec: &Spec, texts: u64) -> Records {
    let mut records = Vec::new();
    let lengths = [256usize, 512, 1024, 2048, 4096];
    let sources = DOMAINS.iter().map(|&domain| (domain, 1024));
    for (source, length) in sources.chain(lengths.iter().map(|&length| (RANDOM, length))) {
        let mut all = Vec::new();
        for arm in &spec.method.arms {
            for index in 0..texts {
                let mut one = Measurement::new(&arm.id, source, length, index);
                let about = |name: &str, at: f64| {
                    let spread = 0.7 + 0.6 * wobble(&[source, name], index);
                    distance(&arm.id) * spread * at
                };
                one.set("logits.kl", about("kl", length as f64 / 1024.0));
                one.set("logits.cosine", near_one(about("cosine", 0.4)));
                one.set("logits.top1", near_one(about("top1", 2.0)));
                for layer in 0..=LAYERS {
                    let at = layer as f64 / LAYERS as f64;
                    let name = format!("hidden.{layer:02}");
                    one.set(
                        format!("{name}.cosine"),
                        near_one(about("cosine", 0.5 * at)),
                    );
                    one.set(format!("{name}.mse"), about("mse", 2.0 * at));
                    one.set(format!("{name}.relative_mse"), about("relative", at));
                }
                one.set("final.cosine", near_one(about("cosine", 0.5)));
                one.set("final.mse", about("mse", 2.0));
                one.set("final.relative_mse", about("relative", 1.0));
                for start in (0..length).step_by(128) {
                    let far = ((start as f64 - 200.0) / 500.0).max(0.0);
                    let name = format!("position.{start:05}");
                    one.set(format!("{name}.kl"), about("kl", far));
                    one.set(format!("{name}.cosine"), near_one(about("kl", far / 2.0)));
                }
                for part in 0..4u32 {
                    let at = 0.5 + f64::from(part) / 3.0;
                    one.set(format!("rarity.{part}.kl"), about("kl", at));
                    one.set(
                        format!("rarity.{part}.cosine"),
                        near_one(about("kl", at / 2.0)),
                    );
                }
                if arm.id == "summaries-state-compressed" && source == RANDOM && length == 4096 {
                    let reason = "4096 tokens, but the model has 1024 positions";
                    one = Measurement::new(&arm.id, source, length, index).without_values(reason);
                }
                all.push(one);
            }
        }
        records.push(record(
            spec,
            &format!("{source}-{length}"),
            all,
            texts as usize,
        ));
    }
    Records::new(records)
}

pub fn agreement(spec: &Spec, texts: u64) -> Records {
    let mut records = Vec::new();
    for source in DOMAINS {
        let mut all = Vec::new();
        for arm in &spec.method.arms {
            for index in 0..texts {
                let mut one = Measurement::new(&arm.id, source, 1024, index);
                for (prefix, at) in [("", 1.0), ("tail.", 1.6)] {
                    let about = |name: &str, at: f64| {
                        let spread = 0.6 + 0.8 * wobble(&[source, name], index);
                        distance(&arm.id) * spread * at
                    };
                    one.set(format!("{prefix}top1"), near_one(about("top1", 2.0 * at)));
                    one.set(format!("{prefix}top5"), near_one(about("top5", 1.2 * at)));
                    one.set(format!("{prefix}top10"), near_one(about("top10", at)));
                    one.set(format!("{prefix}kl"), about("kl", at));
                    one.set(format!("{prefix}cosine"), near_one(about("kl", 0.5 * at)));
                }
                all.push(one);
            }
        }
        records.push(record(spec, source, all, texts as usize));
    }
    Records::new(records)
}

/// Summaries of a few words each; the farther from the dense model, the fewer are right.
pub fn summarisation(spec: &Spec, articles: u64) -> Records {
    let new = |id: &str, index| Measurement::new(id, "storybook articles", 800, index);
    let text = |name: &str, text: String| (name.to_owned(), text);
    let mut records = Vec::new();
    for index in 0..articles {
        let ids = spec.method.arms.iter().map(|arm| arm.id.as_str());
        let mut all: Vec<Measurement> = ids
            .chain(["lead-3", "random-3"])
            .map(|id| {
                let mut one = new(id, index);
                let right = 0.6 * near_one(distance(id)) + 0.1 * wobble(&[id], index);
                let base = 0.6 + 0.1 * wobble(&["dense"], index);
                for (name, at) in [
                    ("rouge1", 1.0),
                    ("rouge2", 0.6),
                    ("rougeL", 0.9),
                    ("rougeLsum", 0.95),
                ] {
                    one.set(name, right * at);
                    one.set(format!("{name}.minus_dense"), (right - base) * at);
                }
                one.set("as_dense", if id == "dense" { 1.0 } else { 0.0 });
                one.set("words", 30.0);
                if !id.ends_with("-3") {
                    one.set("seconds", 0.2 + 0.1 * wobble(&[id], index));
                    one.set("new_tokens", 40.0);
                    one.set("ended", 1.0);
                } else {
                    one.without("new_tokens", "not written by a model");
                    one.without("ended", "not written by a model");
                }
                one.texts
                    .extend([text("summary", format!("Summary <{index}> by *{id}*."))]);
                one
            })
            .collect();
        let mut reference = new("reference", index);
        reference.set("tokens", 812.0);
        reference.set("words", 35.0);
        reference.texts.extend([
            text("article", format!("Title {index}.\nOnce upon a time.\n")),
            text("summary", format!("Highlight {index}.")),
        ]);
        all.push(reference);
        records.push(record(spec, &format!("articles-{index}"), all, 1));
    }
    Records::new(records)
}

/// Weights that fall off with distance, some of them on the first token; far ones scaled by `far`.
fn map(tokens: usize, reach: f64, far: f64) -> Vec<f32> {
    let mut map = vec![0.0; tokens * tokens];
    for i in 0..tokens {
        let weight = |j: usize| {
            let near = (-((i - j) as f64) / reach).exp();
            let sink = if j < 4 { 0.3 } else { 0.0 };
            let stripe = if j.is_multiple_of(97) { 0.2 } else { 0.001 };
            let field = if i - j > 192 { far } else { 1.0 };
            (near + sink + stripe) * field
        };
        let total: f64 = (0..=i).map(weight).sum();
        for j in 0..=i {
            map[i * tokens + j] = (weight(j) / total) as f32;
        }
    }
    map
}

pub fn attention_maps(spec: &Spec, texts: u64) -> Records {
    let mut records = Vec::new();
    for (text, source) in DOMAINS.iter().take(texts as usize).enumerate() {
        let mut all = Vec::new();
        for arm in &spec.method.arms {
            let mut one = Measurement::new(&arm.id, source, 1024, 0);
            let far = near_one(distance(&arm.id) * 8.0);
            for (quantity, value) in [
                ("within", 1.0 - (1.0 - far) / 9.0),
                ("between", far),
                ("far", far),
                ("far_weighted", far),
            ] {
                one.set(
                    format!("maps.{quantity}"),
                    value - 0.01 * wobble(&[source], 1) * (1.0 - far),
                );
                for head in 0..LAYERS * HEADS {
                    let name = format!("head.{:02}.{:02}", head / HEADS, head % HEADS);
                    let shift = wobble(&[&name, source], 2) * (1.0 - far) * 0.5;
                    one.set(format!("{name}.{quantity}"), value - shift);
                    one.set(format!("{name}.dense_far_mass"), 0.2 * wobble(&[&name], 3));
                    let lost = arm.id == "published" && head % 3 == 0;
                    let best = if lost {
                        (head + 5) % (LAYERS * HEADS)
                    } else {
                        head
                    };
                    one.set(format!("{name}.best"), best as f64);
                    one.set(format!("{name}.own"), if lost { 0.0 } else { 1.0 });
                }
            }
            one.set("maps.own", if arm.id == "published" { 0.625 } else { 1.0 });
            if text == 0
                && ["dense", "summaries-state", "local", "published"].contains(&arm.id.as_str())
            {
                for layer in 0..LAYERS {
                    let kept = match arm.id.as_str() {
                        "local" => 0.0,
                        "published" => 3.0,
                        _ => 1.0,
                    };
                    let map = map(512, 4.0 * (1 << layer) as f64, kept);
                    let image = heatmap::encode(&map, 512, 128).unwrap();
                    one.images
                        .insert(format!("{layer:02}.{:02}", layer % HEADS), image);
                }
            }
            all.push(one);
        }
        records.push(record(spec, source, all, 1));
    }
    Records::new(records)
}

/// What sequences an experiment is recorded on: their sources and lengths.
fn places(spec: &Spec) -> Vec<(String, usize)> {
    let lengths = spec
        .method
        .settings
        .get("lengths")
        .and_then(|all| all.as_array());
    let lengths: Vec<usize> = lengths
        .into_iter()
        .flatten()
        .map(|length| length.as_integer().unwrap() as usize)
        .collect();
    let at = |sources: &[&str], lengths: &[usize]| -> Vec<(String, usize)> {
        let pair = |&length: &usize| sources.iter().map(move |one| ((*one).to_owned(), length));
        lengths.iter().flat_map(pair).collect()
    };
    let questions = ["storybook questions"];
    match spec.method.experiment.as_str() {
        "speed" => at(&["model", "attention"], &lengths),
        "streaming" | "memory" | "reading-memory" | "training-memory" => at(&["model"], &lengths),
        "density" => at(&DOMAINS[..2], &lengths),
        "perplexity" => at(&DOMAINS[..2], &[1024]),
        "levels" => [
            at(&DOMAINS[..2], &[2048]),
            at(&questions, &[1000]),
            at(&["levels of heads"], &[1024]),
        ]
        .concat(),
        "weights" => [
            at(&["model"], &lengths),
            at(&["decoding"], &[512]),
            at(&DOMAINS[..2], &[1024]),
            at(&questions, &[2000]),
        ]
        .concat(),
        "qa" => at(&questions, &[250, 1000, 2000]),
        "spans" => at(&DOMAINS[..2], &[131_072]),
        "extension" => [
            at(&DOMAINS[..2], &[4096, 8192, 16384, 32768]),
            at(&questions, &[2700, 5400, 10800, 21600]),
        ]
        .concat(),
        "positions" => [
            at(&DOMAINS[..2], &[4096, 8192, 16384, 32768, 65536]),
            at(&questions, &[2700, 5400, 10800, 21600]),
        ]
        .concat(),
        "recovery" | "methods" => [
            at(&DOMAINS[..2], &[1024]),
            at(&["storybook articles"], &[800]),
            at(&questions, &[1000]),
            at(&["fine-tuning"], &[1024]),
        ]
        .concat(),
        _ => [at(&DOMAINS[..2], &[2048]), at(&questions, &[1000])].concat(),
    }
}

/// Names for a declared one: those of some parts where it has a `*`.
fn names(declared: &str) -> Vec<String> {
    let parts: &[&str] = match declared.split('.').next().unwrap() {
        _ if !declared.contains('*') => return vec![declared.to_owned()],
        "nats" => &["stride1024", "stride512"],
        "peak" | "growth" | "seconds" => &["kept", "recomputed"],
        _ => &["00", "01"],
    };
    parts
        .iter()
        .map(|part| declared.replacen('*', part, 1))
        .collect()
}

/// Records of every quantity that an experiment declares, for each of its rows.
pub fn made_up(spec: &Spec, subjects: &[Subject]) -> Records {
    let mut ids: Vec<String> = subjects.iter().map(|one| one.id.clone()).collect();
    if spec.method.experiment == "recovery" {
        let tuned = |id: &String| {
            let epochs = ["@0", "@1", "@5", "@10", "@10/cut"].into_iter();
            epochs
                .map(|epochs| format!("{id}{epochs}"))
                .collect::<Vec<_>>()
        };
        ids = ids.iter().flat_map(tuned).collect();
    }
    let quantities: Vec<String> = spec.layout.quantities.names().flat_map(names).collect();
    let mut all = Vec::new();
    for (source, length) in places(spec) {
        for (id, index) in ids.iter().flat_map(|id| [0, 1, 2].map(|index| (id, index))) {
            let mut one = Measurement::new(id, &source, length, index);
            for name in &quantities {
                let value = match name.as_str() {
                    "tokens" => 1024.0,
                    "words" => 600.0,
                    "bytes" => 3000.0,
                    "passage.tokens" => 3072.0,
                    "passage.words" => 2000.0,
                    "passage.bytes" => 9000.0,
                    name if name.starts_with("nats") => 1000.0 + wobble(&[id, name], index),
                    name if (name.starts_with("peak") || name.starts_with("growth"))
                        && !name.contains(".by_") =>
                    {
                        let bytes = (length as f64).powf(1.2) * 1e5;
                        bytes * (1.0 + 0.1 * wobble(&[id, name], index))
                    }
                    "seconds" => length as f64 * 1e-3 * (1.0 + wobble(&[id], index)),
                    name => 0.5 + 0.4 * wobble(&[id, &source, name], index),
                };
                one.set(name.as_str(), value);
            }
            all.push(one);
        }
    }
    Records::new(vec![record(spec, "made-up", all, 3)])
}

/// The first screen, and what the report concludes.
pub fn overview() -> Overview {
    Overview::read(&assets().join("overview.toml")).unwrap()
}

/// The figures of the report.
pub fn reported() -> Reported {
    Reported::read(&assets().join("experiments").join(REPORT)).unwrap()
}

/// A report on made-up records of all experiments.
pub fn report() -> Report {
    let full = Overrides {
        full: true,
        ..Overrides::default()
    };
    let specs = specs(&full);
    let records: Vec<Records> = specs
        .iter()
        .map(|spec| match spec.method.experiment.as_str() {
            "similarity" => similarity(spec, 4),
            "agreement" => agreement(spec, 20),
            "attention-maps" => attention_maps(spec, 5),
            "summarisation" => summarisation(spec, 8),
            // Nothing measured yet.
            _ => Records::default(),
        })
        .collect();
    let sources: Vec<Recorded<'_>> = specs
        .iter()
        .zip(&records)
        .map(|(spec, records)| Recorded { spec, records })
        .collect();
    let section = |source: &Recorded<'_>| {
        let experiment = experiments::build(source.spec).unwrap();
        let mut section = experiment.render(source.records).unwrap();
        reported().attach(&mut section);
        section
    };
    let model = records.iter().find_map(Records::first);
    Report {
        model: model.unwrap().model.clone(),
        arms: specs[0].method.arms.clone(),
        quick: false,
        cite: reported().cite(),
        answers: answer(&overview(), &sources, &reported(), &specs[0].method.arms),
        sections: sources.iter().map(section).collect(),
    }
}
