//! Distances between the distributions of samples and of real rows.

use tch::Tensor;

use crate::metrics::{
    Estimator, block_standard_error, energy_distance_estimate, extrapolation_sizes, frechet_distance,
    frechet_distance_infinity, frechet_standard_error, kernel_distance_of_subsets, median_distance,
    mmd_squared_estimate, random_directions, rbf_kernel, sliced_wasserstein, wasserstein_exact,
};
use crate::protocol::comparison::Comparison;
use gen_core::Result;

/// Disjoint blocks of a standard error that has no formula.
const BLOCKS: i64 = 10;
/// Fewest rows of each side in a block.
const LEAST_IN_BLOCK: i64 = 5;
/// Bandwidths of the kernel of the MMD, in medians of the distances between test rows.
const BANDWIDTHS: [f64; 4] = [0.25, 0.5, 1.0, 2.0];
/// Parameter of an MMD of points, which uses all bandwidths.
pub(crate) const MMD_OF_POINTS: &str = "sigma=median/4,/2,1,2";
/// Rows that the median is computed of.
const MEDIAN_ROWS: i64 = 2000;
/// Subsets of the kernel distance, and rows in each, as papers report it.
const SUBSETS: (usize, i64) = (100, 1000);
/// Directions of the sliced Wasserstein distance.
const DIRECTIONS: i64 = 500;
/// Rows of the exact Wasserstein distance, whose cost grows with their cube.
const MATCHED_ROWS: i64 = 1000;
/// Fewest rows per dimension, and fewest rows, for a standard error of a Fréchet distance: a covariance of fewer is
/// mostly noise.
const ROWS_A_DIMENSION: i64 = 5;
const LEAST_ROWS: i64 = 100;

pub(crate) fn fd(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = (sets.real(), sets.fake());
    sets.add("fd", "", frechet_distance(real, fake)?, frechet_error(real, fake)?);
    Ok(())
}

/// Uses sizes above the number of dimensions only: covariances of fewer rows are singular, and the distance is not
/// linear in 1 / size.
pub(crate) fn fd_infinity(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = (sets.real(), sets.fake());
    let sizes = extrapolation_sizes(fake.size()[0]);
    let sizes: Vec<i64> = sizes.into_iter().filter(|size| *size > real.size()[1]).collect();
    if sizes.len() > 2 {
        let line = frechet_distance_infinity(real, fake, &sizes)?;
        let error = enough_rows(real, fake).then_some(line.standard_error);
        sets.add("fd_infinity", &format!("sizes={}", sizes.len()), line.limit, error);
    }
    Ok(())
}

pub(crate) fn kid(sets: &mut Comparison<'_>) -> Result<()> {
    let found = sets.kernel_distance()?;
    sets.add("kid", "", found.value, found.standard_error);
    Ok(())
}

pub(crate) fn kid_subsets(sets: &mut Comparison<'_>) -> Result<()> {
    let (subsets, size) = SUBSETS;
    if sets.smaller() >= size {
        let found = kernel_distance_of_subsets(sets.real(), sets.fake(), subsets, size, 0)?;
        let error = found.standard_error(subsets, sets.kernel_distance()?);
        sets.add("kid_subsets", &format!("{subsets}x{size}"), found.mean, error);
    }
    Ok(())
}

pub(crate) fn sliced_wasserstein_distance(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = (sets.real(), sets.fake());
    let directions = random_directions(real.size()[1], DIRECTIONS, 0);
    let found = sliced_wasserstein(real, fake, &directions)?;
    let few = directions.narrow(0, 0, DIRECTIONS / 10);
    let error = block_error(real, fake, |real, fake| Ok(sliced_wasserstein(real, fake, &few)?.w2))?;
    sets.add("sliced_w2", &format!("directions={DIRECTIONS}"), found.w2, error);
    Ok(())
}

pub(crate) fn wasserstein(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = sets.equal(MATCHED_ROWS);
    let rows = real.size()[0];
    let value = wasserstein_exact(&real, &fake, 2.0)?;
    let error = block_error(&real, &fake, |real, fake| wasserstein_exact(real, fake, 2.0))?;
    sets.add_of("wasserstein2", &format!("n={rows}"), value, error, (rows, rows));
    Ok(())
}

/// Points use Gaussian kernels of several widths, images one of the median distance.
pub(crate) fn mmd(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = (sets.real(), sets.fake());
    // The median is of real rows, so that all models are compared under the same kernel.
    let median = median_distance(&real.narrow(0, 0, real.size()[0].min(MEDIAN_ROWS)))?;
    let (factors, parameter) = match sets.has_points() {
        true => (&BANDWIDTHS[..], MMD_OF_POINTS),
        false => (&BANDWIDTHS[2..3], "sigma=median"),
    };
    let sigmas: Vec<f64> = factors.iter().map(|factor| factor * median).collect();
    if median > 0.0 {
        let found = mmd_squared_estimate(real, fake, rbf_kernel(&sigmas), Estimator::Unbiased)?;
        sets.add("mmd", parameter, found.value, found.standard_error);
    }
    Ok(())
}

pub(crate) fn energy_distance(sets: &mut Comparison<'_>) -> Result<()> {
    let found = energy_distance_estimate(sets.real(), sets.fake())?;
    sets.add("energy_distance", "", found.value, found.standard_error);
    Ok(())
}

/// The standard error of a Fréchet distance; `None` for too few rows.
pub(super) fn frechet_error(real: &Tensor, fake: &Tensor) -> Result<Option<f64>> {
    enough_rows(real, fake).then(|| frechet_standard_error(real, fake)).transpose()
}

/// Whether the standard error of a Fréchet distance of these rows is reliable.
fn enough_rows(real: &Tensor, fake: &Tensor) -> bool {
    let rows = real.size()[0].min(fake.size()[0]);
    rows >= LEAST_ROWS.max(ROWS_A_DIMENSION * real.size()[1])
}

/// The standard error by disjoint blocks; `None` for too few rows.
pub(super) fn block_error(
    real: &Tensor,
    fake: &Tensor,
    metric: impl Fn(&Tensor, &Tensor) -> Result<f64>,
) -> Result<Option<f64>> {
    let enough = real.size()[0].min(fake.size()[0]) / BLOCKS >= LEAST_IN_BLOCK;
    enough.then(|| block_standard_error(real, fake, BLOCKS, metric)).transpose()
}
