//! What a set of samples says, and how sure it is.

mod bootstrap;
mod interval;
mod paired;
mod proportion;
mod quantile;
mod summary;

pub use bootstrap::Bootstrap;
pub use interval::Interval;
pub use paired::{Comparison, paired_difference, paired_ratio};
pub use proportion::{clopper_pearson, wilson};
pub use quantile::quantile;
pub use summary::Summary;
