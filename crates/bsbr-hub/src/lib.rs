#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cache;
mod config;
mod download;
mod error;
mod etag;
mod hub;
mod names;
mod net;
mod progress;
mod session;
mod source;

pub use config::{HubConfig, Token};
pub use error::HubError;
pub use hub::{Check, Hub, LocalFile, Snapshot};
pub use names::{Repository, RepositoryKind};
pub use progress::{NoProgress, Notice, Progress};
pub use session::Session;
pub use source::ModelSource;
