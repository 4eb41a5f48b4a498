//! Counts of votes.

use std::collections::{BTreeMap, BTreeSet};

use bsbr_metrics::stats::wilson;

use crate::estimate::Estimate;
use crate::judge::ballot::sorted;
use crate::judge::votes::Vote;
use crate::record::Records;

/// The confidence of intervals.
const CONFIDENCE: f64 = 0.95;

/// The votes on a pair.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Votes for each of the pair, in order.
    pub wins: [u64; 2],
    /// Votes without a preference.
    pub neither: u64,
    /// The judges.
    pub judges: BTreeSet<String>,
}

impl Tally {
    /// The number of all votes.
    pub fn votes(&self) -> u64 {
        self.wins[0] + self.wins[1] + self.neither
    }

    /// The share of one of the pair, 0 or 1, among the votes with a preference, with Wilson's
    /// interval.
    ///
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub fn preference(&self, of: usize) -> Result<Estimate, String> {
        if self.votes() == 0 {
            return Err("no votes yet".to_owned());
        }
        let wins = self.wins[of.min(1)];
        let decided = self.wins[0] + self.wins[1];
        let interval = wilson(wins, decided, CONFIDENCE)
            .map_err(|_| "no vote states a preference".to_owned())?;
        Ok(Estimate {
            mean: wins as f64 / decided as f64,
            std: None,
            interval: Some(interval),
            n: decided as usize,
        })
    }
}

/// The votes on every pair.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tallies {
    /// By pair, sorted.
    pub pairs: BTreeMap<[String; 2], Tally>,
    /// Number of votes on summaries that are no longer in the records.
    pub stale: usize,
}

impl Tallies {
    /// The votes between two models, and the index of `one` in their pair.
    pub fn between(&self, one: &str, other: &str) -> (Tally, usize) {
        let mut pair = [one.to_owned(), other.to_owned()];
        pair.sort_unstable();
        let place = usize::from(pair[1] == one);
        (self.pairs.get(&pair).cloned().unwrap_or_default(), place)
    }
}

/// Counts the votes on summaries in the records: for each judge, the first on each ballot.
pub fn tally(records: &Records) -> Tallies {
    let mut tallies = Tallies::default();
    let mut known: BTreeMap<&[String; 2], BTreeSet<String>> = BTreeMap::new();
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for vote in records.votes() {
        let ballots = known
            .entry(&vote.pair)
            .or_insert_with(|| ids(records, vote));
        if !ballots.contains(&vote.ballot) {
            tallies.stale += 1;
        } else if seen.insert((&vote.judge, &vote.ballot)) {
            let tally = tallies.pairs.entry(vote.pair.clone()).or_default();
            tally.judges.insert(vote.judge.clone());
            match vote.preferred() {
                None => tally.neither += 1,
                Some(name) => tally.wins[usize::from(vote.pair[1] == name)] += 1,
            }
        }
    }
    tallies
}

fn ids(records: &Records, vote: &Vote) -> BTreeSet<String> {
    let [first, second] = &vote.pair;
    let ballots = sorted(records, [first, second]).into_iter();
    ballots.map(|ballot| ballot.id).collect()
}
