//! The nine 2-D point sets of the literature on flows, with their exact densities and entropies.
//!
//! The entropy is the lowest possible negative log-likelihood on such a set: `nll - entropy` is a Kullback-Leibler
//! divergence in nats, never negative in expectation.
//!
//! ```
//! use gen_core::data::PointSet;
//!
//! let moons = PointSet::named("moons").unwrap();
//! let x = moons.sample(20_000, 0);
//! let nll = -moons.log_prob(&x).mean(tch::Kind::Double).double_value(&[]);
//! assert!((nll - moons.entropy()).abs() < 0.03);
//! ```

mod density;
mod sample;
mod set;

pub use sample::Modes;
pub use set::PointSet;

#[cfg(test)]
mod tests;
