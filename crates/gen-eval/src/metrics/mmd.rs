//! The maximum mean discrepancy.

use tch::{Kind, Tensor};

use super::estimate::Estimate;
use super::pairs::{PairSums, standard_error};
use super::rows::{checked_pair, distances};
use gen_core::{Error, Result};

/// Side of the tiles in which a kernel matrix is summed, small enough for the cache.
const TILE: i64 = 512;

/// An estimator of the squared maximum mean discrepancy (Gretton et al. 2012), by the entries of the kernel matrices in
/// its three means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimator {
    /// Excludes the diagonals of the two kernel matrices within a set. The result can be negative.
    Unbiased,
    /// Also excludes the diagonal of the matrix between the sets, which pairs row `i` with row `i`. The sets must have
    /// the same size. The result can be negative.
    UStatistic,
    /// Includes all entries: the squared distance of two mean embeddings, never negative.
    Biased,
}

/// The squared maximum mean discrepancy of `real` and `fake`, `[n, features]`:
/// `MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y)`. It is 0 for equal distributions if the kernel is characteristic;
/// lower is better. `kernel` maps `[n, features]` and `[m, features]` to `[n, m]`, and is called for blocks of rows.
///
/// # Errors
/// When a set has fewer than two rows (is empty, for [`Estimator::Biased`]), the numbers of features differ, a value is
/// not finite, or a U-statistic of sets of different sizes is asked for.
pub fn mmd_squared(
    real: &Tensor,
    fake: &Tensor,
    kernel: impl Fn(&Tensor, &Tensor) -> Tensor,
    estimator: Estimator,
) -> Result<f64> {
    Ok(mmd_squared_estimate(real, fake, kernel, estimator)?.value)
}

/// [`mmd_squared`] with its standard error over draws of both sets: the root of the variance of a two-sample
/// U-statistic to second order. It is valid for equal distributions too, and unknown for fewer than 4 rows in a set.
///
/// ```
/// use gen_eval::{Estimator, mmd_squared_estimate, rbf_kernel};
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([300, 2], (Kind::Float, Device::Cpu));
/// let sigmas = [1.0];
/// let found = mmd_squared_estimate(&normal(), &normal(), rbf_kernel(&sigmas), Estimator::Unbiased).unwrap();
/// assert!(found.value.abs() < 6.0 * found.standard_error.unwrap());
/// ```
///
/// # Errors
/// As [`mmd_squared`].
pub fn mmd_squared_estimate(
    real: &Tensor,
    fake: &Tensor,
    kernel: impl Fn(&Tensor, &Tensor) -> Tensor,
    estimator: Estimator,
) -> Result<Estimate> {
    let least = if estimator == Estimator::Biased { 1 } else { 2 };
    let (real, fake) = checked_pair("the kernel distance", real, fake, least)?;
    let (n, m) = (real.size()[0] as f64, fake.size()[0] as f64);
    if estimator == Estimator::UStatistic && n != m {
        return Err(Error::invalid(format!("a U-statistic pairs the rows: found {n} real and {m} fake")));
    }
    let of_real = sums(&real, None, &kernel);
    let of_fake = sums(&fake, None, &kernel);
    let both = sums(&real, Some(&fake), &kernel);
    let within = |sums: &Sums, n: f64| match estimator {
        Estimator::Biased => (sums.off_diagonal + sums.diagonal) / (n * n),
        _ => sums.off_diagonal / (n * (n - 1.0)),
    };
    let between = match estimator {
        Estimator::UStatistic => both.off_diagonal / (n * (n - 1.0)),
        _ => (both.off_diagonal + both.diagonal) / (n * m),
    };
    Ok(Estimate {
        value: within(&of_real, n) + within(&of_fake, m) - 2.0 * between,
        standard_error: standard_error(&of_real.pairs, &of_fake.pairs, &both.pairs)?,
    })
}

/// Sums of a kernel matrix.
struct Sums {
    off_diagonal: f64,
    diagonal: f64,
    /// Without the diagonal, if the matrix is of one set.
    pairs: PairSums,
}

