use gen_core::Result;
use gen_core::model::{Frame, SampleRequest, Trajectory};
use tch::Tensor;

use super::Diffusion;

impl Diffusion {
    /// The samples of `request` at up to `frames` steps, with the estimate of x_0 there.
    pub(super) fn trajectory_of(&self, request: &SampleRequest, frames: usize) -> Result<Trajectory> {
        let sampler = self.resolved(request)?.sampler;
        let levels = sampler.levels(&*self.process)?;
        // The last state is the samples, from which no step starts.
        let chosen = Trajectory::choose(levels.len(), frames)?;
        let mut seen: Vec<[Vec<Tensor>; 2]> = chosen.iter().map(|_| [Vec::new(), Vec::new()]).collect();
        let samples = self.draw(request, &mut |estimate, x, x0| {
            let (step, within) = (estimate / sampler.estimates(), estimate % sampler.estimates());
            if let (0, Ok(place)) = (within, chosen.binary_search(&step)) {
                seen[place][0].push(self.units.to_data_unclamped(x));
                seen[place][1].push(self.units.to_data_unclamped(x0));
            }
        })?;
        let frame = |(&step, [states, estimates]): (&usize, &[Vec<Tensor>; 2])| {
            let (label, state, estimate) = if step + 1 < levels.len() {
                (self.process.label(&levels[step]), joined(states, &samples), joined(estimates, &samples))
            } else {
                ("sample".to_owned(), samples.shallow_clone(), samples.shallow_clone())
            };
            Frame { label, state, estimate: Some(estimate) }
        };
        Ok(Trajectory { frames: chosen.iter().zip(&seen).map(frame).collect() })
    }
}

/// The parts end to end; no rows of the kind of `like` where there are none.
fn joined(parts: &[Tensor], like: &Tensor) -> Tensor {
    if parts.is_empty() { like.shallow_clone() } else { Tensor::cat(parts, 0) }
}
