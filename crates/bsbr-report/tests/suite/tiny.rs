//! A random GPT-2 of two layers with a tokenizer of its own.

use std::path::Path;

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::parameters::replace_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use bsbr_report::corpus::Corpus;
use bsbr_report::lab::Lab;
use bsbr_report::overview::Overview;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::Plan;
use bsbr_report::spec::{Overrides, Spec, parse_spec, read_arms};
use burn::tensor::{Device, TensorData};

pub const POSITIONS: usize = 96;

pub fn tokenizer() -> TextTokenizer {
    let texts: Vec<String> = Domain::ALL
        .iter()
        .map(|&domain| Storybook::new(7).plain(Split::Train, domain, 0, 600).text)
        .collect();
    TextTokenizer::train_bpe(texts, 400).unwrap()
}

/// Weights large enough for attention to have preferences, the same every time.
pub fn model(vocabulary: usize) -> Gpt2 {
    deep_model(vocabulary, 2)
}

fn deep_model(vocabulary: usize, layers: usize) -> Gpt2 {
    let config = Gpt2Config::from_json(&format!(
        r#"{{"model_type": "gpt2", "vocab_size": {vocabulary}, "n_positions": {POSITIONS},
            "n_embd": 32, "n_layer": {layers}, "n_head": 2}}"#
    ))
    .unwrap();
    let mut state = 1u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f32) / (1u64 << 30) as f32 - 1.0
    };
    let zeros = Gpt2::zeros(&config, &Device::flex()).unwrap();
    replace_tensors(zeros, |name, shape| {
        let norm = name.contains("ln_");
        let size = match (norm, name.ends_with("weight")) {
            (true, _) => return None,
            (false, true) => 0.35,
            (false, false) => 0.05,
        };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| size * uniform())
            .collect();
        (!name.contains("bsbr")).then(|| TensorData::new(values, shape.to_vec()))
    })
}

pub fn lab() -> Lab {
    let tokenizer = tokenizer();
    let model = model(tokenizer.vocab_size());
    lab_around(model, tokenizer)
}

/// A lab around a model of so many layers.
pub fn deep_lab(layers: usize) -> Lab {
    let tokenizer = tokenizer();
    let model = deep_model(tokenizer.vocab_size(), layers);
    lab_around(model, tokenizer)
}

fn lab_around(model: Gpt2, tokenizer: TextTokenizer) -> Lab {
    let corpus = Corpus::storybook(tokenizer).unwrap();
    Lab::new("tiny", model, "a hash".to_owned(), "flex", corpus).unwrap()
}

/// The tiny specification of an experiment that many tests share.
pub fn text(experiment: &str) -> &'static str {
    let named = format!("experiment = \"{experiment}\"");
    let found = SPECS.iter().find(|text| text.contains(&named));
    found.unwrap_or_else(|| panic!("{experiment} has no tiny specification"))
}

/// A specification with the section of the committed one of its experiment.
pub fn presented(text: &str) -> String {
    let name = text.split("experiment = \"").nth(1).unwrap();
    let name = name.split('"').next().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/experiments");
    let committed = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
    // Keys that belong to no table stand before the first.
    let (head, _) = committed.split_once("\n[").unwrap();
    let from = ["\nfrom = ", "\nat = "]
        .iter()
        .filter_map(|key| head.find(key))
        .min();
    let head = &head[from.unwrap()..];
    let (_, section) = committed.split_once("\n[quantities]").unwrap();
    let (own, tables) = text.split_once("\n[").unwrap();
    format!("{own}{head}\n[{tables}\n[quantities]{section}")
}

/// A specification that refers to [`ARMS`].
pub fn spec(text: &str) -> Spec {
    spec_with(text, &Overrides::default())
}

/// The same as the command line changes it.
pub fn spec_with(text: &str, overrides: &Overrides) -> Spec {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arms.toml");
    std::fs::write(&path, ARMS).unwrap();
    let arms = read_arms(&path).unwrap();
    let text = presented(text);
    parse_spec(Path::new("spec.toml"), &text, &arms, overrides).unwrap()
}

