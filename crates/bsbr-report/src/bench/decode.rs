//! Decoding: the time of a token after contexts of several lengths, the time to read them, and the
//! size of the cache.

use std::cell::RefCell;
use std::rc::Rc;

use bsbr_gpt2::Gpt2;

use crate::decoding::{Context, Limits, PIECE};
use crate::engines::Peer;
use crate::rounds::{Case, Timing, model_run};
use crate::spec::ArmSpec;

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

/// A case of ours.
pub(super) fn ours<'a>(id: String, model: Rc<Gpt2>, ids: Vec<u32>) -> Case<'a> {
    let pass = model_run(Gpt2::clone(&model), &ids);
    Case::new(id, ids.len(), move |one| {
        let mut context = Context::new(&model);
        context.read(&model, &ids, PIECE, Limits::NONE)?;
        one.set(PREFILL, context.seconds);
        one.set(PASS, pass.as_ref().map_err(Clone::clone)?()?);
        one.set(CACHE, context.bytes());
        one.set(TOKEN, context.generate(&model, GENERATED, Limits::NONE)?);
        Ok(())
    })
}

/// The cache of a text alone.
pub(super) fn cache<'a>(id: String, model: Gpt2, ids: Vec<u32>) -> Case<'a> {
    Case::new(id, ids.len(), move |one| {
        let mut context = Context::new(&model);
        context.read(&model, &ids, PIECE, Limits::NONE)?;
        one.set(CACHE, context.bytes());
        Ok(())
    })
}

/// Another engine.
pub(super) fn engine<'a>(peer: Peer, context: usize) -> Case<'a> {
    Case::new(peer.id.clone(), context, move |one| {
        one.set(PREFILL, peer.ask("read", context)?);
        let unknown = |_| "the engine does not report it".to_owned();
        one.put(CACHE, peer.ask("cache", 0).map_err(unknown));
        one.set(TOKEN, peer.ask("generate", GENERATED)?);
        Ok(())
    })
}

/// Greedy generation of one more token per run.
pub(super) fn token_run<'a>(model: Gpt2, ids: &[u32]) -> Result<Timing<'a>, String> {
    let mut context = Context::new(&model);
    context.read(&model, ids, PIECE, Limits::NONE)?;
    let context = RefCell::new(context);
    Ok(Box::new(move || {
        context.borrow_mut().generate(&model, 1, Limits::NONE)
    }))
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::PositionExtension;

    use super::*;
    use crate::bench::profile;
    use crate::decoding::tests::model;
    use crate::rounds::Rounds;

    #[test]
    fn a_model_decodes_beyond_its_positions() {
        let ids: Vec<u32> = (0..40).collect();
        let extension = PositionExtension::RepeatLast { window: 16 };
        let model = model().with_position_extension(extension).unwrap();
        let all = [
            ours("dense".to_owned(), Rc::new(model.clone()), ids.clone()),
            cache("dense".to_owned(), model, ids),
        ];
        let found = Rounds::plain(1).run(&all, "decode").concat();
        for name in [TOKEN, PREFILL, PASS] {
            assert!(found[0].values[name] > 0.0, "{name}");
        }
        for one in found {
            // Keys and values of two layers, 16 dimensions each.
            assert_eq!(one.values[CACHE], (2 * 2 * 16 * 40 * 4) as f64);
        }
    }

    #[test]
    fn each_run_of_a_profile_is_one_token_more() {
        let one = profile::case("dense", 3, token_run(model(), &[1, 2, 3]));
        let all = Rounds::timed(4).run(&[one], "token-profile").concat();
        // Of the step itself, which runs on another thread. `tracing` may miss spans of a run while
        // models of other tests run on other threads.
        let runs = |part: &str| {
            let name = profile::part(part);
            all.iter()
                .filter(|one| one.values.contains_key(&name))
                .count()
        };
        assert_eq!((all.len(), runs(profile::WHOLE)), (4, 4));
        assert!(
            (1..=4).contains(&runs("qkv")) && runs("attention") > 0,
            "{all:?}"
        );
    }
}
