#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod file;
mod folder;
mod lines;
mod lock;
mod space;
mod temporary;

pub use error::FileError;
pub use file::{check_file, write_file, write_file_at, write_file_with};
pub use folder::{check_folder, write_folder};
pub use lines::append_line;
pub use lock::Lock;
