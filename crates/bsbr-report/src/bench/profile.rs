//! The time of the parts of a forward pass, from the spans of `bsbr-gpt2`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::bench::Scope;
use crate::bench::record::{SECONDS, Series};
use crate::rounds::Run;

/// The time outside all spans.
pub const REST: &str = "rest";
/// The whole pass.
pub const WHOLE: &str = "whole";

/// The times of the spans of one pass.
#[derive(Debug, Default)]
struct Spans {
    names: BTreeMap<u64, &'static str>,
    entered: BTreeMap<u64, Instant>,
    seconds: BTreeMap<&'static str, f64>,
}

/// Sums the time within spans, by name. Spans do not overlap: a pass is controlled by one thread.
#[derive(Debug, Default)]
struct Stopwatch {
    next: AtomicU64,
    spans: Arc<Mutex<Spans>>,
}

impl Stopwatch {
    fn with<R>(&self, change: impl FnOnce(&mut Spans) -> R) -> R {
        change(&mut self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Stopwatch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == bsbr_gpt2::SPANS
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.with(|spans| spans.names.insert(number, span.metadata().name()));
        Id::from_u64(number)
    }

    fn enter(&self, span: &Id) {
        self.with(|spans| spans.entered.insert(span.into_u64(), Instant::now()));
    }

    fn exit(&self, span: &Id) {
        let now = Instant::now();
        self.with(|spans| {
            let start = spans.entered.remove(&span.into_u64());
            let name = spans.names.remove(&span.into_u64());
            if let (Some(start), Some(name)) = (start, name) {
                *spans.seconds.entry(name).or_default() += (now - start).as_secs_f64();
            }
        });
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

/// Seconds per part in `runs` runs of a pass, after one untimed run.
pub(super) fn series(
    scope: Scope,
    who: &str,
    length: usize,
    runs: u64,
    run: Result<Run<'_>, String>,
) -> Vec<Series> {
    let empty = |part: &str| Series {
        part: part.to_owned(),
        ..Series::new(scope.id(), who, length, SECONDS)
    };
    let run = match run.and_then(|run| run().map(|_| run)) {
        Ok(run) => run,
        Err(reason) => {
            return vec![Series {
                missing: Some(reason),
                ..empty(WHOLE)
            }];
        }
    };
    let mut all: BTreeMap<&'static str, Series> = BTreeMap::new();
    for _ in 0..runs {
        let stopwatch = Stopwatch::default();
        let spans = stopwatch.spans.clone();
        let whole = tracing::subscriber::with_default(stopwatch, &run);
        let parts = spans.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = parts.seconds.clone();
        let inside: f64 = parts.values().sum();
        let rest = whole.clone().map(|seconds| (seconds - inside).max(0.0));
        let named = parts.into_iter().map(|(name, seconds)| (name, Ok(seconds)));
        for (part, seconds) in named.chain([(REST, rest), (WHOLE, whole)]) {
            all.entry(part).or_insert_with(|| empty(part)).push(seconds);
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_name_and_the_rest_is_theirs_to_the_whole() {
        let run: Run<'_> = Box::new(|| {
            let start = Instant::now();
            for _ in 0..2 {
                let _span = tracing::trace_span!(target: bsbr_gpt2::SPANS, "waiting").entered();
                std::thread::sleep(std::time::Duration::from_millis(4));
            }
            let _other = tracing::trace_span!(target: "another crate", "unseen").entered();
            std::thread::sleep(std::time::Duration::from_millis(4));
            Ok(start.elapsed().as_secs_f64())
        });
        let all = series(Scope::Profile, "dense", 7, 2, Ok(run));
        let parts: Vec<&str> = all.iter().map(|one| one.part.as_str()).collect();
        assert_eq!(parts, [REST, "waiting", WHOLE]);
        for round in 0..2 {
            let [rest, waiting, whole] = [0, 1, 2].map(|part| all[part].samples[round]);
            assert!(waiting >= 8e-3 && rest >= 4e-3, "{all:?}");
            assert!((rest + waiting - whole).abs() < 1e-6, "{all:?}");
        }
    }

    #[test]
    fn a_pass_that_fails_leaves_its_reason() {
        let all = series(
            Scope::Profile,
            "dense",
            7,
            2,
            Err("no such model".to_owned()),
        );
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].missing.as_deref(), Some("no such model"));
    }
}
