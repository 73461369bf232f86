//! Variational bounds on the log-likelihood, in nats: in continuous time, [`ContinuousBound`], and of the T steps of a
//! process, [`VariationalBound`].

mod continuous;
mod decoder;
mod discrete;
mod terms;

use serde::{Deserialize, Serialize};

use crate::samplers::Variance;

pub use continuous::ContinuousBound;
pub use decoder::Decoder;
pub use discrete::VariationalBound;

/// The choice of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Bound {
    /// [`ContinuousBound`], the tighter one.
    Continuous,
    /// [`VariationalBound`], of the process which ancestral sampling in T steps draws from.
    Discrete(Discrete),
}

/// Options of the discrete bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discrete {
    /// The variance of a step.
    pub variance: Variance,
}

impl Default for Discrete {
    fn default() -> Self {
        Discrete { variance: Variance::FixedLarge }
    }
}
