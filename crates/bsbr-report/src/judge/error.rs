//! What can go wrong between records and votes.

use std::path::PathBuf;

use crate::error::ReportError;

/// Ballots that cannot be made, or a vote that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// Records or votes that cannot be read or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// There is nothing to judge.
    #[error("{path} has no summaries; run the experiment `summarisation` into that folder first")]
    NoSummaries {
        /// The folder of results.
        path: PathBuf,
    },
    /// Records that do not belong together.
    #[error(
        "{path} has summaries of more than one run, by other methods or models; delete the records \
         that are out of date, or run the experiment into another folder"
    )]
    Mixed {
        /// The folder of results.
        path: PathBuf,
    },
    /// A summary that the records do not have.
    #[error("no summaries are called `{name}`; there are {known}")]
    UnknownSummary {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A pair of one.
    #[error("`{name}` cannot be compared with itself; name two summaries")]
    SamePair {
        /// The name.
        name: String,
    },
    /// A judge's name that cannot be recorded.
    #[error(
        "a judge's name has 1 to {} characters that can be printed",
        super::MAX_NAME
    )]
    Name,
    /// A vote on what this session does not show.
    #[error("this vote is on no pair of summaries that is judged here")]
    UnknownBallot,
    /// A second vote.
    #[error("there is a vote of yours on these two summaries already")]
    JudgedAlready,
}
