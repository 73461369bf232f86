use serde::{Deserialize, Serialize};

use super::rule::{Part, Range, Rule, Work};
use crate::error::Result;
use crate::optim::annealed::Scheduled;

/// RMSprop (Tieleman & Hinton 2012; centred by Graves 2013, equations 38 to 41), as in PyTorch.
///
/// With the gradient g plus λ times the parameter θ:
///
/// v ← α v + (1 - α) g², s = g / (√v + ε), b ← μ b + s, θ ← θ - η b
///
/// Centred, c ← α c + (1 - α) g, and v - c² takes the place of v under the root.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RmsProp {
    /// Step size η.
    pub learning_rate: Scheduled,
    /// Decay α of the mean square, and of the mean.
    pub alpha: Scheduled,
    /// ε, added to the root of the mean square.
    pub epsilon: f64,
    /// Whether the mean square is that around the mean.
    pub centered: bool,
    /// Decay μ of the sum of steps.
    pub momentum: Scheduled,
    /// Weight decay λ, as part of the gradient.
    pub weight_decay: Scheduled,
    /// Gradients are scaled down to at most this norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// A step whose gradient is not finite or has a larger norm than this changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_above: Option<f64>,
}

impl Default for RmsProp {
    fn default() -> Self {
        RmsProp {
            learning_rate: 1e-2.into(),
            alpha: 0.99.into(),
            epsilon: 1e-8,
            centered: false,
            momentum: 0.0.into(),
            weight_decay: 0.0.into(),
            clip_norm: None,
            skip_above: None,
        }
    }
}

impl Rule for RmsProp {
    fn kept(&self) -> Vec<&'static str> {
        let mut kept = vec!["v"];
        if self.centered {
            kept.push("c");
        }
        if !self.momentum.is_zero() {
            kept.push("b");
        }
        kept
    }

    fn numbers(&self) -> Vec<(&'static str, Scheduled, Range)> {
        vec![
            ("learning_rate", self.learning_rate, Range::Positive),
            ("alpha", self.alpha, Range::Decay),
            ("epsilon", self.epsilon.into(), Range::Positive),
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

    fn update(&self, work: &Work<'_>) -> Result<()> {
        let (alpha, momentum) = (work.value(&self.alpha), work.value(&self.momentum));
        let rate = work.rate(&self.learning_rate);
        for Part { mut parameter, gradient, mut kept } in work.parts(work.value(&self.weight_decay))? {
            let mean_square = kept[0].lerp_(&gradient.square(), 1.0 - alpha);
            let scale = if self.centered {
                let mean = kept[1].lerp_(&gradient, 1.0 - alpha);
                (mean_square - mean.square()).sqrt()
            } else {
                mean_square.sqrt()
            };
            let mut step = gradient / (scale + self.epsilon);
            if let (false, Some(sum)) = (self.momentum.is_zero(), kept.last_mut()) {
                step = sum.g_mul_scalar_(momentum).g_add_(&step);
            }
            let _ = parameter.g_sub_(&(step * rate));
        }
        Ok(())
    }
}
