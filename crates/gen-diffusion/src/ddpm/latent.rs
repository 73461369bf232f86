use gen_core::Result;
use gen_core::model::{Interpolation, Latent, map_chunks};
use gen_core::native::as_convolved;
use gen_core::rng::{Purpose, stream};
use tch::{Kind, Tensor};

use super::{Ddim, Ddpm, Sampler};
use crate::samplers::{ddim, ddim_inversion};
use crate::schedule::Level;

/// Corrections of each step on the way from data to latents.
const REFINEMENTS: usize = 4;

/// The noise x_T, which DDIM without noise of its own (η = 0) takes to data, in the steps of the model's own sampler if
/// that is DDIM, otherwise in 25. Encoding undoes these steps, up to an error that a few corrections of each leave.
impl Latent for Ddpm {
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
        let denoise = |x: &Tensor, level: &Level| self.denoise(x, level, self.sampling.clip);
        map_chunks(latents, self.chunk(), |x| {
            Ok(self.units.to_data(&ddim(denoise, as_convolved(x), &levels, 0.0, none)))
        })
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        self.card.check_batch(x)?;
        let levels = self.latent_levels()?;
        let _no_grad = tch::no_grad_guard();
        let denoise = |x: &Tensor, level: &Level| self.denoise(x, level, self.sampling.clip);
        let latents = map_chunks(x, self.chunk(), |x| {
            Ok(ddim_inversion(denoise, as_convolved(&self.units.to_network(x)), &levels, REFINEMENTS))
        })?;
        Ok(Some(latents))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}

impl Ddpm {
    /// The levels between latents and data.
    fn latent_levels(&self) -> Result<Vec<Level>> {
        let ddim = match self.sampling.sampler {
            Sampler::Ddim(ddim) => ddim,
            Sampler::Ancestral(_) => Ddim::default(),
        };
        Ok(self.process.levels(&Sampler::Ddim(ddim).timesteps(self.config.timesteps)?))
    }
}
