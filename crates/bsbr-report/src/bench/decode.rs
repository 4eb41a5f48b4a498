//! Decoding: the time of a token after contexts of several lengths, the time to read them, and the
//! size of the cache.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bsbr_gpt2::{Gpt2, ProductType};

use crate::bench::Scope;
use crate::bench::contest::{SLOW_RUNS, SLOW_SECONDS};
use crate::bench::record::{BYTES, SECONDS, Series};
use crate::decoding::{Context, Limits, torch_bytes, torch_generate, torch_read};
use crate::reading::{PIECE, cache_bytes, likeliest, read, read_on};
use crate::rounds::Run as Seconds;
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
    /// `None` if unknown.
    pub cache: Option<f64>,
}

/// Reads a context and generates after it.
pub(super) type Run<'a> = Box<dyn Fn() -> Result<Decoded, String> + 'a>;

/// A contestant at one context.
pub(super) struct Player<'a> {
    pub who: String,
    pub context: usize,
    pub run: Run<'a>,
}

/// A run of ours.
pub(super) fn ours<'a>(model: Rc<Gpt2>, ids: Vec<u32>) -> Run<'a> {
    Box::new(move || {
        let mut context = Context::new(&model);
        context.read(&model, &ids, PIECE, Limits::NONE)?;
        Ok(Decoded {
            prefill: context.seconds,
            cache: Some(context.bytes()),
            token: context.generate(&model, GENERATED, Limits::NONE)?,
        })
    })
}

/// A run of PyTorch's.
pub(super) fn torch<'a>(baseline: Result<Rc<Baseline>, String>, context: usize) -> Run<'a> {
    Box::new(move || {
        let baseline = baseline.clone()?;
        Ok(Decoded {
            prefill: torch_read(&baseline, context)?,
            cache: Some(torch_bytes(&baseline)?),
            token: torch_generate(&baseline, GENERATED, Limits::NONE)?,
        })
    })
}

/// A run of another engine.
pub(super) fn engine<'a>(
    baseline: Result<Rc<Baseline>, String>,
    products: ProductType,
    context: usize,
) -> Run<'a> {
    Box::new(move || {
        let baseline = baseline.clone()?;
        let ask = |scope, number| baseline.ask(products.name(), scope, number);
        Ok(Decoded {
            prefill: ask("read", context)?,
            cache: None,
            token: ask("generate", GENERATED)?,
        })
    })
}

/// Greedy generation of one more token per run.
pub(super) fn token_run<'a>(model: Gpt2, ids: &[u32]) -> Result<Seconds<'a>, String> {
    let (cache, logits) = read(&model, ids, PIECE)?;
    let state = RefCell::new((cache, likeliest(logits)?));
    Ok(Box::new(move || {
        let (cache, next) = &mut *state.borrow_mut();
        let start = Instant::now();
        *next = likeliest(read_on(&model, *next, cache)?)?;
        Ok(start.elapsed().as_secs_f64())
    }))
}

/// The size of a model's cache of a long text.
pub(super) fn long_cache(who: &str, model: &Gpt2, ids: &[u32]) -> Series {
    let mut series = part(who, ids.len(), CACHE, BYTES);
    series.push(read(model, ids, PIECE).map(|(cache, _)| cache_bytes(&cache)));
    series
}

/// Contestants run in interleaved rounds, all contexts in each round, after an untimed round.
pub(super) fn rounds(players: &[Player<'_>], runs: u64, progress: &dyn Fn(&str)) -> Vec<Series> {
    let run = |one: &Player<'_>| {
        progress(&format!("decode: {}, {} tokens", one.who, one.context));
        (one.run)()
    };
    let mut series: Vec<[Series; 3]> = players
        .iter()
        .map(|one| {
            [(TOKEN, SECONDS), (PREFILL, SECONDS), (CACHE, BYTES)]
                .map(|(name, unit)| part(&one.who, one.context, name, unit))
        })
        .collect();
    // A failed run is not repeated.
    let rounds: Vec<u64> = players
        .iter()
        .zip(&mut series)
        .map(|(one, series)| {
            let start = Instant::now();
            match run(one) {
                Ok(_) if start.elapsed().as_secs_f64() > SLOW_SECONDS => SLOW_RUNS.min(runs),
                Ok(_) => runs,
                Err(reason) => {
                    push(series, Err(reason));
                    0
                }
            }
        })
        .collect();
    for round in 0..runs {
        for turn in 0..players.len() {
            let place = (turn + round as usize) % players.len();
            if round < rounds[place] {
                push(&mut series[place], run(&players[place]));
            }
        }
    }
    series.into_iter().flatten().collect()
}

