//! Variational bounds on the log-likelihood, in nats: in continuous time, [`ContinuousBound`], and of the T steps of a
//! process, [`VariationalBound`].

mod continuous;
mod decoder;
mod discrete;
mod terms;

use gen_core::rng::Generator;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::samplers::Variance;
use crate::scales::Scales;
use crate::schedule::Process;

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

/// A bound of one process.
#[derive(Debug)]
pub enum BoundOf<'p> {
    /// In continuous time.
    Continuous(ContinuousBound<'p>),
    /// Of T steps.
    Discrete(VariationalBound),
}

impl Bound {
    /// The bound of `process` on data that `decoder` describes.
    ///
    /// # Errors
    /// When the bound is that of T steps and the process has no timesteps.
    pub fn of(self, process: &dyn Process, decoder: Decoder) -> Result<BoundOf<'_>> {
        match (self, process.all_levels()) {
            (Bound::Continuous, _) => Ok(BoundOf::Continuous(ContinuousBound::new(process, decoder))),
            (Bound::Discrete(Discrete { variance }), Some(levels)) => {
                Ok(BoundOf::Discrete(VariationalBound::new(levels, variance, decoder)))
            }
            (Bound::Discrete(_), None) => {
                Err(Error::invalid("`bound = discrete` needs a process of timesteps: try `continuous`"))
            }
        }
    }
}

impl BoundOf<'_> {
    /// [`ContinuousBound::estimate`] or [`VariationalBound::estimate`].
    pub fn estimate(
        &self,
        denoise: impl FnMut(&Tensor, &Scales) -> Tensor,
        x0: &Tensor,
        evaluations: usize,
        rng: &Generator,
    ) -> Tensor {
        match self {
            BoundOf::Continuous(bound) => bound.estimate(denoise, x0, evaluations, rng),
            BoundOf::Discrete(bound) => bound.estimate(denoise, x0, evaluations, rng),
        }
    }
}
