use tch::Tensor;

use crate::error::{Error, Result};
use crate::optim::annealed::Scheduled;
use crate::optim::pace::Pace;

/// The values that a hyperparameter may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::optim) enum Range {
    /// Above 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// A decay, in [0, 1).
    Decay,
}

impl Range {
    /// Refuses a value outside, with the name of the setting.
    pub(in crate::optim) fn check(self, name: &str, value: f64) -> Result<()> {
        let (is_inside, range) = match self {
            Range::Positive => (value > 0.0 && value.is_finite(), "a positive number"),
            Range::NotNegative => (value >= 0.0 && value.is_finite(), "0 or more"),
            Range::Decay => ((0.0..1.0).contains(&value), "in [0, 1)"),
        };
        if is_inside {
            return Ok(());
        }
        Err(Error::invalid(format!("`{name}` of an optimizer must be {range}, found {value}")))
    }
}

/// The update of one kind of optimizer, with its settings.
pub(in crate::optim) trait Rule {
    /// The tensors that are kept of each parameter, as prefixes of their names.
    fn kept(&self) -> Vec<&'static str>;

    /// The numbers among the settings, with their names and ranges.
    fn numbers(&self) -> Vec<(&'static str, Scheduled, Range)>;

    /// The norm to which gradients are scaled down.
    fn clip_norm(&self) -> Option<f64>;

    /// The norm above which a gradient is not used.
    fn skip_above(&self) -> Option<f64>;

    /// Refuses settings that contradict each other.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Changes parameters and what is kept of them.
    fn update(&self, work: &Work<'_>) -> Result<()>;
}

/// The tensors of one step of an optimizer.
pub(in crate::optim) struct Work<'a> {
    pub(in crate::optim) parameters: &'a [Tensor],
    /// A gradient of each parameter, or an undefined tensor for one that stays.
    pub(in crate::optim) gradients: &'a [Tensor],
    /// A list for each of [`Rule::kept`].
    pub(in crate::optim) kept: &'a [Vec<Tensor>],
    /// The number of this step, from 1: a scalar `f32` on the device of the parameters.
    pub(in crate::optim) steps: &'a Tensor,
    /// A scalar by which gradients are divided first.
    pub(in crate::optim) divisor: Option<&'a Tensor>,
    pub(in crate::optim) pace: Pace,
}

/// One parameter in a step.
pub(super) struct Part {
    pub(super) parameter: Tensor,
    pub(super) gradient: Tensor,
    /// A tensor for each of [`Rule::kept`].
    pub(super) kept: Vec<Tensor>,
}

impl Work<'_> {
    /// The value of a hyperparameter at this step.
    pub(super) fn value(&self, setting: &Scheduled) -> f64 {
        self.pace.value(setting)
    }

    /// The learning rate of this step.
    pub(super) fn rate(&self, learning_rate: &Scheduled) -> f64 {
        self.value(learning_rate) * self.pace.lr_scale
    }

    /// The gradients after division, with λ times the parameter added: the gradient of the loss plus λ/2 ‖parameter‖².
    ///
    /// # Errors
    /// When their number or a shape differs from that of the parameters.
    pub(super) fn decayed(&self, weight_decay: f64) -> Result<Vec<Tensor>> {
        let (found, needed) = (self.gradients.len(), self.parameters.len());
        if found != needed {
            return Err(Error::invalid(format!("{needed} parameters need as many gradients, found {found}")));
        }
        let decayed = |(gradient, parameter): (&Tensor, &Tensor)| {
            if !gradient.defined() {
                return Ok(Tensor::new());
            }
            let (found, needed) = (gradient.size(), parameter.size());
            if found != needed {
                return Err(Error::invalid(format!("a gradient should be {needed:?}, found {found:?}")));
            }
            let gradient = match self.divisor {
                Some(divisor) => gradient / divisor,
                None => gradient.shallow_clone(),
            };
            Ok(if weight_decay == 0.0 { gradient } else { gradient + parameter * weight_decay })
        };
        self.gradients.iter().zip(self.parameters).map(decayed).collect()
    }

    /// The parameters with a gradient, which is that of [`Work::decayed`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn parts(&self, weight_decay: f64) -> Result<impl Iterator<Item = Part>> {
        let gradients = self.decayed(weight_decay)?.into_iter().enumerate();
        Ok(gradients.filter(|(_, gradient)| gradient.defined()).map(|(i, gradient)| Part {
            parameter: self.parameters[i].shallow_clone(),
            gradient,
            kept: self.kept.iter().map(|list| list[i].shallow_clone()).collect(),
        }))
    }
}
