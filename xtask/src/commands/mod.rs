//! One file a command: parse, call, print.

pub mod convert;
pub mod generate;
pub mod logits;
pub mod pretrain;
pub mod reproduce;

mod ids;
mod model;
