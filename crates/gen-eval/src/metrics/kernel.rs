//! The kernel distance.

use tch::{Kind, Tensor};

use super::estimate::{Estimate, block_standard_error};
use super::mmd::{Estimator, mmd_squared, mmd_squared_estimate};
use super::rows::checked_pair;
use gen_core::rng::{Purpose, permutation};
use gen_core::{Error, Result};

/// The kernel of the kernel distance, `(⟨a, b⟩ / d + 1)³` for rows of `d` features: `[n, d]` and `[m, d]` to `[n, m]`.
pub fn polynomial_kernel(a: &Tensor, b: &Tensor) -> Tensor {
    (a.matmul(&b.tr()) / a.size()[1] as f64 + 1.0).pow_tensor_scalar(3)
}

/// The kernel (inception) distance, KID: the unbiased MMD² under [`polynomial_kernel`] (Bińkowski et al. 2018), over
/// the whole sets rather than over random subsets of them. Lower is better.
///
/// For two sets from the same distribution it is negative about as often as positive.
///
/// ```
/// use gen_eval::{kernel_distance, kernel_distance_standard_error};
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([500, 4], (Kind::Float, Device::Cpu));
/// let (a, b) = (normal(), normal());
/// let error = kernel_distance_standard_error(&a, &b, 50).unwrap();
/// assert!(kernel_distance(&a, &b).unwrap().abs() < 10.0 * error);
/// ```
///
/// # Errors
/// When a set has fewer than two rows, the numbers of features differ, or a value is not finite.
pub fn kernel_distance(real: &Tensor, fake: &Tensor) -> Result<f64> {
    mmd_squared(real, fake, polynomial_kernel, Estimator::Unbiased)
}

/// [`kernel_distance`] with its standard error over draws of both sets, like [`mmd_squared_estimate`].
///
/// # Errors
/// As [`kernel_distance`].
pub fn kernel_distance_estimate(real: &Tensor, fake: &Tensor) -> Result<Estimate> {
    mmd_squared_estimate(real, fake, polynomial_kernel, Estimator::Unbiased)
}

/// The standard error of the mean of the kernel distances of disjoint blocks of `block` consecutive rows. The distance
/// of whole sets varies less than that mean; its standard error is that of [`kernel_distance_estimate`].
///
/// # Errors
/// As [`kernel_distance`], and when there are fewer than two blocks or a block has fewer than two rows.
pub fn kernel_distance_standard_error(real: &Tensor, fake: &Tensor, block: i64) -> Result<f64> {
    let rows = real.size()[0].min(fake.size()[0]);
    let blocks = rows / block.max(1);
    if block < 2 || blocks < 2 {
        return Err(Error::invalid(format!("{rows} rows do not make two blocks of {block} rows, at least 2")));
    }
    block_standard_error(
        &real.narrow(0, 0, blocks * block),
        &fake.narrow(0, 0, blocks * block),
        blocks,
        kernel_distance,
    )
}

/// A metric on random subsets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subsets {
    /// The mean over the subsets.
    pub mean: f64,
    /// The standard deviation over the subsets, with their number `n` in the denominator, as papers print it beside the
    /// mean. Subsets share rows, so neither it nor its quotient by `√n` is the standard error of the mean.
    pub std: f64,
}

impl Subsets {
    /// The standard error of the mean of `subsets` subsets, from the estimate for the `whole` sets: the mean varies
    /// with the sets as that does, and with the choice of subsets.
    pub fn standard_error(self, subsets: usize, whole: Estimate) -> Option<f64> {
        Some(whole.standard_error?.hypot(self.std / (subsets as f64).sqrt()))
    }
}

/// [`kernel_distance`] as most papers report it: over `subsets` random subsets of `size` rows of each set, each drawn
/// without replacement (100 of 1000 in Bińkowski et al. 2018, section 4). [`kernel_distance`] itself is the better
/// estimate.
///
/// ```
/// use gen_eval::kernel_distance_of_subsets;
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([500, 4], (Kind::Float, Device::Cpu));
/// let (a, b) = (normal(), normal());
/// let found = kernel_distance_of_subsets(&a, &b, 20, 100, 0).unwrap();
/// assert!(found.mean.abs() < 4.0 * found.std);
/// ```
///
/// # Errors
/// As [`kernel_distance`], and when there is no subset, or a subset has more rows than a set or fewer than two.
pub fn kernel_distance_of_subsets(
    real: &Tensor,
    fake: &Tensor,
    subsets: usize,
    size: i64,
    seed: u64,
) -> Result<Subsets> {
    let (real, fake) = checked_pair("the kernel distance", real, fake, 2)?;
    for (side, x) in [("real", &real), ("fake", &fake)] {
        if size > x.size()[0] {
            return Err(Error::invalid(format!(
                "the kernel distance: a subset of {size} rows is larger than the {} {side} rows",
                x.size()[0]
            )));
        }
    }
    if subsets == 0 || size < 2 {
        return Err(Error::invalid(format!(
            "the kernel distance needs a subset of two rows or more, found {subsets} of {size} rows"
        )));
    }
    let draw = |x: &Tensor, index: usize| {
        let mut order = permutation(x.size()[0] as usize, seed, Purpose::Evaluate, index as u64);
        order.truncate(size as usize);
        x.index_select(0, &Tensor::from_slice(&order))
    };
    let distances = (0..subsets)
        .map(|i| kernel_distance(&draw(&real, 2 * i), &draw(&fake, 2 * i + 1)))
        .collect::<Result<Vec<f64>>>()?;
    let distances = Tensor::from_slice(&distances);
    Ok(Subsets { mean: distances.mean(Kind::Double).double_value(&[]), std: distances.std(false).double_value(&[]) })
}
