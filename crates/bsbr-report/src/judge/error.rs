//! Errors about summaries to judge and votes.

use std::path::PathBuf;

use crate::error::ReportError;

/// Ballots that cannot be made, or a vote that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// Records or votes that cannot be read or written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// No summaries to judge.
    #[error("{path} has no summaries; run the experiment `summarisation` into that folder first")]
    NoSummaries {
        /// The folder of results.
        path: PathBuf,
    },
    /// Records of different runs.
    #[error(
        "{path} has summaries of several runs, with different methods or models; delete the \
         outdated records, or run the experiment into another folder"
    )]
    Mixed {
        /// The folder of results.
        path: PathBuf,
    },
    /// A summary that is not in the records.
    #[error("no summaries are called `{name}`; there are {known}")]
    UnknownSummary {
        /// The requested name.
        name: String,
        /// The known names.
        known: String,
    },
    /// A pair of equal names.
    #[error("`{name}` cannot be compared with itself; name two summaries")]
    SamePair {
        /// The name.
        name: String,
    },
    /// An invalid name of a judge.
    #[error(
        "a judge's name must have 1 to {} printable characters",
        super::MAX_NAME
    )]
    Name,
    /// A vote on a ballot that is not in this session.
    #[error("this vote is not on a pair of summaries that is judged here")]
    UnknownBallot,
    /// A second vote on a ballot.
    #[error("you have already voted on these two summaries")]
    JudgedAlready,
}
