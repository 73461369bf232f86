use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::span::{Now, Span};
use crate::error::{Error, Result};

/// The factor on every learning rate over a run: a linear rise, times a [`Decay`].
///
/// ```
/// use gen_core::optim::{Decay, Now, RateSchedule, Span};
///
/// let schedule = RateSchedule { warmup: Span::Steps(10), decay: Decay::Linear { to: 0.0 } };
/// let at = |step, share| schedule.factor(&Now { step, share, ..Now::default() });
/// assert_eq!([at(0, 0.0), at(9, 0.0), at(1000, 0.75)], [0.1, 1.0, 0.25]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateSchedule {
    /// The span over which the factor rises from 0. Steps and images include those of the step itself, so that the
    /// first step moves.
    pub warmup: Span,
    /// The factor after that, counted from the start of the run.
    pub decay: Decay,
}

impl Default for RateSchedule {
    /// Always 1.
    fn default() -> Self {
        RateSchedule { warmup: Span::NONE, decay: Decay::Constant {} }
    }
}

impl RateSchedule {
    /// The factor at a step.
    pub fn factor(&self, now: &Now) -> f64 {
        let rise = self.warmup.after(now) / self.warmup.length();
        // An empty span divides by 0, which gives NaN for a share at the start; `min` returns the other number then.
        rise.min(1.0) * self.decay.factor(now)
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// As [`Decay::check`].
    pub fn check(&self) -> Result<()> {
        self.decay.check()
    }
}

/// The factor on a learning rate as a function of the used share s of the budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// Always 1.
    Constant {},
    /// to + (1 - to) (1 + cos πs) / 2: half a cosine period (Loshchilov & Hutter 2017, without restarts).
    Cosine {
        /// The factor at the end.
        #[serde(default)]
        to: f64,
    },
    /// 1 + (to - 1) s.
    Linear {
        /// The factor at the end.
        #[serde(default)]
        to: f64,
    },
    /// factor^k after k of the given shares.
    Step {
        /// The shares of the budget at which the rate changes, rising.
        #[serde(default = "Decay::default_steps")]
        at: Vec<f64>,
        /// The factor of each change.
        #[serde(default = "Decay::default_factor")]
        factor: f64,
    },
    /// 1 up to the share `until`, then linear to `to` at the end.
    ConstantThenLinear {
        /// The share of the budget in which the factor is 1, less than 1.
        #[serde(default = "Decay::default_until")]
        until: f64,
        /// The factor at the end.
        #[serde(default)]
        to: f64,
    },
    /// 1 / √max(x / after, 1) at x, counted in the unit of `after` (Karras et al. 2024).
    InverseRoot {
        /// The span in which the factor is 1.
        #[serde(default = "Decay::default_after")]
        after: Span,
    },
}

impl Decay {
    fn default_steps() -> Vec<f64> {
        vec![0.5, 0.75]
    }

    fn default_factor() -> f64 {
        0.1
    }

    fn default_until() -> f64 {
        0.5
    }

    fn default_after() -> Span {
        Span::Share(0.1)
    }

