use gen_core::Result;
use gen_core::model::{Frame, Interpolation, Latent, SampleRequest, Trajectory};
use gen_core::rng::{Purpose, stream};
use tch::Tensor;

use super::{Architecture, FlowModel};
use crate::bijection::Given;

/// The latents f(x) ~ N(0, I), end to end: of several scales the coarsest first. Data and codes are each other's images;
/// bytes take the noise that dequantises them on the way to a code.
impl<A: Architecture> Latent for FlowModel<A> {
    fn latent_shape(&self) -> Vec<i64> {
        vec![self.card.data.shape.dimensions()]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        Ok(self.flow.latents(n as i64, 1.0, Given::NOTHING, &stream(seed, Purpose::Sample, 0)))
    }

    fn decode(&self, codes: &Tensor) -> Result<Tensor> {
        self.check_latents(codes)?;
        let _no_grad = tch::no_grad_guard();
        let parts = codes.split_with_sizes(&self.parts(codes.size()[0])[..], 0);
        let parts = parts.iter().map(|z| self.restored(&self.flow.bijection().inverse(z, Given::NOTHING).0));
        Ok(Tensor::cat(&parts.collect::<Vec<_>>(), 0))
    }

    fn encode(&self, x: &Tensor, seed: u64) -> Result<Option<Tensor>> {
        self.check_shape(x)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        let parts = x.split_with_sizes(&self.parts(x.size()[0])[..], 0);
        let parts = parts.iter().map(|x| {
            let y = self.dequantiser.as_ref().map(|way| way.to_unit(x, Given::NOTHING, &rng).0);
            self.flow.bijection().forward(y.as_ref().unwrap_or(x), Given::NOTHING).0
        });
        Ok(Some(Tensor::cat(&parts.collect::<Vec<_>>(), 0)))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}

impl<A: Architecture> FlowModel<A> {
    /// What the flow gives to the units of the data, unrounded.
    fn restored(&self, x: &Tensor) -> Tensor {
        self.dequantiser.as_ref().map_or_else(|| x.shallow_clone(), |way| way.from_unit_smooth(x))
    }

    /// The states after each step, from latent to data.
    pub(super) fn path(&self, request: &SampleRequest, frames: usize) -> Result<Trajectory> {
        let temperature = Self::temperature(request)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let mut states: Vec<Vec<Tensor>> = Vec::new();
        for n in self.parts(request.n as i64) {
            states.push(
                self.flow.path(&self.flow.latents(n, temperature, Given::NOTHING, &rng), Given::NOTHING),
            );
        }
        let last = states[0].len() - 1;
        let chosen = Trajectory::choose(last + 1, frames)?;
        let frame = |at: usize| {
            let state: Vec<Tensor> = states.iter().map(|part| self.restored(&part[at])).collect();
            Frame { label: format!("{at}/{last}"), state: Tensor::cat(&state, 0), estimate: None }
        };
        Ok(Trajectory { frames: chosen.into_iter().map(frame).collect() })
    }
}
