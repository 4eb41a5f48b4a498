//! Articles with two summaries each, in an order that reveals nothing.

use std::collections::BTreeMap;

use crate::hash;
use crate::judge::{ARTICLE, REFERENCE, SUMMARY};
use crate::record::{Records, each_once};

/// An article and two summaries of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// SHA-256 of the pair and all three texts.
    pub id: String,
    /// The article's index.
    pub article: u64,
    /// The article.
    pub text: String,
    /// The models of the summaries, sorted.
    pub pair: [String; 2],
    /// The models of the summaries as shown: left, right.
    pub order: [String; 2],
    /// The summaries as shown.
    pub summaries: [String; 2],
}

/// Names of the models with summaries in the records, in order.
pub(super) fn names(records: &Records) -> Vec<&str> {
    let all = records.measurements();
    let all = all.filter(|one| one.texts.contains_key(SUMMARY));
    each_once(all.map(|one| one.arm.as_str()))
}

/// The ballots of a pair, in a judge's order.
///
/// The position of an article, and the summary on the left, follow from SHA-256 of the seed, the
/// judge and the ballot. They are reproducible, also when articles are added.
pub fn ballots(records: &Records, pair: [&str; 2], seed: u64, judge: &str) -> Vec<Ballot> {
    let mut ballots = sorted(records, pair);
    let place = |ballot: &Ballot| {
        let words = format!("{seed}\n{judge}\n{}", ballot.id);
        hash::of_bytes(words.as_bytes())
    };
    ballots.sort_by_cached_key(place);
    for ballot in &mut ballots {
        // From the last digit, because the first ones determine the position.
        if place(ballot).ends_with(|c: char| "13579bdf".contains(c)) {
            ballot.order.reverse();
            ballot.summaries.reverse();
        }
    }
    ballots
}

/// The ballots of a pair by article, in the order of the sorted pair.
pub(super) fn sorted(records: &Records, mut pair: [&str; 2]) -> Vec<Ballot> {
    pair.sort_unstable();
    let mut articles: BTreeMap<u64, [Option<&str>; 3]> = BTreeMap::new();
    for one in records.measurements() {
        // The same models may have been measured on other data under the same index.
        let Some(summary) = one.texts.get(SUMMARY).map(String::as_str) else {
            continue;
        };
        let texts = articles.entry(one.index).or_default();
        if one.arm == REFERENCE {
            texts[0] = one.texts.get(ARTICLE).map(String::as_str);
        }
        for (name, text) in pair.iter().zip(&mut texts[1..]) {
            if one.arm == *name {
                *text = Some(summary);
            }
        }
    }
    let pair = pair.map(str::to_owned);
    let ballot = |(article, texts): (u64, [Option<&str>; 3])| {
        let [Some(text), Some(first), Some(second)] = texts else {
            return None;
        };
        Some(Ballot {
            id: id(&pair, text, [first, second]),
            article,
            text: text.to_owned(),
            pair: pair.clone(),
            order: pair.clone(),
            summaries: [first.to_owned(), second.to_owned()],
        })
    };
    articles.into_iter().filter_map(ballot).collect()
}

fn id(pair: &[String; 2], article: &str, summaries: [&str; 2]) -> String {
    let texts = [&pair[0], &pair[1], article, summaries[0], summaries[1]];
    // Lengths come first, so that no two ballots give the same bytes.
    let bytes =
        texts.map(|text| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat());
    hash::of_bytes(&bytes.concat())
}
