//! People's preference between two summaries of an article.
//!
//! A [`Ballot`] is an article with two summaries that the records of the summarisation experiment
//! have. A [`Session`] shows a judge the ballots of a pair one after the other, without saying whose
//! summaries they are, and appends each [`Vote`] to a file. Votes count for the summaries that they
//! were given for: when those change, the [`Tallies`] leave the votes out.

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

/// The experiment that is about summaries.
pub const EXPERIMENT: &str = "summarisation";

/// Every experiment whose records have summaries, in the order in which a pair is looked for.
const EXPERIMENTS: [&str; 2] = [EXPERIMENT, "recovery"];

/// The name of a summary among a measurement's texts.
pub const SUMMARY: &str = "summary";

/// The name of an article among the texts of [`REFERENCE`].
pub const ARTICLE: &str = "article";

/// The measurement that has the article, and its highlights as the summary.
pub const REFERENCE: &str = "reference";
