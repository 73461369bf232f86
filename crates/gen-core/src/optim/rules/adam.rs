use gen_native::{AdamStep, adam_step};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::rule::{Range, Rule, Work};
use crate::error::Result;
use crate::optim::annealed::Scheduled;

/// Adam (Kingma & Ba 2015, algorithm 1), with PyTorch's weight decay.
///
/// With the gradient g plus λ times the parameter θ, at step t:
///
/// m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², θ ← θ - α (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Step size α.
    pub learning_rate: Scheduled,
    /// Decay β₁ of the first moment.
    pub beta1: Scheduled,
    /// Decay β₂ of the second moment.
    pub beta2: Scheduled,
    /// ε, added to the root of the second moment.
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

impl Default for Adam {
    fn default() -> Self {
        Adam {
            learning_rate: 1e-3.into(),
            beta1: 0.9.into(),
            beta2: 0.999.into(),
            epsilon: 1e-8,
            weight_decay: 0.0.into(),
            clip_norm: None,
            skip_above: None,
        }
    }
}

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).
///
/// With the gradient g of the loss alone, at step t:
///
/// θ ← (1 - αλ) θ, m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g²,
/// θ ← θ - α (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Step size α.
    pub learning_rate: Scheduled,
    /// Decay β₁ of the first moment.
    pub beta1: Scheduled,
    /// Decay β₂ of the second moment.
    pub beta2: Scheduled,
    /// ε, added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay λ, apart from the gradient.
    pub weight_decay: Scheduled,
    /// Gradients are scaled down to at most this norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// A step whose gradient is not finite or has a larger norm than this changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_above: Option<f64>,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            learning_rate: 1e-3.into(),
            beta1: 0.9.into(),
            beta2: 0.999.into(),
            epsilon: 1e-8,
            weight_decay: 0.01.into(),
            clip_norm: None,
            skip_above: None,
        }
    }
}

impl Rule for Adam {
    fn kept(&self) -> Vec<&'static str> {
        vec!["m", "v"]
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
        let settings = AdamStep {
            learning_rate: work.rate(&self.learning_rate),
            beta1: work.value(&self.beta1),
            beta2: work.value(&self.beta2),
            epsilon: self.epsilon,
            weight_decay: 0.0,
        };
        match work.value(&self.weight_decay) {
            0.0 => fused(work, work.gradients, work.divisor, settings),
            weight_decay => fused(work, &work.decayed(weight_decay)?, None, settings),
        }
    }
}

impl Rule for AdamW {
    fn kept(&self) -> Vec<&'static str> {
        vec!["m", "v"]
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
        let settings = AdamStep {
            learning_rate: work.rate(&self.learning_rate),
            beta1: work.value(&self.beta1),
            beta2: work.value(&self.beta2),
            epsilon: self.epsilon,
            weight_decay: work.value(&self.weight_decay),
        };
        fused(work, work.gradients, work.divisor, settings)
    }
}

/// One call for all parameters.
fn fused(work: &Work<'_>, gradients: &[Tensor], divisor: Option<&Tensor>, settings: AdamStep) -> Result<()> {
    let divisor = divisor.map(|divisor| divisor.to_kind(Kind::Float));
    let (m, v) = (&work.kept[0], &work.kept[1]);
    Ok(adam_step(work.parameters, gradients, m, v, work.steps, divisor.as_ref(), settings)?)
}
