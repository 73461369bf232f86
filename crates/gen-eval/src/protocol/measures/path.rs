//! How smoothly samples follow their latents.

use tch::Tensor;

use crate::metrics::{PATH_STEP, path_length};
use crate::protocol::found::Found;
use crate::protocol::real::RealRows;
use gen_core::Result;
use gen_core::model::Latent;
use gen_core::rng::{Purpose, derive};

/// Pairs of latents.
const PAIRS: usize = 200;

/// The path length in one space, between latents of the prior.
pub(crate) fn length(latent: &dyn Latent, rows: &RealRows<'_>, seed: u64) -> Result<Found> {
    let prior = |index| latent.prior(PAIRS, derive(seed, Purpose::Evaluate, index));
    let (start, end) = (prior(1)?, prior(2)?);
    let mut finite = true;
    let mut features = |latents: &Tensor| {
        let decoded = latent.decode(latents)?;
        let features = rows.embed(&decoded, &mut |_| ())?.features;
        finite &= bool::try_from(features.isfinite().all())?;
        Ok(features.nan_to_num(0.0, 0.0, 0.0))
    };
    let found = path_length(&start, &end, latent.interpolation(), PATH_STEP, seed, &mut features)?;
    let value = if finite { found.value } else { f64::NAN };
    Ok(Found::new("path_length", &format!("step={PATH_STEP}"), value, found.standard_error, (0, PAIRS)))
}
