//! The model card: the README.md of a published model.

use std::fmt::Write as _;

use bsbr_attention::{ArmConfig, KvBits};
use bsbr_gpt2::Gpt2Config;
use serde_json::Value;

/// The models whose licence and language are known, without their owner on the Hub.
const KNOWN: [&str; 4] = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"];
/// Their owner on the Hub.
const OWNER: &str = "openai-community/";

/// The contents of a card that are not in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// The heading.
    pub title: String,
    /// The original model: its name on the Hub, and its commit.
    pub base: Option<(String, Option<String>)>,
    /// The language as an ISO 639-1 code, if the base does not determine it. Default: none
    pub language: Option<String>,
    /// Whether the model was trained after conversion.
    pub trained: bool,
    /// Whether linear layers are in 8 bits, which `transformers` cannot read.
    pub int8: bool,
    /// Additional sections, as Markdown that begins with a second-level heading.
    pub sections: Vec<String>,
}

impl ModelCard {
    /// The card of a model with this configuration: Markdown with front matter for the Hub.
    ///
    /// Unknown fields, such as the licence of a model that is not from the Hub, are left to be
    /// filled in; a comment in the front matter says so.
    pub fn to_markdown(&self, config: &Gpt2Config) -> String {
        let mut card = self.front_matter(config);
        let _ = write!(card, "\n# {}\n\n{}\n", self.title, self.about(config));
        card.push_str("\n## Attention\n\n");
        card.push_str(&arms(config));
        card.push_str("\n## Use\n\n");
        card.push_str(&self.usage(config));
        for section in &self.sections {
            let _ = write!(card, "\n{}\n", section.trim_end());
        }
        card
    }

    fn front_matter(&self, config: &Gpt2Config) -> String {
        let known = self.base.as_ref().is_some_and(|(base, _)| is_known(base));
        let mut out = "---\n".to_owned();
        match known {
            true => out.push_str("license: mit\n"),
            false => out.push_str("# license: choose one before you publish\n"),
        }
        match (&self.language, known) {
            (Some(language), _) => line(&mut out, "language", language),
            (None, true) => line(&mut out, "language", "en"),
            (None, false) => out.push_str("# language: the language of the texts, such as en\n"),
        }
        if let Some((base, _)) = &self.base {
            line(&mut out, "base_model", base);
        }
        // The format of weights in 8 bits is specific to BSBR.
        let library = match self.int8 {
            true => "bsbr",
            false => "transformers",
        };
        line(&mut out, "library_name", library);
        line(&mut out, "pipeline_tag", "text-generation");
        out.push_str("tags:\n");
        for tag in self.tags(config) {
            let _ = writeln!(out, "- {tag}");
        }
        out.push_str("---\n");
        out
    }

    fn tags(&self, config: &Gpt2Config) -> Vec<String> {
        let mut tags = vec!["gpt2".to_owned(), "bsbr".to_owned()];
        if !config.is_dense() {
            let more = ["sparse-attention", "long-context", "custom_code"];
            tags.extend(more.map(str::to_owned));
        }
        for layer in 0..config.n_layer {
            let arm = format!("bsbr-{}", config.arm(layer).name());
            if !tags.contains(&arm) {
                tags.push(arm);
            }
        }
        tags
    }

    fn about(&self, config: &Gpt2Config) -> String {
        let of = match &self.base {
            Some((base, commit)) => {
                let at = commit.as_ref().map(|commit| format!(" at commit {commit}"));
                format!(
                    ", derived from [{base}](https://huggingface.co/{base}){}",
                    at.unwrap_or_default()
                )
            }
            None => String::new(),
        };
        let weights = match (self.trained, config.is_dense()) {
            (true, true) => "It was fine-tuned.",
            (true, false) => {
                "Its attention was replaced, and it was then trained to recover what the \
                 replacement lost."
            }
            (false, true) => "It has the original attention.",
            (false, false) => "Its attention was replaced, without training afterwards.",
        };
        let positions = match config.extended_positions() {
            None => String::new(),
            Some(extended) => format!(
                " It was trained with {} positions. The others are derived from these (`{}`) and \
                 were not trained.",
                extended.trained, extended.extension
            ),
        };
        format!(
            "A GPT-2 of {} layers, {} heads and {} dimensions, with {} positions{of}. {weights}\
             {positions}",
            config.n_layer, config.n_head, config.n_embd, config.n_positions
        )
    }

