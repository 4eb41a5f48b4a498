//! The names of GPT-2's tensors, and the check that a checkpoint is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bsbr_gpt2::Gpt2Config;

use crate::checkpoint::{Checkpoint, StoredTensor};
use crate::error::{LoadError, first_of};
use crate::int8;

/// The prefix of `transformers` in names of a model with an output layer.
pub const PREFIX: &str = "transformer.";
/// The output layer, which never has the prefix.
pub const LM_HEAD: &str = "lm_head.weight";
/// The prefix of names of the output layer.
const HEAD: &str = "lm_head.";
/// The token embeddings, which the output layer may share.
pub(crate) const WTE: &str = "wte.weight";
/// The maximum number of missing tensors in a report; a configuration may name millions.
const MAX_LISTED: usize = 256;

/// Tensors that are missing, unexpected or of a different shape from the configuration's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Tensors of the configuration that the checkpoint lacks; at most 256.
    pub missing: Vec<String>,
    /// Tensors that are not in the configuration.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor of a different shape from the configuration's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshapen {
    /// Its name.
    pub name: String,
    /// The shape in the configuration.
    pub expected: Vec<usize>,
    /// The shape in the checkpoint.
    pub found: Vec<usize>,
}

impl KeyReport {
    /// Whether all tensors match.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Looks up each of `expected` in `weights`, and lists the others in `weights`.
    pub(crate) fn compare(
        expected: impl Iterator<Item = (String, Vec<usize>)>,
        weights: &Weights<'_>,
        is_candidate: impl Fn(&str) -> bool,
    ) -> Self {
        let mut report = Self::default();
        let mut unexpected: BTreeSet<&str> = weights
            .tensors
            .keys()
            .copied()
            .filter(|name| is_candidate(name))
            .collect();
        for (name, shape) in expected {
            unexpected.remove(name.as_str());
            match weights.get(&name) {
                None => report.missing.push(name),
                Some(tensor) if tensor.shape() != shape => report.misshapen.push(Misshapen {
                    name,
                    expected: shape,
                    found: tensor.shape().to_vec(),
                }),
                Some(_) => {}
            }
            if report.missing.len() == MAX_LISTED {
                // The others may be expected as well.
                unexpected.clear();
                break;
            }
        }
        report.unexpected = unexpected.into_iter().map(str::to_owned).collect();
        report
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing {}", first_of(&self.missing)));
        }
        if !self.unexpected.is_empty() {
            parts.push(format!("unexpected {}", first_of(&self.unexpected)));
        }
        for tensor in self.misshapen.iter().take(8) {
            let Misshapen {
                name,
                expected,
                found,
            } = tensor;
            parts.push(format!("`{name}` is {found:?}, expected {expected:?}"));
        }
        if self.misshapen.len() > 8 {
            parts.push(format!("{} more shapes", self.misshapen.len() - 8));
        }
        parts.push("use the config.json that was saved with these weights".into());
        f.write_str(&parts.join("; "))
    }
}

/// A checkpoint's tensors under GPT-2's own names: without the prefix, without the masks saved by
/// old versions of `transformers`, and without tensors of other heads, such as a classifier.
#[derive(Debug)]
pub struct Weights<'a> {
    tensors: BTreeMap<&'a str, StoredTensor<'a>>,
    ignored: Vec<&'a str>,
    beside: Vec<&'a str>,
}

impl<'a> Weights<'a> {
    /// Normalises the checkpoint's names.
    ///
    /// # Errors
    ///
    /// [`LoadError::MixedPrefix`] if only some of the model's names have the prefix.
    pub fn new(checkpoint: &'a Checkpoint) -> Result<Self, LoadError> {
        let names = || checkpoint.tensors().map(|tensor| tensor.name());
        let with = names().find(|name| name.starts_with(PREFIX));
        let without = names().find(|name| is_model_name(name));
        if let (Some(with), Some(without)) = (with, without) {
            return Err(LoadError::MixedPrefix {
                with: with.into(),
                without: without.into(),
            });
        }
        let mut weights = Self {
            tensors: BTreeMap::new(),
            ignored: Vec::new(),
            beside: Vec::new(),
        };
        for tensor in checkpoint.tensors() {
            let name = tensor.name();
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            if is_mask(name) {
                weights.ignored.push(name);
            } else if !is_model_name(name) && !name.starts_with(HEAD) {
                weights.beside.push(name);
            } else {
                weights.tensors.insert(name, tensor);
            }
        }
        Ok(weights)
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<StoredTensor<'a>> {
        self.tensors.get(name).copied()
    }

