use tch::{Kind, Tensor};

use crate::error::Result;
use crate::params::NamedTensors;

/// An exponential moving average of a model's weights.
///
/// Early in training the decay is limited to `(1 + n) / (10 + n)` after `n` updates, so that the average never
/// holds on to the random start. Integer tensors (counters, flags) are copied.
pub struct Ema {
    decay: f64,
    updates: Tensor,
    average: NamedTensors,
}

impl Ema {
    /// An average that starts at the present values.
    pub fn new(weights: &NamedTensors, decay: f64) -> Self {
        Ema { decay, updates: Tensor::from(0i64), average: weights.snapshot() }
    }

    /// Moves the average towards `weights`, which must have the names of the start.
    pub fn update(&mut self, weights: &NamedTensors) {
        let _no_grad = tch::no_grad_guard();
        let _ = self.updates.g_add_scalar_(1i64);
        let n = self.updates.int64_value(&[]) as f64;
        let decay = self.decay.min((1.0 + n) / (10.0 + n));
        for (name, weight) in weights.iter() {
            let Some(average) = self.average.get(name) else { continue };
            let mut average = average.shallow_clone();
            if matches!(weight.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
                let _ = average.lerp_(weight, 1.0 - decay);
            } else {
                average.copy_(weight);
            }
        }
    }

    /// The averaged weights.
    pub fn average(&self) -> &NamedTensors {
        &self.average
    }

    /// Exchanges the average and `weights`; done twice, everything is as before.
    ///
    /// # Errors
    /// When the names or shapes differ.
    pub fn swap(&mut self, weights: &NamedTensors) -> Result<()> {
        let live = weights.snapshot();
        weights.assign(&self.average)?;
        self.average.assign(&live)
    }

    /// The average and the update counter, for a checkpoint.
    pub fn state(&self) -> NamedTensors {
        let mut state = NamedTensors::new();
        for (name, tensor) in self.average.iter() {
            state.insert(format!("average.{name}"), tensor.shallow_clone());
        }
        state.insert("updates", self.updates.shallow_clone());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64) -> NamedTensors {
        [("w".to_owned(), Tensor::from(value))].into_iter().collect()
    }

    #[test]
    fn follows_the_definition() {
        let mut ema = Ema::new(&one(0.0), 0.5);
        ema.update(&one(1.0)); // decay 2/11
        ema.update(&one(1.0)); // decay 3/12
        let expected = 1.0 - (2.0 / 11.0) * (3.0 / 12.0);
        assert!((ema.average().get("w").unwrap().double_value(&[]) - expected).abs() < 1e-12);
    }

    #[test]
    fn decay_zero_is_the_live_weights() {
        let mut ema = Ema::new(&one(0.0), 0.0);
        ema.update(&one(0.75));
        assert_eq!(ema.average().get("w").unwrap().double_value(&[]), 0.75);
    }

    #[test]
    fn swapping_twice_changes_nothing() {
        let mut ema = Ema::new(&one(1.0), 0.9);
        let live = one(2.0);
        ema.swap(&live).unwrap();
        assert_eq!(live.get("w").unwrap().double_value(&[]), 1.0);
        ema.swap(&live).unwrap();
        assert_eq!(live.get("w").unwrap().double_value(&[]), 2.0);
    }
}
