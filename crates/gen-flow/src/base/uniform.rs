use gen_core::rng::Generator;
use tch::{Device, Kind, Tensor};

use super::distribution::Base;
use crate::given::Given;

/// Uniform on the cube [low, high)^dimension. A flow onto it learns to equalise: its latents are quantiles.
#[derive(Debug, Clone, Copy)]
pub struct Uniform {
    dimension: i64,
    low: f64,
    high: f64,
    kind: Kind,
    device: Device,
}

impl Uniform {
    /// In this many dimensions; samples are of this kind, on this device.
    ///
    /// # Panics
    /// When the interval is empty.
    pub fn new(dimension: i64, [low, high]: [f64; 2], kind: Kind, device: Device) -> Self {
        assert!(low < high, "an interval goes up, found [{low}, {high}]");
        Uniform { dimension, low, high, kind, device }
    }
}

impl Base for Uniform {
    fn dimension(&self) -> i64 {
        self.dimension
    }

    /// -D ln (high - low) inside of the cube, -∞ outside.
    fn log_prob(&self, z: &Tensor, _given: Given<'_>) -> Tensor {
        let inside = z.ge(self.low).logical_and(&z.le(self.high)).all_dim(1, false);
        let density = -(self.dimension as f64) * (self.high - self.low).ln();
        let outside = z.new_full([1], f64::NEG_INFINITY, (z.kind(), z.device()));
        outside.full_like(density).where_self(&inside, &outside)
    }

    /// The temperature narrows the cube about its centre.
    fn sample(&self, n: i64, temperature: f64, _given: Given<'_>, rng: &Generator) -> Tensor {
        let unit = rng.rand([n, self.dimension], (self.kind, self.device));
        (unit - 0.5) * (temperature * (self.high - self.low)) + 0.5 * (self.low + self.high)
    }
}
