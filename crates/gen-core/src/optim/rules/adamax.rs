use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::rule::{Part, Range, Rule, Work};
use crate::error::Result;
use crate::optim::annealed::Scheduled;

/// Adamax (Kingma & Ba 2015, algorithm 2), with PyTorch's ε and weight decay.
///
/// With the gradient g plus λ times the parameter θ, at step t:
///
/// m ← β₁ m + (1 - β₁) g, u ← max(β₂ u, |g| + ε), θ ← θ - α / (1 - β₁ᵗ) m / u
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adamax {
    /// Step size α.
    pub learning_rate: Scheduled,
    /// Decay β₁ of the first moment.
    pub beta1: Scheduled,
    /// Decay β₂ of the largest gradient.
    pub beta2: Scheduled,
    /// ε, added to the size of the gradient.
    pub epsilon: f64,
    /// Weight decay λ, as part of the gradient.
    pub weight_decay: Scheduled,
    /// Gradients are scaled down to at most this norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// A step whose gradient is not finite or has a larger norm than this changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_above: Option<f64>,
}

impl Default for Adamax {
    fn default() -> Self {
        Adamax {
            learning_rate: 2e-3.into(),
            beta1: 0.9.into(),
            beta2: 0.999.into(),
            epsilon: 1e-8,
            weight_decay: 0.0.into(),
            clip_norm: None,
            skip_above: None,
        }
    }
}

impl Rule for Adamax {
    fn kept(&self) -> Vec<&'static str> {
        vec!["m", "u"]
    }

    fn numbers(&self) -> Vec<(&'static str, Scheduled, Range)> {
        vec![
            ("learning_rate", self.learning_rate, Range::Positive),
            ("beta1", self.beta1, Range::Decay),
            ("beta2", self.beta2, Range::Decay),
            ("epsilon", self.epsilon.into(), Range::Positive),
            ("weight_decay", self.weight_decay, Range::NotNegative),
        ]
    }

    fn clip_norm(&self) -> Option<f64> {
        self.clip_norm
    }

    fn skip_above(&self) -> Option<f64> {
        self.skip_above
    }

    fn update(&self, work: &Work<'_>) -> Result<()> {
        let (beta1, beta2) = (work.value(&self.beta1), work.value(&self.beta2));
        // The number of steps stays on the device, which alone knows of steps that were skipped.
        let rate = (1f64 - Tensor::pow_scalar(beta1, &work.steps.to_kind(Kind::Double))).reciprocal()
            * work.rate(&self.learning_rate);
        for Part { mut parameter, gradient, mut kept } in work.parts(work.value(&self.weight_decay))? {
            let _ = kept[0].lerp_(&gradient, 1.0 - beta1);
            let largest = (&kept[1] * beta2).maximum(&(gradient.abs() + self.epsilon));
            kept[1].copy_(&largest);
            let _ = parameter.g_sub_(&(&kept[0] / largest * &rate));
        }
        Ok(())
    }
}