/// The sums of the kernel matrix of `a` and `b`, or of `a` with itself, which is symmetric, so half of its tiles
/// suffice.
fn sums(a: &Tensor, b: Option<&Tensor>, kernel: impl Fn(&Tensor, &Tensor) -> Tensor) -> Sums {
    let tiles = |x: &Tensor| x.split(TILE, 0);
    let rows = tiles(a);
    let columns = b.map(tiles);
    let sum = |x: &Tensor| x.sum(Kind::Double).double_value(&[]);
    let zeros = |x: &Tensor| Tensor::zeros([x.size()[0]], (Kind::Double, x.device()));
    let add = |to: &Tensor, tile: usize, values: &Tensor| {
        let _ = to.narrow(0, tile as i64 * TILE, values.size()[0]).g_add_(values);
    };
    let over = |tile: &Tensor, axis: i64| tile.sum_dim_intlist([axis].as_slice(), false, Kind::Double);
    let (mut off_diagonal, mut diagonal, mut squares) = (0.0, 0.0, 0.0);
    let (by_first, by_second) = (zeros(a), zeros(b.unwrap_or(a)));
    for (i, row) in rows.iter().enumerate() {
        let (first, columns, weight) = match &columns {
            Some(columns) => (0, columns, 1.0),
            None => (i, &rows, 2.0),
        };
        for (j, column) in columns.iter().enumerate().skip(first) {
            let mut tile = kernel(row, column);
            if i == j {
                let on = sum(&tile.diagonal(0, 0, 1));
                diagonal += on;
                off_diagonal += sum(&tile) - on;
                if b.is_none() {
                    let _ = tile.fill_diagonal_(0.0, false);
                }
            } else {
                off_diagonal += weight * sum(&tile);
            }
            let weight = if i == j { 1.0 } else { weight };
            squares += weight * sum(&tile.square());
            add(&by_first, i, &over(&tile, 1));
            add(&by_second, j, &over(&tile, 0));
            if b.is_none() && i != j {
                add(&by_first, j, &over(&tile, 0));
                add(&by_second, i, &over(&tile, 1));
            }
        }
    }
    Sums { off_diagonal, diagonal, pairs: PairSums { by_first, by_second, squares } }
}

/// Σ_σ exp(-|a - b|² / 2σ²), a mixture of Gaussian kernels for [`mmd_squared`].
///
/// ```
/// use gen_eval::{Estimator, median_distance, mmd_squared, rbf_kernel};
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([200, 2], (Kind::Float, Device::Cpu));
/// let fake = real.zeros_like();
/// let sigma = median_distance(&real).unwrap();
/// let sigmas = [0.5 * sigma, sigma];
/// let kernel = rbf_kernel(&sigmas);
/// assert!(mmd_squared(&real, &fake, kernel, Estimator::Unbiased).unwrap() > 0.1);
/// ```
pub fn rbf_kernel(sigmas: &[f64]) -> impl Fn(&Tensor, &Tensor) -> Tensor {
    move |a, b| {
        let squared = squared_distances(a, b);
        let mut sum = squared.zeros_like();
        for sigma in sigmas {
            sum += (&squared * (-0.5 / (sigma * sigma))).exp();
        }
        sum
    }
}

/// The median of the distances between different rows of `x`, `[n, features]`, as a bandwidth for [`rbf_kernel`]. Use
/// real data for it, so that all models are compared under the same kernel.
///
/// # Errors
/// When there are fewer than two rows, or a value is not finite.
pub fn median_distance(x: &Tensor) -> Result<f64> {
    let (x, _) = checked_pair("the median distance", x, x, 2)?;
    let n = x.size()[0];
    let upper = Tensor::ones([n, n], (Kind::Bool, x.device())).triu(1);
    let pairs = distances(&x, &x).masked_select(&upper).sort(0, false).0;
    let (middle, count) = (pairs.numel() as i64 / 2, pairs.numel() as i64);
    let at = |i: i64| pairs.double_value(&[i]);
    Ok(if count % 2 == 1 { at(middle) } else { 0.5 * (at(middle - 1) + at(middle)) })
}

/// Number of rows of both sets from which squared distances are computed by matrix products.
const MANY_ROWS: i64 = 256;

/// Squared Euclidean distances `[n, m]`, for sums over many of them. For many rows they come from a matrix product,
/// which is several times as fast. Its error is about 1e-15 of the squared extent of the rows around their mean, for
/// equal rows too.
fn squared_distances(a: &Tensor, b: &Tensor) -> Tensor {
    if a.size()[0].min(b.size()[0]) < MANY_ROWS {
        return distances(a, b).square();
    }
    let middle = a.mean_dim(0, true, a.kind());
    let (a, b) = (a - &middle, b - &middle);
    let norms = |x: &Tensor| x.square().sum_dim_intlist([1i64].as_slice(), true, x.kind());
    let mut squared = a.matmul(&(b.tr() * -2.0));
    squared += norms(&a);
    squared += norms(&b).tr();
    squared.clamp_min_(0.0)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::rng::{Purpose, stream};
    use gen_core::testing::assert_close;

    #[test]
    fn products_and_differences_agree_far_from_the_origin() {
        let rng = stream(1, Purpose::Evaluate, 0);
        let normal = |n: i64| rng.randn([n, 12], (Kind::Double, Device::Cpu)) + 1000.0;
        let (a, b) = (normal(2 * MANY_ROWS), normal(MANY_ROWS));
        assert_close(&squared_distances(&a, &b), &distances(&a, &b).square(), 1e-10, 1e-10);
        let own = squared_distances(&a, &a);
        assert!(own.diagonal(0, 0, 1).max().double_value(&[]) < 1e-11);
        assert!(own.min().double_value(&[]) >= 0.0);
    }
}
