use gen_core::Result;
use gen_core::model::{Interpolation, Latent};
use gen_core::rng::{Purpose, stream};
use tch::{Kind, Tensor};

use super::Vae;
use crate::sampling::ROWS_AT_ONCE;

/// The standard normal noise that z ~ p(z) is made of: z itself, unless the prior is learned. What that prior has bent is
/// straight there, so that the way between two codes leads through codes that are drawn.
///
/// The code of data is that of the mean of q(z | x); what a code decodes to is the centre of p(x | z), without the
/// independent noise of each value.
impl Latent for Vae {
    fn code_shape(&self) -> Vec<i64> {
        vec![self.config.latent_dim]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let size = [n as i64, self.config.latent_dim];
        Ok(stream(seed, Purpose::Sample, 0).randn(size, (Kind::Float, self.device)))
    }

    fn decode(&self, codes: &Tensor) -> Result<Tensor> {
        self.check_codes(codes)?;
        let _no_grad = tch::no_grad_guard();
        let parts = codes.split(ROWS_AT_ONCE, 0);
        let parts = parts.iter().map(|noise| Vae::decode(self, &self.prior.sample(noise)));
        Ok(Tensor::cat(&parts.collect::<Vec<_>>(), 0))
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        Ok(Some(self.prior.normalise(&self.posterior_means(x)?).0))
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
        let parts = self.units.standardise(x)?.split(ROWS_AT_ONCE, 0);
        let parts: Vec<Tensor> = parts.iter().map(|x| self.posterior(x).mean).collect();
        Ok(Tensor::cat(&parts, 0))
    }
}
