//! How fast the machine's own limits would let a model be, how fast it is, and how fast PyTorch is.
//!
//! Everything that is compared is timed in the same rounds (`rounds`), so that what slows the
//! machine down slows all of it down, and ratios are made round by round. Beside each length stands
//! the [`floor`]: the linear layers alone, at the rate that the machine's matrix products reach in
//! those rounds, and their bytes at its rate of copying.

pub mod accuracy;
pub mod contest;
pub mod decode;
pub mod first_token;
pub mod floor;
pub mod goals;
pub mod machine;
mod over_floor;
pub mod page;
pub mod place;
pub mod profile;
pub mod record;
pub mod select;
pub mod table;
pub mod tables;
pub mod training;

pub use contest::{Contest, Scope, Timer};
pub use place::Place;
pub use record::{BenchRecord, Series};
