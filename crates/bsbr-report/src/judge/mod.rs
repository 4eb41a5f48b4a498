//! People's preference between two summaries of an article.
//!
//! A [`Ballot`] is an article with two summaries from the records of the summarisation experiment.
//! A [`Session`] shows a judge the ballots of a pair in sequence, without the names of the models,
//! and appends each [`Vote`] to a file. Votes count only for the summaries that were judged: if
//! these change, the [`Tallies`] omit the votes.

mod ballot;
mod error;
mod page;
mod session;
mod tally;
mod votes;

pub use ballot::{Ballot, ballots};
pub use error::JudgeError;
pub use page::{page, problem};
pub use session::{MAX_NAME, Session};
pub use tally::{Tallies, Tally, tally};
pub use votes::{Choice, VOTES, Vote, VoteFile, read_votes};

/// The experiment on summaries.
pub const EXPERIMENT: &str = "summarisation";

/// Every experiment with summaries in its records, in the order of the search for a pair.
const EXPERIMENTS: [&str; 2] = [EXPERIMENT, "recovery"];

/// The name of a summary among a measurement's texts.
pub const SUMMARY: &str = "summary";

/// The name of an article among the texts of [`REFERENCE`].
pub const ARTICLE: &str = "article";

/// The measurement with the article, and its highlights as the summary.
pub const REFERENCE: &str = "reference";
