use std::f64::consts::TAU;

use gen_core::distributions::sum_rows;
use gen_core::rng::Generator;
use tch::{Device, Kind, Tensor};

use super::distribution::Base;
use crate::given::Given;

/// N(0, I) over `[batch, dimension]`.
#[derive(Debug, Clone, Copy)]
pub struct StandardNormal {
    dimension: i64,
    kind: Kind,
    device: Device,
}

impl StandardNormal {
    /// In this many dimensions; samples are of this kind, on this device.
    pub fn new(dimension: i64, kind: Kind, device: Device) -> Self {
        StandardNormal { dimension, kind, device }
    }
}

impl Base for StandardNormal {
    fn dimension(&self) -> i64 {
        self.dimension
    }

    /// ln N(z; 0, I) = -½ |z|² - ½ D ln 2π.
    fn log_prob(&self, z: &Tensor, _given: Given<'_>) -> Tensor {
        sum_rows(&z.square()) * -0.5 - 0.5 * self.dimension as f64 * TAU.ln()
    }

    fn sample(&self, n: i64, temperature: f64, _given: Given<'_>, rng: &Generator) -> Tensor {
        rng.randn([n, self.dimension], (self.kind, self.device)) * temperature
    }
}
