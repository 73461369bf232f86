//! How smoothly samples follow their codes.

use tch::{Kind, Tensor};

use super::{Measured, Protocol, Stage};
use crate::error::Result;
use crate::eval::measurement::{Measurement, higher_is_better};
use crate::eval::{Metric, PATH_STEP, path_length};
use crate::model::Latent;
use crate::rng::{Purpose, derive};

/// Pairs of codes.
const PAIRS: usize = 200;

impl Protocol<'_> {
    /// The path length in every space, between codes as sampling draws them.
    pub(super) fn path_lengths(
        &self,
        latent: &dyn Latent,
        measured: &mut Measured,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<()> {
        let codes = |index| latent.prior(PAIRS, derive(self.options.seed, Purpose::Evaluate, index));
        let (start, end) = (codes(1)?, codes(2)?);
        for space in &self.spaces {
            let metric = Metric::PathLength;
            observe(Stage::Comparing { space: space.name(), metric, floor: false, done: 0, total: 1 });
            let mut features = |codes: &Tensor| {
                let decoded = latent.decode(codes)?.to_kind(Kind::Float);
                Ok(space.embed(&decoded)?.features)
            };
            let way = latent.interpolation();
            let found = path_length(&start, &end, way, PATH_STEP, self.options.seed, &mut features)?;
            if found.value.is_finite() {
                let metric = "path_length";
                measured.metrics.push(Measurement {
                    metric: metric.to_owned(),
                    space: space.name(),
                    parameter: format!("step={PATH_STEP}"),
                    value: found.value,
                    standard_error: found.standard_error.filter(|error| error.is_finite()),
                    floor: None,
                    n_real: 0,
                    n_fake: PAIRS,
                    higher_is_better: higher_is_better(metric),
                });
            }
        }
        Ok(())
    }
}
