use serde::{Deserialize, Serialize};

use super::rule::{Part, Range, Rule, Work};
use crate::error::{Error, Result};
use crate::optim::annealed::Scheduled;

/// Stochastic gradient descent with momentum (Polyak 1964; Nesterov's by Sutskever et al. 2013), as in PyTorch.
///
/// With the gradient g plus λ times the parameter θ:
///
/// b ← μ b + g, θ ← θ - η b, or θ ← θ - η (g + μ b) with Nesterov's momentum
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Step size η.
    pub learning_rate: Scheduled,
    /// Decay μ of the sum of gradients.
    pub momentum: Scheduled,
    /// Whether the step looks ahead along the sum.
    pub nesterov: bool,
    /// Weight decay λ, as part of the gradient.
    pub weight_decay: Scheduled,
    /// Gradients are scaled down to at most this norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// A step whose gradient is not finite or has a larger norm than this changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_above: Option<f64>,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd {
            learning_rate: 1e-3.into(),
            momentum: 0.0.into(),
            nesterov: false,
            weight_decay: 0.0.into(),
            clip_norm: None,
            skip_above: None,
        }
    }
}

impl Rule for Sgd {
    fn kept(&self) -> Vec<&'static str> {
        if self.momentum.is_zero() { Vec::new() } else { vec!["b"] }
    }

    fn numbers(&self) -> Vec<(&'static str, Scheduled, Range)> {
        vec![
            ("learning_rate", self.learning_rate, Range::Positive),
            ("momentum", self.momentum, Range::Decay),
            ("weight_decay", self.weight_decay, Range::NotNegative),
        ]
    }

    fn clip_norm(&self) -> Option<f64> {
        self.clip_norm
    }

    fn skip_above(&self) -> Option<f64> {
        self.skip_above
    }

    fn check(&self) -> Result<()> {
        if self.nesterov && self.momentum.is_zero() {
            return Err(Error::invalid("`nesterov` of an optimizer needs a `momentum` above 0"));
        }
        Ok(())
    }

    fn update(&self, work: &Work<'_>) -> Result<()> {
        let (rate, momentum) = (work.rate(&self.learning_rate), work.value(&self.momentum));
        for Part { mut parameter, gradient, mut kept } in work.parts(work.value(&self.weight_decay))? {
            let step = match kept.first_mut() {
                Some(sum) => {
                    let sum = sum.g_mul_scalar_(momentum).g_add_(&gradient);
                    if self.nesterov { gradient + sum * momentum } else { sum }
                }
                None => gradient,
            };
            let _ = parameter.g_sub_(&(step * rate));
        }
        Ok(())
    }
}
