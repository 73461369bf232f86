use gen_core::Result;
use gen_core::model::{Interpolation, Latent, map_chunks};
use gen_core::native::as_convolved;
use gen_core::rng::{Purpose, stream};
use tch::{Kind, Tensor};

use super::{Ddim, Diffusion, Sampler};
use crate::samplers::{ddim, ddim_inversion};
use crate::schedule::Level;

/// Corrections of each step on the way from data to latents.
const REFINEMENTS: usize = 4;

/// Standard normal noise, which DDIM without noise of its own (η = 0) takes to data, at the levels of the model's own
/// sampler; in place of ancestral sampling in 25 steps. Encoding undoes these steps, up to an error that a few
/// corrections of each leave.
impl Latent for Diffusion {
    fn latent_shape(&self) -> Vec<i64> {
        self.card.data.shape.batch(0)[1..].to_vec()
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let rng = stream(seed, Purpose::Sample, 0);
        let none = Tensor::zeros(self.card.data.shape.batch(0), (Kind::Float, self.device));
        let parts = self.parts(n).map(|rows| self.start(rows, &rng));
        Ok(Tensor::cat(&[none].into_iter().chain(parts).collect::<Vec<_>>(), 0))
    }

    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.check_latents(latents)?;
        let levels = self.latent_levels()?;
        let _no_grad = tch::no_grad_guard();
        let none = |x: &Tensor| x.zeros_like();
        let denoise = |x: &Tensor, level: &Level| self.denoise(x, level, None, &self.sampling);
        map_chunks(latents, self.chunk(), |x| {
            let x = as_convolved(&(x * levels[0].spread()));
            Ok(self.units.to_data(&ddim(denoise, x, &levels, 0.0, none)))
        })
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        self.card.check_batch(x)?;
        let levels = self.latent_levels()?;
        let _no_grad = tch::no_grad_guard();
        let denoise = |x: &Tensor, level: &Level| self.denoise(x, level, None, &self.sampling);
        let latents = map_chunks(x, self.chunk(), |x| {
            let x0 = as_convolved(&self.units.to_network(x));
            Ok(ddim_inversion(denoise, x0, &levels, REFINEMENTS) / levels[0].spread())
        })?;
        Ok(Some(latents))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}

impl Diffusion {
    /// The levels between latents and data.
    fn latent_levels(&self) -> Result<Vec<Level>> {
        let sampler = match self.sampling.sampler {
            Sampler::Ancestral(_) => Sampler::Ddim(Ddim::default()),
            other => other,
        };
        sampler.levels(&*self.process)
    }
}
