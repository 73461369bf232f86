//! Randomness from one seed per run.
//!
//! Every training step and every call that samples or estimates draws from its own [`Generator`], seeded by `(seed,
//! purpose, index)`. The draws depend on these three only: not on earlier calls, nor on other random numbers drawn in
//! the process, so two models that train in turn do not affect each other. The state of a run's randomness between two
//! steps is the number of the next step, which every checkpoint holds.
//!
//! A loop that needs one long stream keeps one [`Generator`], with its `state` and `set_state`.

pub use gen_native::Generator;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// The purpose of random numbers; each has its own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// A training step.
    Train = 2,
    /// The order of the data in an epoch.
    Shuffle = 3,
    /// Samples from a model.
    Sample = 4,
    /// Likelihood estimates and metrics.
    Evaluate = 5,
    /// Synthetic data, splits, static binarisation.
    Data = 6,
    /// The rows of validations and the noise of their estimates, the same at every validation of a run.
    Validate = 7,
    /// The conditions of samples.
    Condition = 8,
}

/// The 64-bit number of `(seed, purpose, index)`.
pub fn derive(seed: u64, purpose: Purpose, index: u64) -> u64 {
    let mut z = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    z = mix(z ^ (purpose as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
    mix(z ^ index.wrapping_mul(0xa076_1d64_78bd_642f))
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A generator of random tensors, seeded by `(seed, purpose, index)`.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> Generator {
    Generator::seeded(torch_seed(seed, purpose, index))
}

/// The seed of [`stream`]. PyTorch makes the same draws after `torch.manual_seed` of it.
pub fn torch_seed(seed: u64, purpose: Purpose, index: u64) -> i64 {
    // libtorch takes an i64, and the seed should not be negative.
    (derive(seed, purpose, index) >> 1) as i64
}

/// A generator for draws outside libtorch, seeded likewise.
pub fn generator(seed: u64, purpose: Purpose, index: u64) -> impl Rng {
    Pcg64::seed_from_u64(derive(seed, purpose, index))
}

/// A random order of `0..n`.
pub fn permutation(n: usize, seed: u64, purpose: Purpose, index: u64) -> Vec<i64> {
    let mut order: Vec<i64> = (0..n as i64).collect();
    order.shuffle(&mut generator(seed, purpose, index));
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tch::{Device, Kind, Tensor};

    use super::*;

    /// A seed repeats the run of an earlier version: these numbers may never change.
    #[test]
    fn the_numbers_of_seeds_stay_what_they_are() {
        let found = [
            derive(0, Purpose::Init, 0),
            derive(0, Purpose::Train, 0),
            derive(0, Purpose::Train, 1),
            derive(1, Purpose::Sample, 0),
        ];
        assert_eq!(found, GOLDEN);
        assert_eq!(torch_seed(0, Purpose::Init, 0), (GOLDEN[0] / 2) as i64);
    }

    const GOLDEN: [u64; 4] =
        [0x9195_0e2f_b3e4_631a, 0xf782_cd82_77a5_ab98, 0xf6a9_ead1_7b4a_78d9, 0xa8e6_6489_aa0b_c470];

    #[test]
    fn streams_are_apart_and_repeat() {
        let purposes = [
            Purpose::Init,
            Purpose::Train,
            Purpose::Shuffle,
            Purpose::Sample,
            Purpose::Evaluate,
            Purpose::Data,
            Purpose::Validate,
        ];
        let mut seen = HashSet::new();
        for seed in 0..20 {
            for purpose in purposes {
                for index in 0..20 {
                    assert!(seen.insert(torch_seed(seed, purpose, index)), "{seed} {purpose:?} {index}");
                }
            }
        }
        let draw = |index| stream(4, Purpose::Train, index).randn([1000], (Kind::Double, Device::Cpu));
        assert_eq!(draw(7), draw(7));
        // Streams of neighbouring steps are not correlated: four standard errors of 1,000 products.
        let all = Tensor::stack(&(0..10).map(draw).collect::<Vec<_>>(), 0);
        let correlation = all.corrcoef() - Tensor::eye(10, (Kind::Double, Device::Cpu));
        assert!(correlation.abs().max().double_value(&[]) < 4.0 / 1000f64.sqrt());
        // The draws of libtorch's own generator after the seed.
        tch::manual_seed(torch_seed(4, Purpose::Train, 7));
        assert_eq!(draw(7), Tensor::randn([1000], (Kind::Double, Device::Cpu)));
    }

    /// All n! orders are equally frequent, up to four standard errors of 6,000 draws.
    #[test]
    fn orders_are_uniform() {
        let mut counts = std::collections::HashMap::new();
        for index in 0..6000 {
            *counts.entry(permutation(3, 5, Purpose::Shuffle, index)).or_insert(0) += 1;
        }
        let deviation = (6000.0 * (1.0 / 6.0) * (5.0 / 6.0f64)).sqrt();
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&n| (f64::from(n) - 1000.0).abs() < 4.0 * deviation), "{counts:?}");
    }
}