/// A plan of one specification.
pub fn plan(spec: Spec) -> Plan {
    Plan {
        specs: vec![spec],
        only: Vec::new(),
        reported: Reported::default(),
        overview: Overview::default(),
        command: "a test".to_owned(),
        commit: None,
    }
}

/// The arms at a size that leaves far chunks in `POSITIONS` tokens.
pub const ARMS: &str = r#"
[[arm]]
id = "dense"
label = "dense"
about = "the original"
config = { arm = "dense" }

[[arm]]
id = "moments"
label = "moments"
about = "the default"
default = true
config = { arm = "moments", clusters = 4, sink_tokens = 2, exact_clusters = 8 }

[[arm]]
id = "summaries"
label = "summaries"
about = "the same without lookups"
config = { arm = "moments", clusters = 4, sink_tokens = 2, exact_clusters = 0 }

[[arm]]
id = "small"
label = "small chunks"
about = "the default with small chunks"
config = { arm = "moments", chunk_size = 16, clusters = 4, sink_tokens = 2, exact_clusters = 8 }

[[arm]]
id = "state"
label = "state"
about = "small chunks with a state"
config = { arm = "moments", chunk_size = 16, clusters = 4, sink_tokens = 2, exact_clusters = 0, state = true }

[[arm]]
id = "local"
label = "local"
about = "nothing far"
config = { arm = "local", sink_tokens = 2 }

[[arm]]
id = "published"
label = "published"
about = "the report's formula"
config = { arm = "published" }
"#;

pub const SPECS: [&str; 6] = [
    r#"
experiment = "similarity"
title = "Similarity"
question = "How close?"
order = 1
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
text_lengths = [80]
random_lengths = [40, 80, 200]
position_bin = 16
rarity_quantiles = 2
[counts]
texts_per_domain = 2
random_sequences = 2
rarity_tokens = 4_000
per_unit = 2
[quick]
texts_per_domain = 1
[[goal]]
text = "Cosine"
arm = "dense"
measure = { mean = { quantity = "final.cosine", length = 80 } }
at_least = 0.999
"#,
    r#"
experiment = "agreement"
title = "Agreement"
question = "How often?"
order = 2
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
length = 80
[counts]
texts_per_domain = 2
per_unit = 2
[[goal]]
text = "Top-1"
arm = "dense"
measure = { mean = { quantity = "top1", length = 80 } }
at_least = 0.999
"#,
    r#"
experiment = "attention-maps"
title = "Attention maps"
question = "Where to?"
order = 3
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
length = 80
chunk_size = 16
near_chunks = 1
sink_tokens = 2
match_rows = 20
gallery = ["dense", "moments"]
pixels = 40
[counts]
texts = 2
"#,
    r#"
experiment = "qa"
title = "Questions"
question = "Where is it?"
order = 4
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
distances = [20, 60]
candidates = 5
extension = { repeat_last = { window = 512 } }
[counts]
questions = 2
per_unit = 2
[[goal]]
text = "Right"
arm = "dense"
measure = { mean = { quantity = "among.minus_dense", length = 60 } }
at_least = 0.0
"#,
    r#"
experiment = "summarisation"
title = "Summaries"
question = "What is it about?"
order = 5
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
max_new_tokens = 6
temperature = 1.0
top_k = 20
stemming = true
extension = { repeat_last = { window = 512 } }
[counts]
articles = 2
per_unit = 1
"#,
    r#"
experiment = "perplexity"
title = "Perplexity"
question = "How well?"
order = 6
seed = 1
arms = ["dense", "moments", "local", "published"]
chunk_size = 16
[settings]
window = 64
strides = [64, 32]
[[settings.published]]
model = "tiny"
layers = 2
hidden_size = 32
texts = "WikiText-2"
value = 29.41
source = "A paper (2019), table 3"
[counts]
tokens = 200
storybook_tokens = 150
pieces = 100
per_unit = 2
"#,
];