fn push([token, prefill, cache]: &mut [Series; 3], found: Result<Decoded, String>) {
    let one = |of: fn(&Decoded) -> f64| found.as_ref().map(of).map_err(Clone::clone);
    token.push(one(|found| found.token));
    prefill.push(one(|found| found.prefill));
    let kept = found.as_ref().map_err(Clone::clone);
    cache.push(kept.and_then(|found| found.cache.ok_or_else(|| "not told".to_owned())));
}

fn part(who: &str, context: usize, part: &str, unit: &str) -> Series {
    Series {
        part: part.to_owned(),
        ..Series::new(Scope::Decode.id(), who, context, unit)
    }
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::{Gpt2Config, PositionExtension};
    use burn::tensor::Device;

    use super::*;

    fn model() -> Rc<Gpt2> {
        let text = r#"{"model_type": "gpt2", "vocab_size": 40, "n_positions": 32,
                       "n_embd": 16, "n_layer": 2, "n_head": 2}"#;
        let config = Gpt2Config::from_json(text).unwrap();
        let model = Gpt2::init(&config, 1, &Device::default()).unwrap();
        let extension = PositionExtension::RepeatLast { window: 16 };
        Rc::new(model.with_position_extension(extension).unwrap())
    }

    #[test]
    fn everybody_takes_turns_and_another_goes_first() {
        let order = RefCell::new(Vec::new());
        let player = |who: &str, context: usize| {
            let (who, order) = (who.to_owned(), &order);
            Player {
                who: who.clone(),
                context,
                run: Box::new(move || {
                    order.borrow_mut().push(format!("{who} {context}"));
                    match who.as_str() {
                        "broken" => Err("no room".to_owned()),
                        _ => Ok(Decoded {
                            token: 0.5,
                            prefill: 2.0,
                            cache: Some(64.0),
                        }),
                    }
                }),
            }
        };
        let players = [player("a", 8), player("broken", 8), player("a", 16)];
        let told = RefCell::new(0);
        let series = rounds(&players, 2, &|_| *told.borrow_mut() += 1);
        let expected = ["a 8", "broken 8", "a 16", "a 8", "a 16", "a 16", "a 8"];
        assert_eq!(*order.borrow(), expected);
        assert_eq!(*told.borrow(), expected.len());

        let found = |who: &str, part: &str, length: usize| {
            let wanted = |one: &&Series| {
                (one.who.as_str(), one.part.as_str(), one.length) == (who, part, length)
            };
            series.iter().find(wanted).unwrap()
        };
        assert_eq!(found("a", PREFILL, 16).samples, [2.0, 2.0]);
        assert_eq!(found("a", CACHE, 8).unit, BYTES);
        let broken = found("broken", TOKEN, 8);
        assert!(broken.samples.is_empty());
        assert_eq!(broken.missing.as_deref(), Some("no room"));
    }

    #[test]
    fn a_model_decodes_beyond_its_positions() {
        let ids: Vec<u32> = (0..40).collect();
        let found = ours(model(), ids.clone())().unwrap();
        assert!(found.token > 0.0 && found.prefill > 0.0);
        // Keys and values of two layers, 16 dimensions each.
        assert_eq!(found.cache, Some((2 * 2 * 16 * 40 * 4) as f64));
        let series = long_cache("dense", &model(), &ids);
        assert_eq!(series.samples, [(2 * 2 * 16 * 40 * 4) as f64]);
        assert_eq!(series.length, 40);
    }

    #[test]
    fn each_run_of_a_profile_is_one_token_more() {
        let model = Rc::unwrap_or_clone(model());
        let run = token_run(model, &[1, 2, 3]).unwrap();
        let series = crate::bench::profile::series(Scope::TokenProfile, "dense", 3, 4, Ok(run));
        let parts: Vec<&str> = series.iter().map(|one| one.part.as_str()).collect();
        // Of the step itself, which runs on another thread.
        assert!(
            parts.contains(&"qkv") && parts.contains(&"attention"),
            "{parts:?}"
        );
        // `tracing` may miss spans of a run while models of other tests run on other threads.
        let of = |part| series.iter().find(|one| one.part == part).unwrap();
        assert_eq!(of("whole").samples.len(), 4);
        assert!((1..=4).contains(&of("qkv").samples.len()));
    }

    #[test]
    fn without_pytorch_there_is_a_reason() {
        let run = torch(Err("no torch".to_owned()), 8);
        assert_eq!(run(), Err("no torch".to_owned()));
        let run = engine(Err("no engine".to_owned()), ProductType::Int8, 8);
        assert_eq!(run(), Err("no engine".to_owned()));
    }
}
