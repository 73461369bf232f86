//! The random choices of a case.

use std::f64::consts::TAU;
use std::ops::RangeInclusive;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// A stream of choices that depends only on a seed and the number of a case.
pub(crate) struct Draw(Pcg64);

impl Draw {
    pub(crate) fn new(seed: u64, case: u64) -> Self {
        Draw(Pcg64::seed_from_u64(seed.rotate_left(32) ^ case))
    }

    pub(crate) fn from(&mut self, range: RangeInclusive<i64>) -> i64 {
        self.0.random_range(range)
    }

    /// True with a probability in percent.
    pub(crate) fn chance(&mut self, percent: i64) -> bool {
        self.from(0..=99) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.from(0..=list.len() as i64 - 1) as usize]
    }

    /// A random order of `0..n`.
    pub(crate) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut list: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            list.swap(i, self.from(0..=i as i64) as usize);
        }
        list
    }

    /// Numbers from N(mean, deviation²).
    pub(crate) fn normal(&mut self, n: usize, mean: f64, deviation: f64) -> Vec<f64> {
        (0..n)
            .map(|_| {
                let (a, b): (f64, f64) = (self.0.random(), self.0.random());
                mean + deviation * (-2.0 * (1.0 - a).ln()).sqrt() * (TAU * b).cos()
            })
            .collect()
    }

    /// Multiples of 1/8 in [-2, 2]. Sums of their products are exact in single precision too, so both precisions
    /// decide alike by a sign.
    pub(crate) fn grid(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.from(-16..=16) as f64 / 8.0).collect()
    }

    /// The size of a batch: near the sizes of vectors, and sometimes 0.
    pub(crate) fn rows(&mut self) -> i64 {
        if self.chance(3) {
            return 0;
        }
        self.pick(&[1, 2, 3, 7, 8, 9, 12, 15, 16, 16, 17, 24, 31, 32, 33, 40, 65])
    }

    /// A number of channels or pixels: small, and sometimes 0.
    pub(crate) fn few(&mut self, most: i64) -> i64 {
        if self.chance(2) { 0 } else { self.from(1..=most) }
    }
}
