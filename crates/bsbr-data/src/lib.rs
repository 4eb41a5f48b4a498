#![doc = include_str!("../README.md")]

pub mod article;
pub mod corpus;
pub mod dataset;
pub mod storybook;
pub mod stream;
pub mod tokenizer;
pub mod windows;

mod guard;
