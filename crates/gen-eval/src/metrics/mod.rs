//! Metrics: pure functions on tensors, statistics in f64.

mod assignment;
mod classifier;
mod copies;
mod detection;
mod energy;
mod estimate;
mod feature_likelihood;
mod frechet;
mod frechet_limit;
mod kernel;
mod mmd;
mod modes;
mod neighbours;
mod pairs;
mod path;
mod prdc;
mod vendi;
mod wasserstein;

pub use classifier::{
    ClassDistance, ClassHistogram, ClassifierScore, class_histogram_distance, classifier_score,
    histogram_distance,
};
pub use copies::{
    Copied, NearestTrain, NearestTraining, OneNearest, auth_pct, copied_share, nearest_train_test,
    one_nn_accuracy,
};
pub use detection::{auroc, auroc_standard_error, false_positive_rate};
pub use energy::{chamfer_distance, energy_distance, energy_distance_estimate, parzen_log_density};
pub use estimate::{Estimate, block_standard_error, share_standard_error};
pub use feature_likelihood::feature_likelihood_score;
pub use frechet::{Moments, frechet_distance, frechet_distance_of_moments, frechet_standard_error};
pub use frechet_limit::{Extrapolation, extrapolation_sizes, frechet_distance_infinity};
pub use kernel::{
    Subsets, kernel_distance, kernel_distance_estimate, kernel_distance_of_subsets,
    kernel_distance_standard_error, polynomial_kernel,
};
pub use mmd::{Estimator, median_distance, mmd_squared, mmd_squared_estimate, rbf_kernel};
pub use modes::{ModeCoverage, mode_coverage};
pub use neighbours::{nearest, neighbour_radii};
pub use path::{PATH_STEP, path_length};
pub use prdc::{Prdc, PrdcErrors, prdc, prdc_with_radii};
pub use vendi::vendi_score;
pub use wasserstein::{
    SlicedWasserstein, random_directions, sliced_wasserstein, sliced_wasserstein_of_moments,
    wasserstein_exact,
};

use tch::{Device, Kind, Tensor};

use gen_core::{Error, Result};

/// The rows `[n, features]` in f64 on the host, where there are at least `least` and all values are finite.
fn checked(metric: &str, side: &str, x: &Tensor, least: i64) -> Result<Tensor> {
    match x.size()[..] {
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
    }
}

fn same_width(metric: &str, sides: &[(&str, &Tensor)]) -> Result<()> {
    for pair in sides.windows(2) {
        let [(a, x), (b, y)] = pair else { unreachable!("windows of two") };
        let (d, e) = (x.size()[1], y.size()[1]);
        if d != e {
            return Err(Error::invalid(format!("{metric}: {a} rows have {d} features, {b} rows {e}")));
        }
    }
    Ok(())
}

/// Both sets as [`checked`] gives them, of one number of features.
fn checked_pair(metric: &str, real: &Tensor, fake: &Tensor, least: i64) -> Result<(Tensor, Tensor)> {
    let (real, fake) = (checked(metric, "real", real, least)?, checked(metric, "fake", fake, least)?);
    same_width(metric, &[("real", &real), ("fake", &fake)])?;
    Ok((real, fake))
}

fn sum(x: &Tensor) -> f64 {
    x.sum(Kind::Double).double_value(&[])
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// `[n, m]` to `[n]`.
fn row_sums(x: &Tensor) -> Tensor {
    x.sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(x.to_kind(Kind::Double).reshape([-1]))?)
}