    fn usage(&self, config: &Gpt2Config) -> String {
        let ours = "With [BSBR](https://github.com/bsbr-rs/bsbr):\n\n\
             ```sh\ncargo xtask generate --model FOLDER --prompt \"Once upon a time\"\n```\n";
        if self.int8 {
            return format!(
                "{ours}\n`transformers` cannot load this folder: the weights of its linear layers \
                 are in 8 bits, in a format of BSBR's own.\n"
            );
        }
        let (trust, about) = match config.is_dense() {
            true => ("", ""),
            false => (
                ", trust_remote_code=True",
                "\nThe folder holds the Python code of its attention. Without `trust_remote_code`, \
                 `transformers` cannot open it, because it knows only the original attention.\n",
            ),
        };
        format!(
            "With `transformers`:\n\n```python\n\
             from transformers import AutoModelForCausalLM, AutoTokenizer\n\
             model = AutoModelForCausalLM.from_pretrained(\"FOLDER\"{trust})\n\
             tokenizer = AutoTokenizer.from_pretrained(\"FOLDER\"{trust})\n```\n{about}\n{ours}"
        )
    }
}

/// A field of the front matter; JSON strings are valid YAML.
fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name}: {}", Value::from(value));
}

fn is_known(base: &str) -> bool {
    KNOWN.contains(&base.strip_prefix(OWNER).unwrap_or(base))
}

/// A table of the arms, with consecutive layers of the same arm in one row.
fn arms(config: &Gpt2Config) -> String {
    let mut out = "| layers | arm | settings | kept of a far token | lost |\n\
                   |---|---|---|---|---|\n"
        .to_owned();
    let mut first = 0;
    while first < config.n_layer {
        let arm = config.arm(first);
        let same = (first..config.n_layer).take_while(|&layer| config.arm(layer) == arm);
        let last = first + same.count() - 1;
        let layers = match first == last {
            true => format!("{first}"),
            false => format!("{first}–{last}"),
        };
        let [kept, lost] = far(&arm);
        let (name, settings) = (arm.name(), settings(&arm));
        let _ = writeln!(
            out,
            "| {layers} | `{name}` | {settings} | {kept} | {lost} |"
        );
        first = last + 1;
    }
    out
}

/// What an arm keeps of a far token, and what it loses.
fn far(arm: &ArmConfig) -> [String; 2] {
    let tokens = match arm.kv_bits() {
        KvBits::ThirtyTwo => "its key and value".to_owned(),
        bits => format!("its key and value in {} bits", bits.bits()),
    };
    let rounding = match arm.kv_bits() {
        KvBits::ThirtyTwo => "",
        _ => "precision",
    };
    match arm {
        ArmConfig::Dense(_) if rounding.is_empty() => [tokens, "nothing".to_owned()],
        ArmConfig::Dense(_) => [tokens, rounding.to_owned()],
        ArmConfig::Local(_) => ["nothing", "everything far"].map(str::to_owned),
        ArmConfig::Published(_) => {
            ["a share of its chunk's state", "single far tokens"].map(str::to_owned)
        }
        ArmConfig::Moments(config) => {
            let state = if config.state { ", and a state" } else { "" };
            let share = format!("a share of one of its chunk's {} clusters", config.clusters);
            if config.looks_up() {
                let some = if config.levels.is_empty() {
                    ""
                } else {
                    ", in heads with lookups"
                };
                let rounding = match rounding {
                    "" => String::new(),
                    words => format!(", and {words}"),
                };
                [
                    format!("{tokens}{some}; {share}{state}"),
                    format!(
                        "single tokens outside the {} clusters that match a query best{rounding}",
                        config.exact_clusters
                    ),
                ]
            } else {
                [format!("{share}{state}"), "single far tokens".to_owned()]
            }
        }
    }
}

/// The settings of an arm, as named in the configuration.
fn settings(arm: &ArmConfig) -> String {
    if *arm == ArmConfig::DENSE {
        return "—".to_owned();
    }
    let has_spans = matches!(arm, ArmConfig::Moments(config) if config.span > 0);
    let settings: Vec<String> = arm
        .settings()
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter(|(name, _)| has_spans || !["span", "opened"].contains(name))
        .map(|(name, value)| format!("`{name}` {value}"))
        .collect();
    settings.join(", ")
}
