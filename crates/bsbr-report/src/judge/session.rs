//! A judge's session.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::now;
use crate::judge::ballot::{Ballot, ballots, names};
use crate::judge::error::JudgeError;
use crate::judge::votes::{Choice, VOTES, Vote, VoteFile};
use crate::judge::{EXPERIMENTS, REFERENCE};
use crate::record::{Record, Records};
use crate::reproduce::RECORDS;
use crate::spec::dense;
use crate::store::Store;

/// The length limit of a judge's name, in characters.
pub const MAX_NAME: usize = 64;

/// One judge, one pair, and the remaining articles.
#[derive(Debug)]
pub struct Session {
    judge: String,
    seed: u64,
    ballots: Vec<Ballot>,
    judged: BTreeSet<String>,
    file: VoteFile,
}

impl Session {
    /// Starts a session, or resumes the judge's earlier one.
    ///
    /// `results` is the folder of a run. The first of the pair defaults to the default arm, the
    /// second to the dense one.
    ///
    /// # Errors
    ///
    /// [`JudgeError`] if the folder has no such summaries or the votes cannot be read.
    pub fn open(results: &Path, pair: [Option<&str>; 2], judge: &str) -> Result<Self, JudgeError> {
        let judge = judge.trim();
        let printed = !judge.chars().any(char::is_control);
        if !(1..=MAX_NAME).contains(&judge.chars().count()) || !printed {
            return Err(JudgeError::Name);
        }
        let (records, pair, seed) = summaries(results, pair)?;
        let ballots = ballots(&records, [&pair[0], &pair[1]], seed, judge);
        if ballots.is_empty() {
            let path = results.to_owned();
            return Err(JudgeError::NoSummaries { path });
        }
        let (file, votes) = VoteFile::open(&results.join(VOTES))?;
        let own = votes.into_iter().filter(|vote| vote.judge == judge);
        Ok(Self {
            judge: judge.to_owned(),
            seed,
            ballots,
            judged: own.map(|vote| vote.ballot).collect(),
            file,
        })
    }

    /// The next ballot; `None` at the end.
    pub fn next(&self) -> Option<&Ballot> {
        let mut all = self.ballots.iter();
        all.find(|one| !self.judged.contains(&one.id))
    }

    /// The numbers of judged ballots and of all ballots.
    pub fn progress(&self) -> (usize, usize) {
        let judged = self.ballots.iter();
        let judged = judged.filter(|one| self.judged.contains(&one.id)).count();
        (judged, self.ballots.len())
    }

    /// Records the judge's choice for a ballot.
    ///
    /// # Errors
    ///
    /// [`JudgeError::UnknownBallot`] if it is not in this session, [`JudgeError::JudgedAlready`] if
    /// it was judged, [`JudgeError::Report`] if the vote cannot be written.
    pub fn vote(&mut self, ballot: &str, choice: Choice) -> Result<(), JudgeError> {
        let found = self.ballots.iter().find(|one| one.id == ballot);
        let ballot = found.ok_or(JudgeError::UnknownBallot)?;
        if self.judged.contains(&ballot.id) {
            return Err(JudgeError::JudgedAlready);
        }
        self.file.append(&Vote {
            judge: self.judge.clone(),
            pair: ballot.pair.clone(),
            article: ballot.article,
            order: ballot.order.clone(),
            choice,
            time: now(),
            seed: self.seed,
            ballot: ballot.id.clone(),
        })?;
        self.judged.insert(ballot.id.clone());
        Ok(())
    }
}

/// The records with both summaries, the pair and the seed, from the first experiment that has them;
/// or the error of the first experiment with records.
fn summaries(
    results: &Path,
    asked: [Option<&str>; 2],
) -> Result<(Records, [String; 2], u64), JudgeError> {
    let path = || results.to_owned();
    let mut refused = None;
    for experiment in EXPERIMENTS {
        let records = Store::new(results.join(RECORDS)).all(experiment)?;
        let Some(first) = records.first().cloned() else {
            continue;
        };
        if records.iter().any(|one| one.identity != first.identity) {
            return Err(JudgeError::Mixed { path: path() });
        }
        match chosen(&records, &first, asked) {
            Ok(pair) => return Ok((records, pair, first.method.seed)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| JudgeError::NoSummaries { path: path() }))
}

/// The requested pair, if there are such summaries.
fn chosen(
    records: &Records,
    first: &Record,
    pair: [Option<&str>; 2],
) -> Result<[String; 2], JudgeError> {
    let arms = &first.method.arms;
    let default = arms.iter().find(|arm| arm.default);
    let known = names(records);
    let [first, second] = [(pair[0], default), (pair[1], dense(arms))].map(|(asked, arm)| {
        let name = asked.or(arm.map(|arm| arm.id.as_str()));
        let name = name.unwrap_or(REFERENCE);
        match known.contains(&name) {
            true => Ok(name.to_owned()),
            false => Err(JudgeError::UnknownSummary {
                name: name.to_owned(),
                known: known.join(", "),
            }),
        }
    });
    let (first, second) = (first?, second?);
    match first == second {
        true => Err(JudgeError::SamePair { name: first }),
        false => Ok([first, second]),
    }
}
