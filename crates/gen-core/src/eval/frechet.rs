use tch::{Kind, Tensor};

use super::checked_pair;
use crate::error::Result;

/// The Fréchet distance of two Gaussians with the means and covariances of `real` and `fake`, `[n, features]`:
/// `|μ_r - μ_f|² + Tr Σ_r + Tr Σ_f - 2 Tr (Σ_r Σ_f)^½` (Heusel et al. 2017, equation 6), covariances with `n - 1`.
///
/// No covariance is formed. With the centred rows over `√(n - 1)` factored as `Q R`, the last trace is the sum of
/// the singular values of `R_r R_fᵀ`: real, not negative, and exact for singular covariances and `n` below the
/// number of features, where the root of the product of the covariances loses half of its digits.
///
/// ```
/// use gen_core::eval::frechet_distance;
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([100, 8], (Kind::Float, Device::Cpu));
/// let distance = frechet_distance(&real, &(&real + 0.25)).unwrap();
/// assert!((distance - 8.0 * 0.25 * 0.25).abs() < 1e-6);
/// ```
///
/// # Errors
/// When a set has fewer than two rows, the numbers of features differ, or a value is not finite.
pub fn frechet_distance(real: &Tensor, fake: &Tensor) -> Result<f64> {
    let (real, fake) = checked_pair("the Fréchet distance", real, fake, 2)?;
    let (real_mean, real_factor) = mean_and_factor(&real)?;
    let (fake_mean, fake_factor) = mean_and_factor(&fake)?;
    let sum = |x: &Tensor| x.sum(Kind::Double).double_value(&[]);
    let means = sum(&(real_mean - fake_mean).square());
    let traces = sum(&real_factor.square()) + sum(&fake_factor.square());
    let product = real_factor.f_matmul(&fake_factor.tr())?;
    let (_, singular_values, _) = product.f_svd(true, false)?;
    let root = sum(&singular_values);
    // Never negative but for rounding.
    Ok((means + traces - 2.0 * root).max(0.0))
}

/// The mean and `R` with `Rᵀ R = Σ`.
fn mean_and_factor(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let mean = x.mean_dim(0, true, Kind::Double);
    let centred = (x - &mean) / (x.size()[0] as f64 - 1.0).sqrt();
    let (_, r) = Tensor::f_linalg_qr(&centred, "r")?;
    Ok((mean, r))
}
