//! A density from a bijection and a base distribution.

use gen_core::rng::Generator;
use tch::Tensor;

use crate::base::Base;
use crate::bijection::Layer;
use crate::given::Given;

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
/// use gen_flow::{Flow, Given};
/// use tch::{Device, Kind, Tensor};
///
/// // A Gaussian with mean (1, 2) and standard deviations (3, 4).
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let standardise = Standardise::new(params.root(), &[1.0, 2.0], &[3.0, 4.0])?;
/// let flow = Flow::new(standardise, StandardNormal::new(2, Kind::Double, Device::Cpu));
/// let mode = flow.log_prob(&Tensor::from_slice(&[1.0, 2.0]).view([1, 2]), Given::NOTHING);
/// assert!((mode.double_value(&[0]) + (2.0 * std::f64::consts::PI * 12.0).ln()).abs() < 1e-12);
/// assert_eq!(flow.sample(10, 1.0, Given::NOTHING, &Generator::seeded(0)).size(), [10, 2]);
/// # Ok::<(), gen_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Flow {
    bijection: Box<dyn Layer>,
    base: Box<dyn Base>,
}

impl Flow {
    /// The distribution whose latents, f(x), are distributed as `base`.
    pub fn new(bijection: impl Layer + 'static, base: impl Base + 'static) -> Self {
        Flow { bijection: Box::new(bijection), base: Box::new(base) }
    }

    /// The distribution of the latents.
    pub fn base(&self) -> &dyn Base {
        self.base.as_ref()
    }

    /// f, from data to latents.
    pub fn bijection(&self) -> &dyn Layer {
        self.bijection.as_ref()
    }

    /// ln p(x) of each row, in nats: `[batch]`.
    pub fn log_prob(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let (z, log_det) = self.bijection.forward(x, given);
        self.base.log_prob(&z, given) + log_det
    }

    /// `n` draws from `rng`, with latents of the standard deviation `temperature`; a context has `n` rows.
    ///
    /// Only with the temperature 1 are these draws from the density that [`Flow::log_prob`] gives.
    pub fn sample(&self, n: i64, temperature: f64, given: Given<'_>, rng: &Generator) -> Tensor {
        self.bijection.inverse(&self.latents(n, temperature, given, rng), given).0
    }

    /// `n` latents from `rng`, with the standard deviation `temperature`: [`Flow::sample`] starts from them.
    pub fn latents(&self, n: i64, temperature: f64, given: Given<'_>, rng: &Generator) -> Tensor {
        self.base.sample(n, temperature, given, rng)
    }

    /// The states between latents `z` and data: the outline of the latents themselves, then the state after each step
    /// of the bijection, in the units and the arrangement of data ([`Layer::outline`]). The last is f⁻¹(z).
    pub fn trajectory(&self, z: &Tensor, given: Given<'_>) -> Vec<Tensor> {
        let mut states = vec![self.bijection.outline(z, given)];
        let _ = self.bijection.trajectory(z, given, &mut |state| states.push(state.shallow_clone()));
        states
    }

    /// `n` draws from `rng` and the log-density of each, in one pass; both carry gradients.
    pub fn sample_with_log_prob(&self, n: i64, given: Given<'_>, rng: &Generator) -> (Tensor, Tensor) {
        let z = self.base.sample(n, 1.0, given, rng);
        let (x, log_det) = self.bijection.inverse(&z, given);
        (x, self.base.log_prob(&z, given) - log_det)
    }
}
