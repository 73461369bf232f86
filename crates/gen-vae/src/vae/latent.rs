use gen_core::Result;
use gen_core::model::{Interpolation, Latent, map_chunks};
use gen_core::rng::{Purpose, stream};
use tch::Tensor;

use super::Vae;
use crate::networks::ROWS_AT_ONCE;

/// The standard normal noise that z ~ p(z) is made of: z itself, unless the prior is learned. A learned prior bends z,
/// and its noise is straight, so that interpolation leads through latents that are drawn.
///
/// The latents of data are those of the mean of q(z | x). They decode to the centre of p(x | z), without the
/// independent noise of each value.
impl Latent for Vae {
    fn latent_shape(&self) -> Vec<i64> {
        vec![self.config.latent_dim]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        Ok(self.noise(n, &stream(seed, Purpose::Sample, 0)))
    }

    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.check_latents(latents)?;
        let _no_grad = tch::no_grad_guard();
        map_chunks(latents, ROWS_AT_ONCE, |noise| Ok(Vae::decode(self, &self.prior.sample(noise))))
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        Ok(Some(self.prior.normalise(&self.posterior_means(x)?)))
    }

    /// The mean of q(z | x). A learned prior straightens its clusters into one normal distribution.
    fn represent(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        self.posterior_means(x).map(Some)
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}

impl Vae {
    fn posterior_means(&self, x: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        map_chunks(&self.network_input(x)?, ROWS_AT_ONCE, |x| Ok(self.posterior(x).mean))
    }
}
