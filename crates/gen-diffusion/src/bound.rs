//! Variational bounds on the log-likelihood, in nats: in continuous time, [`ContinuousBound`], and of the T steps of a
//! process, [`VariationalBound`].

mod continuous;
mod decoder;
mod discrete;
mod terms;

use serde::{Deserialize, Serialize};

pub use continuous::ContinuousBound;
pub use decoder::Decoder;
pub use discrete::VariationalBound;

/// The choice of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// [`ContinuousBound`], the tighter one.
    #[default]
    Continuous,
    /// [`VariationalBound`], of the process which ancestral sampling in T steps draws from.
    Discrete,
}