    /// The factor at a step.
    pub fn factor(&self, now: &Now) -> f64 {
        let share = now.share.clamp(0.0, 1.0);
        match self {
            Decay::Constant {} => 1.0,
            Decay::Cosine { to } => to + (1.0 - to) * 0.5 * (1.0 + (PI * share).cos()),
            Decay::Linear { to } => 1.0 - (1.0 - to) * share,
            Decay::Step { at, factor } => at.iter().filter(|&&at| at <= share).map(|_| factor).product(),
            Decay::ConstantThenLinear { until, to } => 1.0 - (1.0 - to) * ((share - until) / (1.0 - until)).max(0.0),
            Decay::InverseRoot { after } => (after.length() / after.before(now)).min(1.0).sqrt(),
        }
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// When a factor is negative or not finite, a share is outside [0, 1], or shares do not rise.
    pub fn check(&self) -> Result<()> {
        let factor = |name: &str, value: f64| {
            if value >= 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(Error::invalid(format!("`{name}` of a schedule must be 0 or more, found {value}")))
        };
        match self {
            Decay::Constant {} => Ok(()),
            Decay::Cosine { to } | Decay::Linear { to } => factor("to", *to),
            Decay::Step { at, factor: each } => {
                if !(at.is_sorted() && at.iter().all(|share| (0.0..=1.0).contains(share))) {
                    return Err(Error::invalid(format!("`at` takes shares from 0 to 1 that rise, found {at:?}")));
                }
                factor("factor", *each)
            }
            Decay::ConstantThenLinear { until, to } => {
                if !(0.0..1.0).contains(until) {
                    return Err(Error::invalid(format!("`until` must be in [0, 1), found {until}")));
                }
                factor("to", *to)
            }
            Decay::InverseRoot { after } => {
                if after.length() > 0.0 {
                    return Ok(());
                }
                Err(Error::invalid("`after` of an inverse-root schedule must be more than 0"))
            }
        }
    }
}

impl From<Schedule> for Decay {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Constant => Decay::Constant {},
            Schedule::Cosine => Decay::Cosine { to: 0.0 },
            Schedule::Linear => Decay::Linear { to: 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{from_table, to_table};
    use crate::testing::assert_close_f64;

    /// The factors at the start, a quarter, the middle and the end.
    fn check(decay: &Decay, expected: [f64; 4]) {
        decay.check().unwrap();
        for (share, expected) in [0.0, 0.25, 0.5, 1.0].into_iter().zip(expected) {
            assert_close_f64(decay.factor(&Now { share, ..Now::default() }), expected, 1e-14, 1e-15);
        }
    }

    #[test]
    fn a_decay_has_its_ends_and_its_middle() {
        let quarter = 0.5 + 0.125f64.sqrt();
        check(&Decay::Constant {}, [1.0; 4]);
        check(&Decay::Cosine { to: 0.0 }, [1.0, quarter, 0.5, 0.0]);
        check(&Decay::Cosine { to: 0.2 }, [1.0, 0.2 + 0.8 * quarter, 0.6, 0.2]);
        check(&Decay::Linear { to: 0.0 }, [1.0, 0.75, 0.5, 0.0]);
        check(&Decay::Linear { to: 0.5 }, [1.0, 0.875, 0.75, 0.5]);
        check(&Decay::Step { at: vec![0.25, 0.6], factor: 0.1 }, [1.0, 0.1, 0.1, 0.01]);
        check(&Decay::ConstantThenLinear { until: 0.25, to: 0.0 }, [1.0, 1.0, 2.0 / 3.0, 0.0]);
        check(&Decay::InverseRoot { after: Span::Share(0.25) }, [1.0, 1.0, 0.5f64.sqrt(), 0.5]);
    }

    #[test]
    fn the_first_schedules_have_the_same_factors() {
        for schedule in [Schedule::Constant, Schedule::Cosine, Schedule::Linear] {
            for share in [0.0, 0.1, 1.0 / 3.0, 0.9, 1.0] {
                let factor = Decay::from(schedule).factor(&Now { share, ..Now::default() });
                assert_eq!(factor, schedule.factor(share), "{schedule:?} at {share}");
            }
        }
    }

    #[test]
    fn a_rate_rises_in_steps_images_or_a_share() {
        let factor = |warmup, now| RateSchedule { warmup, decay: Decay::Constant {} }.factor(&now);
        let at = |step| Now { step, images: 32 * step, batch: 32, share: step as f64 / 100.0 };
        assert_eq!([0, 1, 3, 4].map(|step| factor(Span::Steps(4), at(step))), [0.25, 0.5, 1.0, 1.0]);
        assert_eq!([0, 1, 3, 4].map(|step| factor(Span::Images(128), at(step))), [0.25, 0.5, 1.0, 1.0]);
        assert_eq!([0, 1, 3, 4].map(|step| factor(Span::Share(0.04), at(step))), [0.0, 0.25, 0.75, 1.0]);
        for none in [Span::NONE, Span::Images(0), Span::Share(0.0)] {
            assert_eq!(factor(none, Now::default()), 1.0);
        }
    }

    #[test]
    fn a_schedule_is_read_back() {
        for decay in [
            Decay::Constant {},
            Decay::Cosine { to: 0.1 },
            Decay::Linear { to: 0.0 },
            Decay::Step { at: vec![0.5, 0.75], factor: 0.1 },
            Decay::ConstantThenLinear { until: 0.5, to: 0.0 },
            Decay::InverseRoot { after: Span::Images(70_000) },
        ] {
            let schedule = RateSchedule { warmup: Span::Images(1000), decay };
            assert_eq!(from_table::<RateSchedule>(&to_table(&schedule).unwrap()).unwrap(), schedule);
        }
    }

    #[test]
    fn keys_have_defaults_and_unknown_keys_are_refused() {
        let read = |table: toml::Table| from_table::<RateSchedule>(&table);
        assert_eq!(read(toml::Table::new()).unwrap(), RateSchedule::default());
        let step = read(toml::toml! { decay = { kind = "step" } }).unwrap();
        assert_eq!(step.decay, Decay::Step { at: vec![0.5, 0.75], factor: 0.1 });
        let error = read(toml::toml! { decay = { kind = "constant", to = 0.5 } }).unwrap_err().to_string();
        assert_eq!(error, "unknown key `decay.to`");
        let error = read(toml::toml! { decay = { kind = "cosnie" } }).unwrap_err().to_string();
        assert_eq!(error, "unknown value `decay=cosnie`: did you mean `decay=cosine`?");
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let message = |decay: Decay| decay.check().unwrap_err().to_string();
        assert!(message(Decay::Cosine { to: -0.1 }).contains("`to` of a schedule must be 0 or more, found -0.1"));
        assert!(message(Decay::Step { at: vec![0.5, 0.2], factor: 0.1 }).contains("`at`"));
        assert!(message(Decay::Step { at: vec![0.5], factor: f64::NAN }).contains("`factor`"));
        assert!(message(Decay::ConstantThenLinear { until: 1.0, to: 0.0 }).contains("`until`"));
        assert!(message(Decay::InverseRoot { after: Span::NONE }).contains("`after`"));
    }
}
