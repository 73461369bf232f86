use tch::{Kind, Tensor};

use super::mmd::{Estimator, mmd_squared};
use crate::error::{Error, Result};

/// (⟨a, b⟩ / d + 1)³ for rows of `d` features: the kernel of the kernel distance.
pub fn polynomial_kernel(a: &Tensor, b: &Tensor) -> Tensor {
    (a.matmul(&b.tr()) / a.size()[1] as f64 + 1.0).pow_tensor_scalar(3)
}

/// The kernel (Inception) distance, KID: the unbiased MMD² under [`polynomial_kernel`] (Bińkowski et al. 2018),
/// over the whole sets rather than over random subsets of them.
///
/// It is negative about as often as positive when both sets are of one distribution.
///
/// ```
/// use gen_core::eval::{kernel_distance, kernel_distance_standard_error};
/// use tch::{Device, Kind, Tensor};
///
/// let (a, b) = (Tensor::randn([500, 4], (Kind::Float, Device::Cpu)), Tensor::randn([500, 4], (Kind::Float, Device::Cpu)));
/// let error = kernel_distance_standard_error(&a, &b, 50).unwrap();
/// assert!(kernel_distance(&a, &b).unwrap().abs() < 10.0 * error);
/// ```
///
/// # Errors
/// When a set has fewer than two rows, the numbers of features differ, or a value is not finite.
pub fn kernel_distance(real: &Tensor, fake: &Tensor) -> Result<f64> {
    mmd_squared(real, fake, polynomial_kernel, Estimator::Unbiased)
}

/// The standard error of the mean of the kernel distances of disjoint blocks of `block` rows, in the order of the
/// rows. The distance of whole sets varies somewhat less than that mean.
///
/// # Errors
/// As [`kernel_distance`], and when there are fewer than two blocks or a block has fewer than two rows.
pub fn kernel_distance_standard_error(real: &Tensor, fake: &Tensor, block: i64) -> Result<f64> {
    let rows = real.size()[0].min(fake.size()[0]);
    let blocks = rows / block.max(1);
    if block < 2 || blocks < 2 {
        return Err(Error::invalid(format!(
            "{rows} rows do not make two blocks of {block} rows, at least 2"
        )));
    }
    let values = (0..blocks)
        .map(|i| kernel_distance(&real.narrow(0, i * block, block), &fake.narrow(0, i * block, block)))
        .collect::<Result<Vec<_>>>()?;
    let values = Tensor::from_slice(&values).to_kind(Kind::Double);
    Ok(values.std(true).double_value(&[]) / (blocks as f64).sqrt())
}
