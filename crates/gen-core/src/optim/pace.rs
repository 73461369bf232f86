use super::annealed::Scheduled;
use super::span::Now;

/// The part of an optimizer's settings that changes from step to step.
///
/// Made from a factor on the learning rate alone, or from a factor and the place in the run, on which hyperparameters
/// with a schedule depend.
///
/// ```
/// use gen_core::optim::{Now, Pace};
/// assert_eq!(Pace::from(0.5), Pace { lr_scale: 0.5, now: None });
/// let now = Now { step: 3, ..Now::default() };
/// assert_eq!(Pace::from((0.5, now)), Pace { lr_scale: 0.5, now: Some(now) });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The factor on the learning rate.
    pub lr_scale: f64,
    /// The place in the run.
    pub now: Option<Now>,
}

impl Pace {
    /// The value of a hyperparameter. A schedule without a place in the run has the value of its start.
    pub(super) fn value(&self, setting: &Scheduled) -> f64 {
        setting.at(&self.now.unwrap_or_default())
    }
}

impl From<f64> for Pace {
    fn from(lr_scale: f64) -> Self {
        Pace { lr_scale, now: None }
    }
}

impl From<(f64, Now)> for Pace {
    fn from((lr_scale, now): (f64, Now)) -> Self {
        Pace { lr_scale, now: Some(now) }
    }
}
