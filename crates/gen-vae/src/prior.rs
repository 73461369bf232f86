use gen_core::config::at_least_one;
use gen_core::distributions::Gaussian;
use gen_core::params::Scope;
use gen_core::{Error, Result};
use gen_flow::Given;
use gen_flow::bijection::{Bijection, Chain, Coupling, Layer, Mask};
use gen_flow::conditioner::MlpConditioner;
use gen_flow::univariate::Univariate;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::networks::halves;

/// The distribution p(z) of the latents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PriorConfig {
    /// N(0, I) (Kingma & Welling 2014).
    StandardNormal,
    /// A normalizing flow.
    Flow(FlowPrior),
}

/// Affine coupling layers (Dinh et al. 2017) that take z to standard normal noise, learned with the rest by the same
/// bound. The bound stays a bound, and the prior learns to draw the latents that the encoder gives to data (Chen et al.
/// 2017, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowPrior {
    /// Coupling layers.
    pub layers: usize,
}

impl Default for FlowPrior {
    fn default() -> Self {
        FlowPrior { layers: 8 }
    }
}

impl PriorConfig {
    /// # Errors
    /// When it is no prior of `latent_dim` latents.
    pub(crate) fn check(self, latent_dim: i64) -> Result<()> {
        match self {
            PriorConfig::StandardNormal => Ok(()),
            PriorConfig::Flow(FlowPrior { layers }) => {
                at_least_one("prior.layers", layers as i64)?;
                if latent_dim < 2 {
                    return Err(Error::invalid(format!(
                        "couplings need a `latent_dim` of 2 or more, found {latent_dim}: set prior=standard-normal"
                    )));
                }
                Ok(())
            }
        }
    }
}

/// p(z) with its parameters. A prior without layers is N(0, I).
#[derive(Debug)]
pub(crate) struct Prior(Chain);

impl Prior {
    /// Of `latent_dim` latents; the networks of couplings have `width` hidden units. It starts as N(0, I).
    pub(crate) fn new(scope: Scope<'_>, latent_dim: i64, config: PriorConfig, width: i64) -> Self {
        let layers = match config {
            PriorConfig::StandardNormal => 0,
            PriorConfig::Flow(FlowPrior { layers }) => layers,
        };
        let layer = |i: usize| -> Box<dyn Layer> {
            let mask = Mask::alternating(latent_dim, i);
            let outputs = BoundedAffine.parameters() * mask.transformed(latent_dim);
            let network = MlpConditioner::new(&scope / i, mask.kept(latent_dim), 0, &[width, width], outputs);
            Box::new(Coupling::new(mask, BoundedAffine, Box::new(network)))
        };
        Prior(Chain::new((0..layers).map(layer).collect()))
    }

    /// Whether this is N(0, I), for which the KL divergence has a closed form.
    pub(crate) fn is_standard_normal(&self) -> bool {
        self.0.parts().is_empty()
    }

    /// ln p(z): `[batch, latent]` to `[batch]`, nats.
    pub(crate) fn log_prob(&self, z: &Tensor) -> Tensor {
        let (noise, log_det) = self.0.forward(z, Given::NOTHING);
        log_det + Gaussian::standard(&noise).log_prob(&noise)
    }

    /// The standard normal noise that [`Prior::sample`] takes to `z`, both `[batch, latent]`.
    pub(crate) fn normalise(&self, z: &Tensor) -> Tensor {
        self.0.forward(z, Given::NOTHING).0
    }

    /// z of standard normal `noise`, both `[batch, latent]`.
    pub(crate) fn sample(&self, noise: &Tensor) -> Tensor {
        self.0.inverse(noise, Given::NOTHING).0
    }
}

/// Keeps the slope of one layer within e^±2, so that a stack of them cannot run away early in training.
const LOG_SLOPE_BOUND: f64 = 2.0;

/// y = x e^s + t with s = 2 tanh(a / 2) and the parameters (a, t) (Dinh et al. 2017, equations 7 and 8). With zero
/// parameters it is the identity.
#[derive(Debug)]
struct BoundedAffine;

/// s and t.
fn slope_and_shift(parameters: &Tensor) -> [Tensor; 2] {
    let [raw, shift] = halves(parameters);
    [(raw / LOG_SLOPE_BOUND).tanh() * LOG_SLOPE_BOUND, shift]
}

impl Univariate for BoundedAffine {
    fn parameters(&self) -> i64 {
        2
    }

    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        let [log_slope, shift] = slope_and_shift(parameters);
        (x * log_slope.exp() + shift, log_slope)
    }

    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        let [log_slope, shift] = slope_and_shift(parameters);
        let log_slope = log_slope.neg();
        ((y - shift) * log_slope.exp(), log_slope)
    }
}

#[cfg(test)]
mod tests {
    use gen_core::params::Params;
    use gen_core::testing::assert_close;
    use tch::{Device, Kind};

    use super::*;

    /// A flow with its zero-initialised layers moved off the identity, in f64.
    fn moved(latent_dim: i64) -> (Params, Prior) {
        tch::manual_seed(0);
        let params = Params::new(Kind::Double, Device::Cpu);
        let prior = Prior::new(params.root() / "prior", latent_dim, PriorConfig::Flow(FlowPrior { layers: 5 }), 16);
        let _no_grad = tch::no_grad_guard();
        for (_, mut tensor) in params.trainable() {
            tensor += tensor.randn_like() * 0.3;
        }
        (params, prior)
    }

    #[test]
    fn starts_as_the_standard_normal() {
        let params = Params::new(Kind::Double, Device::Cpu);
        let z = Tensor::randn([6, 4], (Kind::Double, Device::Cpu));
        for (i, config) in
            [PriorConfig::StandardNormal, PriorConfig::Flow(FlowPrior { layers: 3 })].into_iter().enumerate()
        {
            let prior = Prior::new(params.root() / i, 4, config, 8);
            assert_close(&prior.log_prob(&z), &Gaussian::standard(&z).log_prob(&z), 1e-14, 0.0);
            assert_close(&prior.sample(&z), &z, 1e-14, 0.0);
        }
    }

    /// ln p(z) = ln N(u) − ln |det dz/du| for z made of u, with the determinant by autograd.
    #[test]
    fn density_is_that_of_the_samples() {
        for latent_dim in [2, 5] {
            let (_params, prior) = moved(latent_dim);
            let noise = Tensor::randn([1, latent_dim], (Kind::Double, Device::Cpu)).set_requires_grad(true);
            let z = prior.sample(&noise);
            let rows: Vec<Tensor> = (0..latent_dim)
                .map(|i| Tensor::run_backward(&[z.get(0).get(i)], &[&noise], true, false).remove(0).squeeze())
                .collect();
            let (_, log_det) = Tensor::stack(&rows, 0).slogdet();
            let expected = Gaussian::standard(&noise).log_prob(&noise) - log_det;
            assert_close(&prior.log_prob(&z), &expected, 1e-10, 1e-10);
            assert_close(&prior.normalise(&z), &noise, 1e-10, 1e-10);
            assert!((&z - &noise).abs().max().double_value(&[]) > 0.1, "the flow should not be the identity");
        }
    }
}
