//! Metrics: pure functions on feature tensors, statistics in f64; the feature spaces; the protocol.
//!
//! Every metric takes `real` and `fake`, in this order, as `[n, features]` of any floating-point kind; the rows of
//! the two may differ in number. [`Protocol`] puts them together to one row of a report, an [`Evaluation`].

mod axes;
mod evaluation;
pub mod features;
mod frechet;
mod gaussian;
mod kernel;
mod mmd;
mod modes;
mod neighbours;
mod protocol;
mod reference;

pub use evaluation::Evaluation;
pub use features::FeatureSpace;
pub use frechet::frechet_distance;
pub use gaussian::Gaussian;
pub use kernel::{kernel_distance, kernel_distance_standard_error, polynomial_kernel};
pub use mmd::{Estimator, median_distance, mmd_squared, rbf_kernel};
pub use modes::{ModeCoverage, mode_coverage};
pub use neighbours::{Prdc, neighbour_radii, prdc};
pub use protocol::{EvaluateOptions, Evaluated, Protocol, Stage};
pub use reference::Reference;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Both sets in f64 on the host, where each has at least `least` rows and all values are finite.
fn checked_pair(metric: &str, real: &Tensor, fake: &Tensor, least: i64) -> Result<(Tensor, Tensor)> {
    let check = |side: &str, x: &Tensor| match x.size()[..] {
        [n, d] if n >= least && d >= 1 => {
            let x = x.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
            if !bool::try_from(x.isfinite().all())? {
                return Err(Error::invalid(format!("{metric}: the {side} features are not all finite")));
            }
            Ok(x)
        }
        _ => Err(Error::invalid(format!(
            "{metric} needs at least {least} {side} rows as [n, features]; found {:?}",
            x.size()
        ))),
    };
    let (real, fake) = (check("real", real)?, check("fake", fake)?);
    if real.size()[1] != fake.size()[1] {
        return Err(Error::invalid(format!(
            "{metric}: real rows have {} features, fake rows {}",
            real.size()[1],
            fake.size()[1]
        )));
    }
    Ok((real, fake))
}
