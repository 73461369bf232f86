use std::f64::consts::TAU;

use gen_core::params::{Init, Scope};
use gen_core::rng::Generator;
use tch::{Kind, Tensor};

use super::distribution::Base;
use crate::given::Given;

/// A learned mixture of diagonal Gaussians,
///
/// > p(z) = Σₖ πₖ N(z; μₖ, diag σₖ²)
///
/// With as many components as data has separate parts, the bijection needs no thin bridges between them.
#[derive(Debug)]
pub struct Mixture {
    logits: Tensor,
    mean: Tensor,
    log_std: Tensor,
}

impl Mixture {
    /// `components` Gaussians in `dimension` dimensions, of equal weight and unit variance, with means drawn from
    /// N(0, I) as initial parameters are.
    pub fn new(scope: Scope<'_>, components: i64, dimension: i64) -> Self {
        Mixture {
            logits: scope.parameter("logits", &[components], Init::ZEROS),
            mean: scope.parameter("mean", &[components, dimension], Init::Normal { mean: 0.0, std: 1.0 }),
            log_std: scope.parameter("log_std", &[components, dimension], Init::ZEROS),
        }
    }
}

impl Base for Mixture {
    fn dimension(&self) -> i64 {
        self.mean.size()[1]
    }

    fn log_prob(&self, z: &Tensor, _given: Given<'_>) -> Tensor {
        let kind = z.kind();
        // [batch, components, dimension]
        let scaled = (z.unsqueeze(1) - &self.mean) * (-&self.log_std).exp();
        let squares = scaled.square().sum_dim_intlist(-1, false, kind);
        let volume = self.log_std.sum_dim_intlist(-1, false, kind);
        let log_weight = self.logits.log_softmax(0, kind);
        let constant = 0.5 * self.dimension() as f64 * TAU.ln();
        (squares * -0.5 - volume + log_weight - constant).logsumexp([1], false)
    }

    /// The temperature multiplies the standard deviations; the components keep their places and weights.
    fn sample(&self, n: i64, temperature: f64, _given: Given<'_>, rng: &Generator) -> Tensor {
        let options = (self.mean.kind(), self.mean.device());
        // The component of a uniform number: how many cumulative weights it is above.
        let cumulative = self.logits.softmax(0, Kind::Double).cumsum(0, Kind::Double);
        let u = rng.rand([n, 1], (Kind::Double, self.mean.device()));
        let last = self.logits.size()[0] - 1;
        let component = u.ge_tensor(&cumulative).sum_dim_intlist(1, false, Kind::Int64).clamp_max(last);
        let std = self.log_std.index_select(0, &component).exp() * temperature;
        self.mean.index_select(0, &component).addcmul(&rng.randn([n, self.dimension()], options), &std)
    }
}
