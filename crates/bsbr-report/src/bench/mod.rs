//! Time of a model, compared with the limits of the machine and with PyTorch.
//!
//! Everything that is compared runs in the same rounds (`rounds`), so a temporary slowdown affects
//! all of it, and ratios are computed per round. Each length also has its [`floor`]: the time of
//! the linear layers alone, from their operations at the rate of the matrix products in those
//! rounds, or from their bytes at the rate of a copy.

pub mod accuracy;
pub mod benchmark;
pub mod decode;
mod derived;
pub mod first_token;
pub mod floor;
pub mod machine;
pub(crate) mod names;
pub mod page;
pub mod place;
pub mod profile;
pub mod record;
pub mod training;

pub use benchmark::{Benchmark, Scope, Shared};
pub use place::Place;
pub use record::{Model, begin};
