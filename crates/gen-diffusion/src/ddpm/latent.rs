use gen_core::Result;
use gen_core::model::{Frame, Interpolation, Latent, SampleRequest, Trajectory};
use gen_core::native::as_convolved;
use gen_core::rng::{Purpose, stream};
use tch::{Kind, Tensor};

use super::Ddpm;
use crate::samplers::{ddim, ddim_inversion};
use crate::schedule::Level;

/// Corrections of each step on the way from data to a code.
const REFINEMENTS: usize = 4;

/// The noise x_T, which DDIM without noise of its own (η = 0) takes to data, in the number of steps that the configuration
/// has for sampling. The code of data undoes these steps, up to what a few corrections of each leave.
impl Latent for Ddpm {
    fn code_shape(&self) -> Vec<i64> {
        self.card.data.shape.batch(0)[1..].to_vec()
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let rng = stream(seed, Purpose::Sample, 0);
        let none = Tensor::zeros(self.card.data.shape.batch(0), (Kind::Float, self.device));
        let parts = self.parts(n).map(|rows| self.start(rows, &rng));
        Ok(Tensor::cat(&[none].into_iter().chain(parts).collect::<Vec<_>>(), 0))
    }

    fn decode(&self, codes: &Tensor) -> Result<Tensor> {
        self.check_codes(codes)?;
        let levels = self.code_levels()?;
        let _no_grad = tch::no_grad_guard();
        let none = |x: &Tensor| x.zeros_like();
        let denoise = |x: &Tensor, level: &Level| self.denoise(x, level);
        let parts = codes.split(self.chunk(), 0);
        let parts = parts.iter().map(|x| self.decode(&ddim(denoise, as_convolved(x), &levels, 0.0, none)));
        Ok(Tensor::cat(&parts.collect::<Vec<_>>(), 0))
    }

    fn encode(&self, x: &Tensor, _seed: u64) -> Result<Option<Tensor>> {
        self.check(x)?;
        let levels = self.code_levels()?;
        let _no_grad = tch::no_grad_guard();
        let denoise = |x: &Tensor, level: &Level| self.denoise(x, level);
        let parts = x.split(self.chunk(), 0);
        let parts = parts
            .iter()
            .map(|x| ddim_inversion(denoise, as_convolved(&self.encode(x)), &levels, REFINEMENTS));
        Ok(Some(Tensor::cat(&parts.collect::<Vec<_>>(), 0)))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}

impl Ddpm {
    /// The levels between codes and data.
    fn code_levels(&self) -> Result<Vec<Level>> {
        let timesteps = self.config.spacing.timesteps(self.config.timesteps, self.config.ddim_steps)?;
        Ok(self.process.levels(&timesteps))
    }

    /// x_t and the estimates of x_0 at the steps of the sampler.
    pub(super) fn path(&self, request: &SampleRequest, frames: usize) -> Result<Trajectory> {
        let plan = self.plan(request)?;
        // The last state is the samples, which no step starts from.
        let chosen = Trajectory::choose(plan.timesteps.len() + 1, frames)?;
        let mut seen: Vec<[Vec<Tensor>; 2]> = chosen.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        let samples = self.draw(&plan, request, &mut |step, x, x0| {
            if let Ok(place) = chosen.binary_search(&step) {
                seen[place][0].push(self.in_data_units(x));
                seen[place][1].push(self.in_data_units(x0));
            }
        });
        let mut frames = Vec::new();
        for (&step, [states, estimates]) in chosen.iter().zip(&seen) {
            frames.push(match plan.timesteps.get(step) {
                Some(t) => Frame {
                    label: format!("t = {t}"),
                    state: joined(states, &samples),
                    estimate: Some(joined(estimates, &samples)),
                },
                None => Frame {
                    label: "sample".to_owned(),
                    state: samples.shallow_clone(),
                    estimate: Some(samples.shallow_clone()),
                },
            });
        }
        Ok(Trajectory { frames })
    }

    /// What the network sees in the units of the data, not clamped.
    fn in_data_units(&self, x: &Tensor) -> Tensor {
        match &self.standardise {
            Some(standardise) => standardise.inverse(x),
            None => x.contiguous(),
        }
    }
}

/// The parts end to end; no rows of the kind of `like` where there are none.
fn joined(parts: &[Tensor], like: &Tensor) -> Tensor {
    if parts.is_empty() { like.shallow_clone() } else { Tensor::cat(parts, 0) }
}
