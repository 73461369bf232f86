use gen_core::Result;
use gen_core::model::{Interpolation, Latent};
use gen_core::rng::{Purpose, stream};
use tch::Tensor;

use super::TarFlow;
use super::noise::Corruption;
use crate::base::Base;
use crate::bijection::{Bijection, Given};

/// The latents f(x) ~ N(0, I), patch by patch, of a flow without classes. Data and codes are each other's images, up to
/// the noise that is added on the way to a code and taken off on the way back.
impl Latent for TarFlow {
    fn latent_shape(&self) -> Vec<i64> {
        vec![self.card.data.shape.dimensions()]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        Ok(self.base.sample(n as i64, 1.0, Given::NOTHING, &stream(seed, Purpose::Sample, 0)))
    }

    fn decode(&self, codes: &Tensor) -> Result<Tensor> {
        self.check_latents(codes)?;
        let _no_grad = tch::no_grad_guard();
        let guidance = self.guidance();
        let decode = |z: &Tensor| {
            let (y, _) = self.transform.inverse_guided(z, None, guidance.as_ref(), &mut |_| ());
            let x = match self.corruption {
                Corruption::Gaussian(sigma) if self.config.denoise => self.denoised(&y, None, sigma),
                _ => y,
            };
            self.corruption.to_data_smooth(&x)
        };
        Ok(self.in_parts(codes, &self.card.data.shape.batch(0), decode))
    }

    fn encode(&self, x: &Tensor, seed: u64) -> Result<Option<Tensor>> {
        self.check_shape(x)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        let encode = |x: &Tensor| self.transform.forward(&self.corruption.add(x, &rng), Given::NOTHING).0;
        Ok(Some(self.in_parts(x, &[0, self.card.data.shape.dimensions()], encode)))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}
