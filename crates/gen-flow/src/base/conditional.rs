use std::f64::consts::TAU;

use gen_core::distributions::sum_rows;
use gen_core::rng::Generator;
use tch::Tensor;

use super::distribution::Base;
use crate::conditioner::Conditioner;
use crate::given::Given;
use crate::tensor::halves;

/// N(μ(c), diag σ(c)²), the mean and the deviations of which a network gives for a context c.
#[derive(Debug)]
pub struct ConditionalNormal {
    dimension: i64,
    network: Box<dyn Conditioner>,
}

impl ConditionalNormal {
    /// `network` takes a context and gives (μ, ln σ): `[batch, 2 · dimension]`.
    pub fn new(dimension: i64, network: Box<dyn Conditioner>) -> Self {
        ConditionalNormal { dimension, network }
    }

    /// μ and ln σ, `[batch, dimension]` each.
    #[track_caller]
    fn parameters(&self, given: Given<'_>) -> [Tensor; 2] {
        let Some(context) = given.context else {
            panic!("a conditional base distribution needs a context");
        };
        halves(&self.network.forward(context, Given { context: None, ..given }), 1)
    }
}

impl Base for ConditionalNormal {
    fn dimension(&self) -> i64 {
        self.dimension
    }

    fn log_prob(&self, z: &Tensor, given: Given<'_>) -> Tensor {
        let [mean, log_std] = self.parameters(given);
        let squares = ((z - mean) * (-&log_std).exp()).square();
        -sum_rows(&(squares * 0.5 + log_std)) - 0.5 * self.dimension as f64 * TAU.ln()
    }

    fn sample(&self, n: i64, temperature: f64, given: Given<'_>, rng: &Generator) -> Tensor {
        let [mean, log_std] = self.parameters(given);
        let noise = rng.randn([n, self.dimension], (mean.kind(), mean.device()));
        mean.addcmul(&noise, &(log_std.exp() * temperature))
    }
}