    /// All tensors with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, StoredTensor<'a>)> {
        self.tensors.iter().map(|(name, tensor)| (*name, *tensor))
    }

    /// Names of the masks that were ignored.
    pub fn ignored(&self) -> &[&'a str] {
        &self.ignored
    }

    /// Names of ignored tensors that are not part of a GPT-2, such as those of other heads.
    pub fn beside(&self) -> &[&'a str] {
        &self.beside
    }

    /// Compares names and shapes with those of a GPT-2 of this configuration. Tensors of BSBR's
    /// arms are compared if the configuration names arms, and unexpected otherwise.
    pub fn check(&self, config: &Gpt2Config) -> KeyReport {
        self.check_form(config, false)
    }

    /// The same, if the matrices of linear layers may be in 8 bits.
    pub(crate) fn check_form(&self, config: &Gpt2Config, int8: bool) -> KeyReport {
        // A tied output layer may also be stored.
        let tied = config.tie_word_embeddings && self.get(LM_HEAD).is_some();
        let head = || (LM_HEAD.to_owned(), vec![config.vocab_size, config.n_embd]);
        let stored = move |(name, shape): (String, Vec<usize>)| match int8::layer_of(&name) {
            Some(layer) if int8 => {
                let [numbers, steps] = int8::names(layer);
                let outputs = shape.last().copied().into_iter().collect();
                vec![(numbers, shape), (steps, outputs)]
            }
            _ => vec![(name, shape)],
        };
        let expected = tensors(config).chain(tied.then(head)).flat_map(stored);
        KeyReport::compare(expected, self, |name| {
            config.bsbr.is_none() || !is_arm_name(name)
        })
    }

    /// Checks that a tied output layer equals the embeddings.
    ///
    /// # Errors
    ///
    /// [`LoadError::NotTied`] if they differ.
    pub fn check_tied(&self, config: &Gpt2Config) -> Result<(), LoadError> {
        let (true, Some(head), Some(table)) =
            (config.tie_word_embeddings, self.get(LM_HEAD), self.get(WTE))
        else {
            return Ok(());
        };
        let same = head.dtype() == table.dtype() && head.bytes()? == table.bytes()?;
        if same || head.to_f32()? == table.to_f32()? {
            Ok(())
        } else {
            Err(LoadError::NotTied)
        }
    }
}

/// Names and shapes of a GPT-2's tensors, without the prefix and without those of BSBR's arms.
pub fn tensors(config: &Gpt2Config) -> impl Iterator<Item = (String, Vec<usize>)> {
    let (size, inner) = (config.n_embd, config.inner_size());
    let outer = [
        (WTE.to_owned(), vec![config.vocab_size, size]),
        ("wpe.weight".to_owned(), vec![config.n_positions, size]),
        ("ln_f.weight".to_owned(), vec![size]),
        ("ln_f.bias".to_owned(), vec![size]),
    ];
    let head =
        (!config.tie_word_embeddings).then(|| (LM_HEAD.to_owned(), vec![config.vocab_size, size]));
    let blocks = (0..config.n_layer).flat_map(move |layer| {
        [
            ("ln_1.weight", vec![size]),
            ("ln_1.bias", vec![size]),
            ("attn.c_attn.weight", vec![size, 3 * size]),
            ("attn.c_attn.bias", vec![3 * size]),
            ("attn.c_proj.weight", vec![size, size]),
            ("attn.c_proj.bias", vec![size]),
            ("ln_2.weight", vec![size]),
            ("ln_2.bias", vec![size]),
            ("mlp.c_fc.weight", vec![size, inner]),
            ("mlp.c_fc.bias", vec![inner]),
            ("mlp.c_proj.weight", vec![inner, size]),
            ("mlp.c_proj.bias", vec![size]),
        ]
        .map(|(name, shape)| (format!("h.{layer}.{name}"), shape))
    });
    outer.into_iter().chain(head).chain(blocks)
}

/// Whether a name is one of a BSBR arm's own tensors, `h.N.attn.bsbr.*`.
pub(crate) fn is_arm_name(name: &str) -> bool {
    in_block(name).is_some_and(|rest| rest.starts_with("attn.bsbr."))
}

/// The name of a tensor in `transformers`, for a model with an output layer.
pub(crate) fn with_prefix(name: &str) -> String {
    if name == LM_HEAD {
        name.to_owned()
    } else {
        format!("{PREFIX}{name}")
    }
}

/// Whether a GPT-2 requires a tensor of this name, with or without the prefix. The output layer may
/// be tied, masks are derived, and other heads are not computed.
pub(crate) fn is_needed(name: &str) -> bool {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    is_model_name(name) && !is_mask(name)
}

/// Causal masks, which are derived from the configuration.
fn is_mask(name: &str) -> bool {
    in_block(name).is_some_and(|rest| matches!(rest, "attn.bias" | "attn.masked_bias"))
}

/// Whether a name without the prefix belongs to the model.
fn is_model_name(name: &str) -> bool {
    in_block(name).is_some()
        || ["wte.", "wpe.", "ln_f."]
            .iter()
            .any(|p| name.starts_with(p))
}

/// The rest of a name after `h.N.`.
pub(crate) fn in_block(name: &str) -> Option<&str> {
    let (layer, rest) = name.strip_prefix("h.")?.split_once('.')?;
    (!layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
}
