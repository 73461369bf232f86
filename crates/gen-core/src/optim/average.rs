use gen_native::lerp;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::annealed::Scheduled;
use super::power;
use super::span::Now;
use crate::error::{Error, Result};
use crate::params::NamedTensors;

/// The length of a moving average of weights: what gives the factor β of
///
/// average ← β average + (1 - β) weights
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Length {
    /// A decay for each update, limited to (1 + n) / (10 + n) at the n-th, so that an average soon forgets the random
    /// initial weights.
    Decay {
        /// β, in [0, 1).
        decay: f64,
    },
    /// A half-life h in training rows: β = 2^(-rows / h) for an update that follows that many rows (Karras et al. 2022,
    /// appendix F.2).
    HalfLife {
        /// h. With 0, the average is the weights.
        images: Scheduled,
        /// The largest h as a multiple of the rows seen before the step; none limits nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ramp: Option<f64>,
    },
    /// A width proportional to the training so far, the power-function average of [`power`].
    Power {
        /// The relative width σ, above 0 and at most [`power::LARGEST_WIDTH`].
        width: f64,
    },
}

/// What an average knows of an update.
struct Update {
    /// The number of this update, from 1.
    n: u64,
    /// The training rows since the last update, or since the start.
    rows: u64,
    now: Now,
}

impl Length {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// When a decay is outside [0, 1), a half-life or a ramp is negative or not finite, or a width is out of range.
    pub fn check(&self) -> Result<()> {
        match self {
            Length::Decay { decay } if (0.0..1.0).contains(decay) => Ok(()),
            Length::Decay { decay } => {
                Err(Error::invalid(format!("the decay of an average must be in [0, 1), found {decay}")))
            }
            Length::HalfLife { images, ramp } => {
                images.check()?;
                for value in images.range().into_iter().chain(*ramp) {
                    if !(value >= 0.0 && value.is_finite()) {
                        return Err(Error::invalid(format!(
                            "the half-life of an average and its ramp must be 0 or more, found {value}"
                        )));
                    }
                }
                Ok(())
            }
            Length::Power { width } => power::exponent(*width).map(|_| ()),
        }
    }

    /// The factor β of an update.
    fn beta(&self, update: &Update) -> Result<f64> {
        let Update { n, rows, now } = update;
        match self {
            Length::Decay { decay } => Ok(decay.min((1.0 + *n as f64) / (10.0 + *n as f64))),
            Length::HalfLife { images, ramp } => {
                let largest = ramp.map_or(f64::INFINITY, |ramp| ramp * now.images as f64);
                let half_life = images.at(now).min(largest);
                Ok(if half_life > 0.0 { (-(*rows as f64) / half_life).exp2() } else { 0.0 })
            }
            Length::Power { width } => {
                power::power_function_beta((now.images + now.batch) as f64, *rows as f64, *width)
            }
        }
    }
}

/// A moving average of a model's parameters, with a copy of its buffers.
///
/// A run may keep several of different lengths. Buffers are copied at every update and never averaged: the running
/// statistics, counts and power-iteration vectors that belong to the latest parameters.
///
/// ```
/// use gen_core::optim::{Average, Length, Now};
/// use gen_core::params::{Init, NamedTensors, Params};
/// use tch::{Device, Kind};
///
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let _weight = params.root().parameter("weight", &[2], Init::ONES);
/// let parameters: NamedTensors = params.trainable().into_iter().collect();
/// let lengths = [Length::Power { width: 0.05 }, Length::HalfLife { images: 500_000.0.into(), ramp: Some(0.05) }];
/// let mut averages = Vec::new();
/// for length in lengths {
///     averages.push(Average::new(parameters.shallow_clone(), NamedTensors::new(), length)?);
/// }
/// for step in 0..3 {
///     let now = Now { step, images: 128 * step, batch: 128, share: 0.0 };
///     for average in &mut averages {
///         average.update(&now)?;
///     }
/// }
/// # Ok::<(), gen_core::Error>(())
/// ```
pub struct Average {
    length: Length,
    /// The number of updates.
    updates: Tensor,
    /// The training rows at the end of the last update.
    images: Tensor,
    live: NamedTensors,
    weights: NamedTensors,
    /// The averages of the parameters, and the parameters.
    averaged: (Vec<Tensor>, Vec<Tensor>),
    /// The copies of the buffers, each with its buffer.
    copied: Vec<(Tensor, Tensor)>,
}

