use gen_core::nn::{Activation, Mlp};
use gen_core::params::Scope;
use tch::Tensor;

use crate::likelihoods::{gaussian_log_prob, sum_rows};

/// p(z), the distribution that latent codes are drawn from.
///
/// With no layers it is N(0, I) (Kingma & Welling 2014). With some it is a flow: affine coupling layers (Dinh et al.
/// 2017) that take z to standard normal noise, learned with the rest by the same bound. The bound stays a bound,
/// and what the encoder does with the data is what the prior learns to draw (Chen et al. 2017, section 3.2).
#[derive(Debug)]
pub(crate) struct Prior {
    layers: Vec<Coupling>,
}

impl Prior {
    /// For codes of `latent_dim` entries, with `layers` coupling layers whose networks have `width` hidden units.
    /// It starts as N(0, I).
    pub(crate) fn new(scope: Scope<'_>, latent_dim: i64, layers: i64, width: i64) -> Self {
        let layer = |i: i64| Coupling::new(&scope / i, latent_dim, width, i % 2 == 1);
        Prior { layers: (0..layers).map(layer).collect() }
    }

    /// Whether this is N(0, I), for which the KL divergence has a closed form.
    pub(crate) fn is_standard_normal(&self) -> bool {
        self.layers.is_empty()
    }

    /// log p(z): `[batch, latent]` to `[batch]`, nats.
    pub(crate) fn log_prob(&self, z: &Tensor) -> Tensor {
        let (noise, log_det) = self.normalise(z);
        let unit = Tensor::zeros([1], (z.kind(), z.device()));
        log_det + gaussian_log_prob(&unit, &unit, &noise)
    }

    /// The standard normal noise that z would be made of, `[batch, latent]`, and log |det| of the way there: `[batch]`.
    pub(crate) fn normalise(&self, z: &Tensor) -> (Tensor, Tensor) {
        let mut noise = z.shallow_clone();
        let mut log_det = Tensor::zeros([z.size()[0]], (z.kind(), z.device()));
        for layer in &self.layers {
            let (moved, layer_log_det) = layer.normalise(&noise);
            noise = moved;
            log_det += layer_log_det;
        }
        (noise, log_det)
    }

    /// z of standard normal `noise`, both `[batch, latent]`.
    pub(crate) fn sample(&self, noise: &Tensor) -> Tensor {
        self.layers.iter().rev().fold(noise.shallow_clone(), |z, layer| layer.generate(&z))
    }
}

/// One part of the code moves and scales the other (Dinh et al. 2017, equations 7 and 8).
#[derive(Debug)]
struct Coupling {
    network: Mlp,
    sizes: [i64; 2],
    swapped: bool,
}

/// Keeps the scale of one layer within e^±2, so that a stack of them cannot run away early in training.
const LOG_SCALE_BOUND: f64 = 2.0;

impl Coupling {
    fn new(scope: Scope<'_>, latent_dim: i64, width: i64, swapped: bool) -> Self {
        let sizes = [latent_dim / 2, latent_dim - latent_dim / 2];
        let (fixed, moved) = if swapped { (sizes[1], sizes[0]) } else { (sizes[0], sizes[1]) };
        let network = Mlp::zero_output(scope, &[fixed, width, width, 2 * moved], Activation::Relu);
        Coupling { network, sizes, swapped }
    }

    /// z to noise: y = x e^s + t, and log |det dy/dx| = Σ s.
    fn normalise(&self, z: &Tensor) -> (Tensor, Tensor) {
        let (fixed, x) = self.split(z);
        let (s, t) = self.scale_and_shift(&fixed);
        (self.join(&fixed, &(x * s.exp() + t)), sum_rows(&s))
    }

    /// Noise to z: x = (y − t) e^−s.
    fn generate(&self, noise: &Tensor) -> Tensor {
        let (fixed, y) = self.split(noise);
        let (s, t) = self.scale_and_shift(&fixed);
        self.join(&fixed, &((y - t) * s.neg().exp()))
    }

    fn scale_and_shift(&self, fixed: &Tensor) -> (Tensor, Tensor) {
        let [raw, t] = halves(&self.network.forward(fixed));
        ((raw / LOG_SCALE_BOUND).tanh() * LOG_SCALE_BOUND, t)
    }

    fn split(&self, z: &Tensor) -> (Tensor, Tensor) {
        let (a, b) = (z.narrow(1, 0, self.sizes[0]), z.narrow(1, self.sizes[0], self.sizes[1]));
        if self.swapped { (b, a) } else { (a, b) }
    }

    fn join(&self, fixed: &Tensor, moved: &Tensor) -> Tensor {
        if self.swapped { Tensor::cat(&[moved, fixed], 1) } else { Tensor::cat(&[fixed, moved], 1) }
    }
}

/// The two halves of the second dimension: `[batch, 2 n, ...]` to two of `[batch, n, ...]`.
pub(crate) fn halves(x: &Tensor) -> [Tensor; 2] {
    let n = x.size()[1] / 2;
    [x.narrow(1, 0, n), x.narrow(1, n, n)]
}

#[cfg(test)]
mod tests {
    use gen_core::params::Params;
    use gen_core::testing::assert_close;
    use tch::{Device, Kind};

    use super::*;

    /// A flow whose zero-initialised layers were moved off the identity, in f64.
    fn moved(latent_dim: i64) -> (Params, Prior) {
        tch::manual_seed(0);
        let params = Params::new(Kind::Double, Device::Cpu);
        let prior = Prior::new(params.root() / "prior", latent_dim, 5, 16);
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
        let zero = Tensor::zeros([1], (Kind::Double, Device::Cpu));
        let expected = gaussian_log_prob(&zero, &zero, &z);
        for layers in [0, 3] {
            let prior = Prior::new(params.root() / layers, 4, layers, 8);
            assert_close(&prior.log_prob(&z), &expected, 1e-14, 0.0);
            assert_close(&prior.sample(&z), &z, 1e-14, 0.0);
        }
    }

    /// log p(z) = log N(u) − log |det dz/du| for z made of u, with the determinant by autograd.
    #[test]
    fn density_is_that_of_the_samples() {
        for latent_dim in [2, 5] {
            let (_params, prior) = moved(latent_dim);
            let zero = Tensor::zeros([1], (Kind::Double, Device::Cpu));
            let noise = Tensor::randn([1, latent_dim], (Kind::Double, Device::Cpu)).set_requires_grad(true);
            let z = prior.sample(&noise);
            let rows: Vec<Tensor> = (0..latent_dim)
                .map(|i| Tensor::run_backward(&[z.get(0).get(i)], &[&noise], true, false).remove(0).squeeze())
                .collect();
            let (_, log_det) = Tensor::stack(&rows, 0).slogdet();
            let expected = gaussian_log_prob(&zero, &zero, &noise) - log_det;
            assert_close(&prior.log_prob(&z), &expected, 1e-10, 1e-10);
            assert_close(&prior.normalise(&z).0, &noise, 1e-10, 1e-10);
            assert!((&z - &noise).abs().max().double_value(&[]) > 0.1, "the flow should not be the identity");
        }
    }
}
