use gen_native::lerp;
use tch::Tensor;

use crate::error::Result;
use crate::params::NamedTensors;

/// An exponential moving average of a model's weights.
///
/// Early in training the decay is limited to `(1 + n) / (10 + n)` after `n` updates, so that the average soon forgets
/// the random initial weights. Integer tensors (counters, flags) are copied.
pub struct Ema {
    decay: f64,
    updates: Tensor,
    live: NamedTensors,
    average: NamedTensors,
    /// The floating-point tensors of `average`, and those of `live`.
    moving: (Vec<Tensor>, Vec<Tensor>),
    /// The other tensors of `average`, each with that of `live`.
    copied: Vec<(Tensor, Tensor)>,
}

impl Ema {
    /// An average of `weights`, handles to those of a model, that starts at their current values.
    pub fn new(weights: NamedTensors, decay: f64) -> Self {
        let average = weights.snapshot();
        let (mut moving, mut copied) = ((Vec::new(), Vec::new()), Vec::new());
        for ((_, average), (_, live)) in average.iter().zip(weights.iter()) {
            let (average, live) = (average.shallow_clone(), live.detach());
            if live.is_floating_point() {
                moving.0.push(average);
                moving.1.push(live);
            } else {
                copied.push((average, live));
            }
        }
        Ema { decay, updates: Tensor::from(0i64), live: weights, average, moving, copied }
    }

    /// Moves the average towards the current weights.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn update(&mut self) -> Result<()> {
        let _ = self.updates.g_add_scalar_(1i64);
        let n = self.updates.int64_value(&[]) as f64;
        let decay = self.decay.min((1.0 + n) / (10.0 + n));
        lerp(&self.moving.0, &self.moving.1, 1.0 - decay)?;
        for (average, live) in &mut self.copied {
            average.copy_(live);
        }
        Ok(())
    }

    /// The averaged weights.
    pub fn average(&self) -> &NamedTensors {
        &self.average
    }

    /// Exchanges the average and the weights. A second call restores both.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn swap(&mut self) -> Result<()> {
        let live = self.live.snapshot();
        self.live.assign(&self.average)?;
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

    fn set(weights: &NamedTensors, value: f64) {
        weights.assign(&one(value)).unwrap();
    }

    fn value(weights: &NamedTensors) -> f64 {
        weights.get("w").unwrap().double_value(&[])
    }

    #[test]
    fn follows_the_definition() {
        let live = one(0.0);
        let mut ema = Ema::new(live.shallow_clone(), 0.5);
        set(&live, 1.0);
        ema.update().unwrap(); // decay 2/11
        ema.update().unwrap(); // decay 3/12
        let expected = 1.0 - (2.0 / 11.0) * (3.0 / 12.0);
        assert!((value(ema.average()) - expected).abs() < 1e-12);
    }

    /// The sizes leave remainders beside full vectors of the fused kernel.
    #[test]
    fn every_tensor_follows_its_own_weights() {
        let sizes = [3i64, 16, 37];
        let name = |n: i64| format!("w{n}");
        let options = (tch::Kind::Float, tch::Device::Cpu);
        let live: NamedTensors = sizes.iter().map(|&n| (name(n), Tensor::zeros([n], options))).collect();
        let mut ema = Ema::new(live.shallow_clone(), 0.5);
        let ends = |n: i64| Tensor::arange(n, options) + n as f64;
        for &n in &sizes {
            live.get(&name(n)).unwrap().shallow_clone().copy_(&ends(n));
        }
        ema.update().unwrap(); // decay 2/11
        for &n in &sizes {
            let expected = ends(n) * (9.0 / 11.0);
            crate::testing::assert_close(ema.average().get(&name(n)).unwrap(), &expected, 1e-6, 0.0);
        }
    }

    #[test]
    fn decay_zero_is_the_live_weights() {
        let live = one(0.0);
        let mut ema = Ema::new(live.shallow_clone(), 0.0);
        set(&live, 0.75);
        ema.update().unwrap();
        assert_eq!(value(ema.average()), 0.75);
    }

    #[test]
    fn counters_are_copied() {
        let live: NamedTensors = [("n".to_owned(), Tensor::from(0i64))].into_iter().collect();
        let mut ema = Ema::new(live.shallow_clone(), 0.9);
        let _ = live.get("n").unwrap().shallow_clone().g_add_scalar_(5i64);
        ema.update().unwrap();
        assert_eq!(ema.average().get("n").unwrap().int64_value(&[]), 5);
    }

    #[test]
    fn swapping_twice_changes_nothing() {
        let live = one(1.0);
        let mut ema = Ema::new(live.shallow_clone(), 0.9);
        set(&live, 2.0);
        ema.swap().unwrap();
        assert_eq!(value(&live), 1.0);
        ema.swap().unwrap();
        assert_eq!(value(&live), 2.0);
    }
}
