#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod article;
pub mod corpus;
pub mod dataset;
pub mod storybook;
pub mod stream;
pub mod tokenizer;
pub mod tokens;
pub mod windows;

mod guard;
