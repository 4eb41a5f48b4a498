//! Support of the arms in `transformers`: code files of a converted model, and the entries of its
//! configuration that name them.

use bsbr_gpt2::Gpt2Config;
use bsbr_gpt2::config::{BSBR_GPT2, GPT2};
use serde_json::{Value, json};

/// The files, with their names.
pub(crate) const CODE: [(&str, &str); 3] = [
    (
        "configuration_bsbr.py",
        include_str!("../python/configuration_bsbr.py"),
    ),
    (
        "attention_bsbr.py",
        include_str!("../python/attention_bsbr.py"),
    ),
    (
        "modeling_bsbr.py",
        include_str!("../python/modeling_bsbr.py"),
    ),
];

/// Names of classes in `architectures`.
const ARCHITECTURES: [&str; 2] = ["GPT2LMHeadModel", "BsbrGpt2LMHeadModel"];

/// The configuration for `transformers`: a plain GPT-2 if every layer has the original attention,
/// else a model with its own code.
pub(crate) fn described(mut config: Gpt2Config) -> Gpt2Config {
    let [plain, ours] = ARCHITECTURES;
    let (model_type, architecture) = match config.is_dense() {
        true => (GPT2, plain),
        false => (BSBR_GPT2, ours),
    };
    config.model_type = model_type.into();
    let other = &mut config.other;
    let known = |found: &Value| {
        let names = found.as_array().map(Vec::as_slice).unwrap_or_default();
        !names.is_empty() && names.iter().all(|name| *name != ours)
    };
    // A plain model keeps its own `model_type`.
    if model_type == BSBR_GPT2 || !other.get("architectures").is_some_and(known) {
        other.insert("architectures".into(), json!([architecture]));
    }
    if model_type == BSBR_GPT2 {
        let classes = json!({
            "AutoConfig": "configuration_bsbr.BsbrGpt2Config",
            "AutoModel": "modeling_bsbr.BsbrGpt2Model",
            "AutoModelForCausalLM": "modeling_bsbr.BsbrGpt2LMHeadModel",
        });
        other.insert("auto_map".into(), classes);
    } else {
        other.remove("auto_map");
    }
    config
}
