//! A density from a bijection and a base distribution.

use gen_core::rng::Generator;
use tch::Tensor;

use crate::base::StandardNormal;
use crate::bijection::Bijection;

/// The distribution of x = f⁻¹(z), z ~ base, by the change of variables
///
/// > ln p(x) = ln p_base(f(x)) + ln|det ∂f(x)/∂x|
///
/// Dinh et al. 2017, equation 2.
///
/// ```
/// use gen_core::params::Params;
/// use gen_core::rng::Generator;
/// use gen_flow::base::StandardNormal;
/// use gen_flow::bijection::Standardise;
/// use gen_flow::Flow;
/// use tch::{Device, Kind, Tensor};
///
/// // A Gaussian with mean (1, 2) and standard deviations (3, 4).
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let standardise = Standardise::new(params.root(), &[1.0, 2.0], &[3.0, 4.0])?;
/// let flow = Flow::new(standardise, StandardNormal::new(2, Kind::Double, Device::Cpu));
/// let mode = flow.log_prob(&Tensor::from_slice(&[1.0, 2.0]).view([1, 2]), None);
/// assert!((mode.double_value(&[0]) + (2.0 * std::f64::consts::PI * 12.0).ln()).abs() < 1e-12);
/// assert_eq!(flow.sample(10, 1.0, None, &Generator::seeded(0)).size(), [10, 2]);
/// # Ok::<(), gen_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Flow {
    bijection: Box<dyn Bijection>,
    base: StandardNormal,
}

impl Flow {
    /// The distribution whose latents, f(x), are distributed as `base`.
    pub fn new(bijection: impl Bijection + 'static, base: StandardNormal) -> Self {
        Flow { bijection: Box::new(bijection), base }
    }

    /// f, from data to latent.
    pub fn bijection(&self) -> &dyn Bijection {
        self.bijection.as_ref()
    }

    /// ln p(x) of each row, in nats: `[batch]`.
    pub fn log_prob(&self, x: &Tensor, context: Option<&Tensor>) -> Tensor {
        let (z, log_det) = self.bijection.forward(x, context);
        self.base.log_prob(&z) + log_det
    }

    /// `n` draws from `rng`, with latents of the standard deviation `temperature`; a context has `n` rows.
    ///
    /// Only with the temperature 1 are these draws from the density that [`Flow::log_prob`] gives.
    pub fn sample(&self, n: i64, temperature: f64, context: Option<&Tensor>, rng: &Generator) -> Tensor {
        self.bijection.inverse(&self.latents(n, temperature, rng), context).0
    }

    /// `n` latents from `rng`, with the standard deviation `temperature`: what [`Flow::sample`] starts from.
    pub fn latents(&self, n: i64, temperature: f64, rng: &Generator) -> Tensor {
        self.base.sample(n, temperature, rng)
    }

    /// The way of latents `z` to data: the outline of the latents themselves, then the state after each step of the
    /// bijection, in the units and the arrangement of data ([`Bijection::outline`]). The last is f⁻¹(z).
    pub fn path(&self, z: &Tensor, context: Option<&Tensor>) -> Vec<Tensor> {
        let mut states = vec![self.bijection.outline(z, context)];
        let _ = self.bijection.trace(z, context, &Tensor::shallow_clone, &mut |state| states.push(state));
        states
    }

    /// `n` draws from `rng` and the log-density of each, in one pass; both carry gradients.
    pub fn sample_with_log_prob(
        &self,
        n: i64,
        context: Option<&Tensor>,
        rng: &Generator,
    ) -> (Tensor, Tensor) {
        let z = self.base.sample(n, 1.0, rng);
        let (x, log_det) = self.bijection.inverse(&z, context);
        (x, self.base.log_prob(&z) - log_det)
    }
}