impl Average {
    /// An average of `parameters` with a copy of `buffers`, handles to those of a model, that starts at their current
    /// values.
    ///
    /// # Errors
    /// As [`Length::check`], and when a parameter and a buffer have one name, or a parameter is not floating-point.
    pub fn new(parameters: NamedTensors, buffers: NamedTensors, length: Length) -> Result<Self> {
        length.check()?;
        let (mut averaged, mut copied) = ((Vec::new(), Vec::new()), Vec::new());
        let weights = parameters.snapshot();
        for ((name, average), (_, live)) in weights.iter().zip(parameters.iter()) {
            if !live.is_floating_point() {
                return Err(Error::invalid(format!("`{name}` of kind {:?} has no average", live.kind())));
            }
            averaged.0.push(average.shallow_clone());
            averaged.1.push(live.detach());
        }
        let (mut weights, mut live) = (weights, parameters);
        for (name, buffer) in buffers {
            if live.get(&name).is_some() {
                return Err(Error::invalid(format!("`{name}` is a parameter and a buffer")));
            }
            let copy = buffer.detach().copy();
            copied.push((copy.shallow_clone(), buffer.detach()));
            weights.insert(name.clone(), copy);
            live.insert(name, buffer);
        }
        let zero = || Tensor::from(0i64);
        Ok(Average { length, updates: zero(), images: zero(), live, weights, averaged, copied })
    }

    /// Moves the average towards the current parameters, after the step at `now`. Steps that moved no parameters need
    /// no update; the next one counts their rows.
    ///
    /// # Errors
    /// When no row was seen since the last update, or libtorch fails.
    pub fn update(&mut self, now: &Now) -> Result<()> {
        let n = self.updates.int64_value(&[]) as u64 + 1;
        let (seen, before) = (now.images + now.batch, self.images.int64_value(&[]) as u64);
        if seen <= before {
            return Err(Error::invalid(format!("an average at {before} images cannot be updated at {seen}")));
        }
        let beta = self.length.beta(&Update { n, rows: seen - before, now: *now })?;
        lerp(&self.averaged.0, &self.averaged.1, 1.0 - beta)?;
        for (copy, buffer) in &mut self.copied {
            copy.copy_(buffer);
        }
        let _ = self.updates.fill_(n as i64);
        let _ = self.images.fill_(seen as i64);
        Ok(())
    }

    /// The averaged parameters and the copied buffers.
    pub fn weights(&self) -> &NamedTensors {
        &self.weights
    }

    /// The length of the average.
    pub fn length(&self) -> Length {
        self.length
    }

    /// The training rows up to the last update: the time t of a snapshot.
    pub fn images(&self) -> u64 {
        self.images.int64_value(&[]) as u64
    }

