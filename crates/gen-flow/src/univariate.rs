//! Increasing maps of single numbers, with parameters that a network gives. Couplings and autoregressive layers apply
//! them to each value.

mod additive;
mod affine;
mod logistic_mixture;
mod map;
mod spline;

pub use additive::Additive;
pub use affine::Affine;
pub use logistic_mixture::LogisticMixture;
pub use map::{Partition, Univariate};
pub use spline::RationalQuadratic;
