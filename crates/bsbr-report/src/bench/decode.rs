//! Decoding: the time of a token after contexts of several lengths, the time to read them, and the
//! size of the cache.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bsbr_gpt2::{Gpt2, ProductType};

use crate::decoding::{Context, Limits, torch_bytes, torch_generate, torch_read};
use crate::reading::{PIECE, cache_bytes, likeliest, read, read_on};
use crate::record::Measurement;
use crate::rounds::{Outcome, Run, model_run};
use crate::spec::ArmSpec;
use crate::torch::Baseline;

/// Default context lengths, in tokens.
pub const CONTEXTS: [usize; 4] = [500, 1000, 2000, 4000];

/// Tokens generated after each context: the default arm completes one chunk in this range.
/// PyTorch's script has room for as many.
pub const GENERATED: usize = 128;

/// A context for which only the cache is measured, once.
pub const LONGEST: usize = 8192;

/// Seconds per generated token.
pub const TOKEN: &str = "token";
/// Seconds to read the context, up to the first generated token.
pub const PREFILL: &str = "prefill";
/// Seconds of a pass over the context without a cache.
pub const PASS: &str = "pass";
/// Size of the cache of the context, in bytes.
pub const CACHE: &str = "cache";

/// The arms and contexts.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoding {
    /// The arms.
    pub arms: Vec<ArmSpec>,
    /// Tokens of context.
    pub contexts: Vec<usize>,
}

/// The result of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decoded {
    pub token: f64,
    pub prefill: f64,
    /// `None` for other programs.
    pub pass: Option<f64>,
    /// `None` if unknown.
    pub cache: Option<f64>,
}

impl Outcome for Decoded {
    fn seconds(&self) -> f64 {
        self.prefill + self.pass.unwrap_or_default() + self.token * GENERATED as f64
    }

    fn set(self, measured: &mut Measurement) {
        measured.set(TOKEN, self.token);
        measured.set(PREFILL, self.prefill);
        if let Some(pass) = self.pass {
            measured.set(PASS, pass);
        }
        let cache = self
            .cache
            .ok_or_else(|| "the engine does not report it".to_owned());
        measured.put(CACHE, cache);
    }
}

/// A run of ours.
pub(super) fn ours<'a>(model: Rc<Gpt2>, ids: Vec<u32>) -> Result<Run<'a, Decoded>, String> {
    let pass = model_run(Gpt2::clone(&model), &ids)?;
    Ok(Box::new(move || {
        let mut context = Context::new(&model);
        context.read(&model, &ids, PIECE, Limits::NONE)?;
        Ok(Decoded {
            prefill: context.seconds,
            pass: Some(pass()?),
            cache: Some(context.bytes()),
            token: context.generate(&model, GENERATED, Limits::NONE)?,
        })
    }))
}

/// A run of PyTorch's.
pub(super) fn torch<'a>(baseline: Rc<Baseline>, context: usize) -> Run<'a, Decoded> {
    Box::new(move || {
        Ok(Decoded {
            prefill: torch_read(&baseline, context)?,
            pass: None,
            cache: Some(torch_bytes(&baseline)?),
            token: torch_generate(&baseline, GENERATED, Limits::NONE)?,
        })
    })
}

/// A run of another engine.
pub(super) fn engine<'a>(
    baseline: Rc<Baseline>,
    products: ProductType,
    context: usize,
) -> Run<'a, Decoded> {
    Box::new(move || {
        let ask = |scope, number| baseline.ask(products.name(), scope, number);
        Ok(Decoded {
            prefill: ask("read", context)?,
            pass: None,
            cache: None,
            token: ask("generate", GENERATED)?,
        })
    })
}

/// Greedy generation of one more token per run.
pub(super) fn token_run<'a>(model: Gpt2, ids: &[u32]) -> Result<Run<'a>, String> {
    let (cache, logits) = read(&model, ids, PIECE)?;
    let state = RefCell::new((cache, likeliest(logits)?));
    Ok(Box::new(move || {
        let (cache, next) = &mut *state.borrow_mut();
        let start = Instant::now();
        *next = likeliest(read_on(&model, *next, cache)?)?;
        Ok(start.elapsed().as_secs_f64())
    }))
}

/// Sets the size of a model's cache of a text.
pub(super) fn set_cache(measured: &mut Measurement, model: &Gpt2, ids: &[u32]) {
    let read = read(model, ids, PIECE);
    measured.put(CACHE, read.map(|(cache, _)| cache_bytes(&cache)));
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::{Gpt2Config, PositionExtension};
    use burn::tensor::Device;

    use super::*;
    use crate::bench::profile;

    fn model() -> Rc<Gpt2> {
        let text = r#"{"model_type": "gpt2", "vocab_size": 40, "n_positions": 32,
                       "n_embd": 16, "n_layer": 2, "n_head": 2}"#;
        let config = Gpt2Config::from_json(text).unwrap();
        let model = Gpt2::init(&config, 1, &Device::default()).unwrap();
        let extension = PositionExtension::RepeatLast { window: 16 };
        Rc::new(model.with_position_extension(extension).unwrap())
    }

    #[test]
    fn a_model_decodes_beyond_its_positions() {
        let ids: Vec<u32> = (0..40).collect();
        let found = ours(model(), ids.clone()).unwrap()().unwrap();
        assert!(found.token > 0.0 && found.prefill > 0.0 && found.pass > Some(0.0));
        // Keys and values of two layers, 16 dimensions each.
        assert_eq!(found.cache, Some((2 * 2 * 16 * 40 * 4) as f64));
        let mut measured = Measurement::default();
        set_cache(&mut measured, &model(), &ids);
        assert_eq!(measured.values[CACHE], (2 * 2 * 16 * 40 * 4) as f64);
    }

    #[test]
    fn each_run_of_a_profile_is_one_token_more() {
        let model = Rc::unwrap_or_clone(model());
        let run = token_run(model, &[1, 2, 3]).unwrap();
        let all = profile::measure(4, Ok(run), |round| {
            Measurement::new("dense", "token-profile", 3, round)
        });
        // Of the step itself, which runs on another thread. `tracing` may miss spans of a run while
        // models of other tests run on other threads.
        let runs = |part: &str| {
            let has = |one: &&Measurement| one.values.contains_key(&profile::part(part));
            all.iter().filter(has).count()
        };
        assert_eq!((all.len(), runs(profile::WHOLE)), (4, 4));
        assert!(
            (1..=4).contains(&runs("qkv")) && runs("attention") > 0,
            "{all:?}"
        );
    }
}
