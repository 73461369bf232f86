use gen_core::model::{Frame, SampleRequest, Trajectory};
use gen_core::registry::Buildable;
use gen_core::rng::{Purpose, stream};
use gen_core::{Error, Result};
use tch::{Kind, Tensor};

use super::TarFlow;
use super::guidance::{Guidance, Weaker};
use super::noise::Corruption;
use crate::base::Base;
use crate::bijection::{Bijection, Given};

/// Rows whose gradient is taken at a time: a backward pass keeps all that the forward pass made.
const DENOISED_AT_A_TIME: i64 = 64;

impl TarFlow {
    /// The temperature of a request that has no other options.
    pub(super) fn temperature(request: &SampleRequest) -> Result<f64> {
        request.require_one_pass(Self::NAME)?;
        let temperature = request.temperature.unwrap_or(1.0);
        if !(0.0..=f64::MAX).contains(&temperature) {
            return Err(Error::invalid(format!(
                "the temperature must be a number from 0 up, found {temperature}"
            )));
        }
        Ok(temperature)
    }

    /// The guidance of samples.
    pub(super) fn guidance(&self) -> Option<Guidance> {
        let weaker = if self.labels.is_some() {
            Weaker::WithoutContext
        } else {
            Weaker::Temperature(self.config.guidance_temperature)
        };
        (self.config.guidance > 0.0).then_some(Guidance { weight: self.config.guidance, weaker })
    }

    /// The samples of `request`. `visit` is shown the number of the state and, a part of the rows at a time, the latents as
    /// data, the state after each block, and the denoised one, all in the units of the flow.
    pub(super) fn draw(
        &self,
        request: &SampleRequest,
        visit: &mut dyn FnMut(usize, Tensor),
    ) -> Result<Tensor> {
        let temperature = Self::temperature(request)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let guidance = self.guidance();
        let mut parts =
            vec![Tensor::zeros(self.card.data.shape.batch(0), (self.params.kind(), self.params.device()))];
        for start in (0..request.n).step_by(self.chunk()) {
            let n = self.chunk().min(request.n - start) as i64;
            let context = self.labels.as_ref().map(|labels| labels.draw(n, &rng));
            let z = self.base.sample(n, temperature, Given::NOTHING, &rng);
            visit(0, self.transform.outline(&z, Given::NOTHING));
            let mut state = 0;
            let mut each = |x: Tensor| {
                state += 1;
                visit(state, x);
            };
            let (y, _) = self.transform.inverse_guided(&z, context.as_ref(), guidance.as_ref(), &mut each);
            let x = match self.corruption {
                Corruption::Gaussian(sigma) if self.config.denoise => {
                    let x = self.denoised(&y, context.as_ref(), sigma);
                    each(x.shallow_clone());
                    x
                }
                _ => y,
            };
            parts.push(self.corruption.to_data(&x));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// E[x | y] of one row or more of y = x + N(0, σ²), by Tweedie's formula y + σ² ∇ ln p(y) (Zhai et al. 2024, section 2.5).
    pub(super) fn denoised(&self, y: &Tensor, context: Option<&Tensor>, sigma: f64) -> Tensor {
        let part = |start: i64| {
            let rows = DENOISED_AT_A_TIME.min(y.size()[0] - start);
            let cut = |x: &Tensor| x.narrow(0, start, rows);
            let y = cut(y).detach().copy().set_requires_grad(true);
            let log_prob =
                tch::with_grad(|| self.log_prob_given(&y, context.map(cut).as_ref()).sum(Kind::Float));
            let score = Tensor::run_backward(&[log_prob], &[&y], false, false).remove(0);
            y.detach() + score * (sigma * sigma)
        };
        let starts = (0..y.size()[0]).step_by(DENOISED_AT_A_TIME as usize);
        Tensor::cat(&starts.map(part).collect::<Vec<_>>(), 0)
    }

    /// The states after each block, from latent to data.
    pub(super) fn path(&self, request: &SampleRequest, frames: usize) -> Result<Trajectory> {
        let mut states: Vec<Vec<Tensor>> = Vec::new();
        // A request for nothing has states too, without rows.
        let drawn = SampleRequest { n: request.n.max(1), ..request.clone() };
        let _samples = self.draw(&drawn, &mut |at, state| {
            states.resize_with(states.len().max(at + 1), Vec::new);
            states[at].push(self.corruption.to_data_smooth(&state));
        })?;
        let last = states.len() - 1;
        let chosen = Trajectory::choose(last + 1, frames)?;
        let frame = |at: usize| Frame {
            label: format!("{at}/{last}"),
            state: Tensor::cat(&states[at], 0).narrow(0, 0, request.n as i64),
            estimate: None,
        };
        Ok(Trajectory { frames: chosen.into_iter().map(frame).collect() })
    }
}
