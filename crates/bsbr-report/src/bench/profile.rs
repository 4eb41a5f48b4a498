//! The time of the parts of a forward pass, from the spans of `bsbr-gpt2`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::rounds::{Case, Timing};

/// The time outside all spans.
pub const REST: &str = "rest";
/// The whole pass.
pub const WHOLE: &str = "whole";
/// The name of a part in records.
pub(super) fn part(name: &str) -> String {
    format!("part.{name}")
}

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

/// A case whose runs set the seconds of each part of a pass.
pub(super) fn case<'a>(
    id: impl Into<String>,
    length: usize,
    run: Result<Timing<'a>, String>,
) -> Case<'a> {
    Case::new(id, length, move |one| {
        let run = run.as_ref().map_err(Clone::clone)?;
        let stopwatch = Stopwatch::default();
        let spans = stopwatch.spans.clone();
        let whole = tracing::subscriber::with_default(stopwatch, run)?;
        let parts = &spans.lock().unwrap_or_else(PoisonError::into_inner).seconds;
        let inside: f64 = parts.values().sum();
        for (name, &seconds) in parts {
            one.set(part(name), seconds);
        }
        one.set(part(REST), (whole - inside).max(0.0));
        one.set(part(WHOLE), whole);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Rounds;

    #[test]
    fn parts_and_rest_sum_to_the_whole() {
        let run: Timing<'_> = Box::new(|| {
            let start = Instant::now();
            for _ in 0..2 {
                let _span = tracing::trace_span!(target: bsbr_gpt2::SPANS, "waiting").entered();
                std::thread::sleep(std::time::Duration::from_millis(4));
            }
            let _other = tracing::trace_span!(target: "another crate", "unseen").entered();
            std::thread::sleep(std::time::Duration::from_millis(4));
            Ok(start.elapsed().as_secs_f64())
        });
        let one = case("dense", 7, Ok(run));
        let all = Rounds::timed(2).run(&[one], "profile").concat();
        assert_eq!(all.len(), 2);
        for one in &all {
            let names: Vec<&str> = one.values.keys().map(String::as_str).collect();
            assert_eq!(names, ["part.rest", "part.waiting", "part.whole"]);
            let [rest, waiting, whole] =
                [REST, "waiting", WHOLE].map(|name| one.values[&part(name)]);
            assert!(waiting >= 8e-3 && rest >= 4e-3, "{all:?}");
            assert!((rest + waiting - whole).abs() < 1e-6, "{all:?}");
        }
    }
}
