use gen_core::Result;
use gen_core::model::{GenerativeModel, Interpolation, Latent};
use gen_core::rng::{Purpose, stream};
use tch::Tensor;

use super::architecture::Architecture;
use super::flow_model::FlowModel;
use crate::given::Given;

/// The latents f(x) ~ N(0, I), end to end: of several scales the coarsest first. Encoding and decoding undo each
/// other, up to the noise that images take on the way to latents.
impl<A: Architecture> Latent for FlowModel<A> {
    fn latent_shape(&self) -> Vec<i64> {
        vec![self.card().data.shape.dimensions()]
    }

    fn prior(&self, n: usize, seed: u64) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        Ok(self.flow().latents(n as i64, 1.0, Given::NOTHING, &stream(seed, Purpose::Sample, 0)))
    }

    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.check_latents(latents)?;
        let _no_grad = tch::no_grad_guard();
        let (design, plan) = (&self.design, self.own_plan()?);
        Ok(self.in_parts(latents, |z| design.dequantiser.to_data_smooth(&design.generate(z, None, &plan))))
    }

    fn encode(&self, x: &Tensor, seed: u64) -> Result<Option<Tensor>> {
        self.card().check_batch(x)?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(seed, Purpose::Evaluate, 0);
        Ok(Some(self.in_parts(x, |x| {
            let (y, _) = self.design.dequantiser.to_network(x, Given::NOTHING, &rng);
            self.flow().bijection().forward(&y, Given::NOTHING).0
        })))
    }

    fn interpolation(&self) -> Interpolation {
        Interpolation::Spherical
    }
}
