//! Statistics of a set of samples, with confidence intervals.

mod bootstrap;
mod interval;
mod proportion;
mod quantile;
mod summary;

pub use bootstrap::Bootstrap;
pub use interval::Interval;
pub use proportion::wilson;
pub use quantile::quantile;
pub use summary::Summary;
