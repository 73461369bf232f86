//! Draws the samples to be measured, and times it.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::stage::Stage;
use gen_core::data::{DataSpec, signed_to_bytes};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, derive};
use gen_core::{Error, Result};

/// Samples in one call of a model.
pub(super) const PART: usize = 500;

/// Samples of a model.
pub(super) struct Drawn {
    /// In the form of the data.
    pub(super) samples: Tensor,
    /// Samples per second.
    pub(super) per_second: f64,
    /// Whether all values were finite before they became bytes.
    pub(super) finite: bool,
}

/// Draws the samples of `request` in the form of the data.
pub(super) fn draw(
    model: &dyn GenerativeModel,
    spec: &DataSpec,
    request: &SampleRequest,
    observe: &mut dyn FnMut(Stage),
) -> Result<Drawn> {
    let (start, total) = (Instant::now(), request.n);
    let mut parts = Vec::new();
    let mut finite = true;
    for (index, done) in (0..total).step_by(PART).enumerate() {
        observe(Stage::Sampling { done, total });
        let seed = derive(request.seed, Purpose::Sample, index as u64);
        let part = model.sample(&request.part(done, PART.min(total - done), seed))?;
        finite &= bool::try_from(part.isfinite().all())?;
        parts.push(match spec.shape.is_image() {
            true => signed_to_bytes(&part).to_device(Device::Cpu),
            false => spec.on_grids(&part.to_device(Device::Cpu).to_kind(Kind::Double)),
        });
    }
    let seconds = start.elapsed().as_secs_f64();
    observe(Stage::Sampling { done: total, total });
    Ok(Drawn { samples: Tensor::cat(&parts, 0), per_second: total as f64 / seconds.max(1e-9), finite })
}

/// The median time of a call for one sample, after a call that warms up: of as many calls as take a second, from 3 to
/// 20.
pub(super) fn latency(model: &dyn GenerativeModel, request: &SampleRequest) -> Result<Duration> {
    let call = || {
        let start = Instant::now();
        let sample = model.sample(request)?;
        // Waits for the device.
        let _ = sample.to_device(Device::Cpu);
        Ok::<_, Error>(start.elapsed())
    };
    let _ = call()?;
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < 20 && times.iter().sum::<Duration>() < Duration::from_secs(1)) {
        times.push(call()?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}
