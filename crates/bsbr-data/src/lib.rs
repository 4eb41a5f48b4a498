#![doc = include_str!("../README.md")]

pub mod corpus;
pub mod storybook;
pub mod stream;
pub mod tokenizer;
pub mod windows;
