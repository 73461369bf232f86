//! Penalties on the discriminator.

use gen_core::Result;
use gen_core::config::positive;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::losses::gradient_penalty;

/// A penalty that is added to the discriminator's loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Penalty {
    /// No penalty.
    None,
    /// On the gradient at data.
    R1(R1),
}

/// γ/2 E‖∇ₓ D(x)‖² over data x (Mescheder et al. 2018, equation 9).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct R1 {
    /// γ, above 0.
    pub gamma: f64,
}

impl Default for R1 {
    /// γ = 10, as in the paper.
    fn default() -> Self {
        R1 { gamma: 10.0 }
    }
}

impl Penalty {
    /// Whether logits of data have to depend on data that require gradients.
    pub fn needs_gradients(self) -> bool {
        matches!(self, Penalty::R1(_))
    }

    /// Its name in the history; `None` without a penalty.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Penalty::None => None,
            Penalty::R1(_) => Some("r1"),
        }
    }

    /// Its value, a scalar that is part of the graph; `None` without a penalty.
    ///
    /// `real: [batch, ...]` requires gradients where [`Penalty::needs_gradients`]; `real_logits: [batch]` are those of
    /// a network without batch normalisation.
    pub fn of(self, real: &Tensor, real_logits: &Tensor) -> Option<Tensor> {
        match self {
            Penalty::None => None,
            Penalty::R1(R1 { gamma }) => Some(gradient_penalty(real, real_logits).mean(Kind::Float) * (gamma / 2.0)),
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Penalty::None => Ok(()),
            Penalty::R1(R1 { gamma }) => positive("penalty.gamma", gamma),
        }
    }
}
