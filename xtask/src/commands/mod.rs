//! One file a command: parse, call, print.

pub mod bench;
pub mod convert;
pub mod finetune;
pub mod first_token;
pub mod generate;
pub mod hub;
pub mod judge;
pub mod logits;
pub mod memory_cell;
pub mod pretrain;
pub mod reproduce;
pub mod serve_device;
pub mod shape;
pub mod texts;

mod card;
mod ids;
mod model;

/// The command line as one would type it.
fn command_line() -> String {
    let mut words = vec!["cargo xtask".to_owned()];
    words.extend(std::env::args().skip(1));
    words.join(" ")
}
