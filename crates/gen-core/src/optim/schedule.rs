use serde::{Deserialize, Serialize};

/// The factor on the learning rate over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Always 1.
    Constant,
    /// Half a cosine period from 1 to 0 at the end of the budget (Loshchilov & Hutter 2017, without restarts).
    Cosine,
    /// Linear from 1 to 0 at the end of the budget.
    Linear,
}

impl Schedule {
    /// The factor at `progress`, the used share of the budget, in [0, 1].
    ///
    /// ```
    /// use gen_core::optim::Schedule;
    /// assert_eq!(Schedule::Cosine.factor(0.0), 1.0);
    /// assert!((Schedule::Cosine.factor(1.0 / 3.0) - 0.75).abs() < 1e-12);
    /// assert!(Schedule::Cosine.factor(1.0).abs() < 1e-12);
    /// assert_eq!(Schedule::Linear.factor(0.25), 0.75);
    /// assert_eq!(Schedule::Constant.factor(0.25), 1.0);
    /// ```
    pub fn factor(self, progress: f64) -> f64 {
        let progress = progress.clamp(0.0, 1.0);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Linear => 1.0 - progress,
        }
    }
}
