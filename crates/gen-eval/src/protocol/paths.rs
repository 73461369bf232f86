//! How smoothly samples follow their codes.

use tch::Tensor;

use super::{Measured, Protocol, Stage};
use crate::measurement::{Direction, Measurement};
use crate::{Metric, PATH_STEP, path_length};
use gen_core::Result;
use gen_core::model::Latent;
use gen_core::rng::{Purpose, derive};

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
            let mut finite = true;
            let mut features = |codes: &Tensor| {
                let decoded = latent.decode(codes)?;
                let features = space.embed(&decoded)?.features;
                finite &= bool::try_from(features.isfinite().all())?;
                Ok(features.nan_to_num(0.0, 0.0, 0.0))
            };
            let way = latent.interpolation();
            let found = path_length(&start, &end, way, PATH_STEP, self.options.seed, &mut features)?;
            let metric = "path_length";
            measured.metrics.push(Measurement {
                metric: metric.to_owned(),
                space: space.name(),
                parameter: format!("step={PATH_STEP}"),
                value: if finite { found.value } else { f64::NAN },
                standard_error: found.standard_error.filter(|error| finite && error.is_finite()),
                floor: None,
                n_real: 0,
                n_fake: PAIRS,
                direction: Direction::of(metric),
            });
        }
        Ok(())
    }
}