    /// Exchanges the average and the weights. A second call restores both.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn swap(&mut self) -> Result<()> {
        let live = self.live.snapshot();
        self.live.assign(&self.weights)?;
        self.weights.assign(&live)
    }

    /// The average and its counters, for a checkpoint.
    pub fn state(&self) -> NamedTensors {
        let mut state = self.weights.shallow_clone().prefixed("average");
        state.insert("updates", self.updates.shallow_clone());
        state.insert("images", self.images.shallow_clone());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{from_table, to_table};
    use crate::optim::{Annealed, Ema, Shape, Span};
    use crate::testing::assert_close_f64;

    fn named(name: &str, tensor: Tensor) -> NamedTensors {
        [(name.to_owned(), tensor)].into_iter().collect()
    }

    fn value(weights: &NamedTensors, name: &str) -> f64 {
        weights.get(name).unwrap().double_value(&[])
    }

    fn now(step: u64, batch: u64) -> Now {
        Now { step, images: step * batch, batch, share: 0.0 }
    }

    /// A parameter and its average.
    fn one(length: Length) -> (Tensor, Average) {
        let live = Tensor::from(0.0);
        let average = Average::new(named("w", live.shallow_clone()), NamedTensors::new(), length).unwrap();
        (live, average)
    }

    fn beta(length: Length, n: u64, now: Now) -> f64 {
        length.beta(&Update { n, rows: now.batch, now }).unwrap()
    }

    #[test]
    fn a_decay_gives_the_first_average() {
        let (mut live, mut average) = one(Length::Decay { decay: 0.9 });
        let mut ema = Ema::new(named("w", live.shallow_clone()), 0.9);
        for step in 0..200 {
            let _ = live.fill_((step as f64).sin());
            average.update(&now(step, 8)).unwrap();
            ema.update().unwrap();
            assert_eq!(value(average.weights(), "w"), value(ema.average(), "w"));
        }
    }

    #[test]
    fn a_half_life_halves() {
        let length = Length::HalfLife { images: 1000.0.into(), ramp: None };
        assert_eq!(beta(length, 1, now(5, 1000)), 0.5);
        assert_close_f64(beta(length, 1, now(5, 250)).powi(4), 0.5, 1e-14, 0.0);
        assert_eq!(beta(Length::HalfLife { images: 0.0.into(), ramp: None }, 1, now(5, 250)), 0.0);
    }

    #[test]
    fn a_half_life_grows_with_the_rows_seen() {
        // 0.5 ** (512 / min(500e3, 0.05 * seen)), as in NVlabs/edm, training/training_loop.py
        let length = Length::HalfLife { images: 5e5.into(), ramp: Some(0.05) };
        let at = |images| beta(length, 1, Now { images, batch: 512, ..Now::default() });
        assert_close_f64(at(1_000_000), 0.9929273029545619, 1e-14, 0.0);
        assert_close_f64(at(20_000_000), 0.9992904691232699, 1e-14, 0.0);
        assert_eq!(at(0), 0.0);
    }

    #[test]
    fn a_half_life_may_have_a_schedule() {
        let over = Span::Images(1000);
        let images = Annealed { from: 0.0, to: 500.0, after: Span::NONE, over, shape: Shape::Cosine }.into();
        let length = Length::HalfLife { images, ramp: None };
        let at = |images| beta(length, 1, Now { images, batch: 250, ..Now::default() });
        assert_eq!(at(0), 0.0);
        assert_close_f64(at(500), 0.5, 1e-14, 0.0);
        assert_close_f64(at(1000), 0.5f64.sqrt(), 1e-14, 0.0);
    }

    #[test]
    fn a_power_average_starts_as_a_copy_and_follows_its_recursion() {
        let (mut live, mut average) = one(Length::Power { width: 0.1 });
        let mut expected = f64::NAN;
        for step in 0..50 {
            let x = (step as f64 * 0.3).cos();
            let _ = live.fill_(x);
            average.update(&now(step, 32)).unwrap();
            let beta = power::power_function_beta((step + 1) as f64, 1.0, 0.1).unwrap();
            expected = if step == 0 { x } else { beta * expected + (1.0 - beta) * x };
            assert_close_f64(value(average.weights(), "w"), expected, 1e-13, 1e-15);
        }
        assert_eq!(average.images(), 50 * 32);
    }

    #[test]
    fn rows_of_steps_without_an_update_count_for_the_next() {
        let (mut live, mut average) = one(Length::HalfLife { images: 100.0.into(), ramp: None });
        average.update(&now(0, 50)).unwrap();
        let _ = live.fill_(1.0);
        average.update(&now(2, 50)).unwrap();
        assert_eq!(value(average.weights(), "w"), 0.5);
        assert!(average.update(&now(2, 50)).unwrap_err().to_string().contains("at 150 images"));
    }

    #[test]
    fn buffers_are_copied() {
        let (mut mean, mut count) = (Tensor::from(0.0), Tensor::from(0i64));
        let mut buffers = named("mean", mean.shallow_clone());
        buffers.insert("count", count.shallow_clone());
        let mut average = Average::new(named("w", Tensor::from(0.0)), buffers, Length::Decay { decay: 0.999 }).unwrap();
        let (_, _) = (mean.fill_(3.0), count.fill_(7));
        average.update(&now(0, 1)).unwrap();
        assert_eq!([value(average.weights(), "mean"), value(average.weights(), "count")], [3.0, 7.0]);
    }

    #[test]
    fn a_saved_average_goes_on_alike() {
        let length = Length::Power { width: 0.15 };
        let ((mut live, mut first), (mut other, mut second)) = (one(length), one(length));
        let run = |average: &mut Average, live: &mut Tensor, steps: std::ops::Range<u64>| {
            for step in steps {
                let _ = live.fill_((step as f64).sin());
                average.update(&now(step, 16)).unwrap();
            }
        };
        run(&mut first, &mut live, 0..10);
        second.state().assign(&first.state()).unwrap();
        run(&mut first, &mut live, 10..20);
        run(&mut second, &mut other, 10..20);
        assert_eq!(value(first.weights(), "w"), value(second.weights(), "w"));
    }

    #[test]
    fn swapping_twice_changes_nothing() {
        let (mut live, mut average) = one(Length::Decay { decay: 0.9 });
        let _ = live.fill_(2.0);
        average.swap().unwrap();
        assert_eq!((live.double_value(&[]), value(average.weights(), "w")), (0.0, 2.0));
        average.swap().unwrap();
        assert_eq!((live.double_value(&[]), value(average.weights(), "w")), (2.0, 0.0));
    }

    #[test]
    fn a_length_is_read_back_and_checked() {
        for length in [
            Length::Decay { decay: 0.999 },
            Length::HalfLife { images: 5e5.into(), ramp: Some(0.05) },
            Length::HalfLife { images: 5e5.into(), ramp: None },
            Length::Power { width: 0.05 },
        ] {
            assert!(length.check().is_ok());
            assert_eq!(from_table::<Length>(&to_table(&length).unwrap()).unwrap(), length);
        }
        let message = |length: Length| length.check().unwrap_err().to_string();
        assert!(message(Length::Decay { decay: 1.0 }).contains("in [0, 1), found 1"));
        assert!(message(Length::HalfLife { images: (-1.0).into(), ramp: None }).contains("half-life"));
        assert!(message(Length::HalfLife { images: 1.0.into(), ramp: Some(f64::NAN) }).contains("ramp"));
        assert!(message(Length::Power { width: 0.5 }).contains("relative width"));
    }

    #[test]
    fn a_name_that_is_used_twice_is_refused() {
        let (a, b) = (named("w", Tensor::from(0.0)), named("w", Tensor::from(0.0)));
        assert!(Average::new(a, b, Length::Decay { decay: 0.9 }).is_err());
        let counter = named("n", Tensor::from(0i64));
        let found = Average::new(counter, NamedTensors::new(), Length::Decay { decay: 0.9 });
        assert!(found.err().unwrap().to_string().contains("`n` of kind Int64"));
    }
}
