//! The Fréchet distance.

use tch::{Device, Kind, Tensor};

use super::rows::{checked, checked_pair, mean, row_sums, same_width, sum};
use gen_core::{Error, Result};

/// The Fréchet distance of two Gaussians with the means and covariances of `real` and `fake`, `[n, features]`:
/// `|μ_r - μ_f|² + Tr Σ_r + Tr Σ_f - 2 Tr (Σ_r Σ_f)^½` (Heusel et al. 2017, equation 6). Covariances have `n - 1` in
/// the denominator. The range is 0 to infinity, in squared units of the features; lower is better.
///
/// No covariance is formed. The centred rows over `√(n - 1)` are factored as `Q R`. The last trace is then the sum of
/// the singular values of `R_r R_fᵀ`, which is real and not negative. It is exact for singular covariances, and for `n`
/// below the number of features, where the root of the product of the covariances loses half of its digits.
///
/// ```
/// use gen_eval::frechet_distance;
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
    between(&mean_and_factor(&real)?, &mean_and_factor(&fake)?)
}

/// A mean, `[1, features]`, and a factor `R` of the covariance with `Rᵀ R = Σ`.
pub(super) struct Factored {
    mean: Tensor,
    factor: Tensor,
}

pub(super) fn between(real: &Factored, fake: &Factored) -> Result<f64> {
    let means = sum(&(&real.mean - &fake.mean).square());
    let traces = sum(&real.factor.square()) + sum(&fake.factor.square());
    let product = real.factor.f_matmul(&fake.factor.tr())?;
    let (_, singular_values, _) = product.f_svd(true, false)?;
    let root = sum(&singular_values);
    // Negative by rounding alone.
    Ok((means + traces - 2.0 * root).max(0.0))
}

pub(super) fn mean_and_factor(x: &Tensor) -> Result<Factored> {
    let mean = x.mean_dim(0, true, Kind::Double);
    let centred = (x - &mean) / (x.size()[0] as f64 - 1.0).sqrt();
    let (_, factor) = Tensor::f_linalg_qr(&centred, "r")?;
    Ok(Factored { mean, factor })
}

/// The mean and the covariance of a set of features, as files of statistics hold them.
#[derive(Debug)]
pub struct Moments {
    /// `f64 [features]`
    pub mean: Tensor,
    /// `f64 [features, features]`, with `n - 1` in the denominator
    pub covariance: Tensor,
    /// Number of rows.
    pub n: i64,
}

impl Moments {
    /// The moments of rows `x: [n, features]`, in two passes.
    ///
    /// # Errors
    /// When there are fewer than two rows, or a value is not finite.
    pub fn of(x: &Tensor) -> Result<Self> {
        let x = checked("a covariance", "real", x, 2)?;
        let n = x.size()[0];
        let mean = x.mean_dim(0, false, Kind::Double);
        let centred = x - &mean;
        let covariance = centred.tr().matmul(&centred) / (n - 1) as f64;
        Ok(Moments { mean, covariance, n })
    }

    /// Factors the covariance by its eigenvalues. Eigenvalues below the rounding of the largest count as 0.
    fn factored(&self) -> Result<Factored> {
        let (d, width) = (self.mean.size(), self.covariance.size());
        let [d] = d[..] else {
            return Err(Error::invalid(format!("the mean of features should be [features], found {d:?}")));
        };
        if width != [d, d] {
            return Err(Error::invalid(format!(
                "the covariance of {d} features should be [{d}, {d}], found {width:?}"
            )));
        }
        let host = |x: &Tensor| x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
        let (mean, covariance) = (host(&self.mean), host(&self.covariance));
        if !bool::try_from(mean.isfinite().all().logical_and(&covariance.isfinite().all()))? {
            return Err(Error::invalid("the stored moments of features are not all finite"));
        }
        let spectrum = Spectrum::of(&covariance)?;
        let factor = spectrum.vectors.tr() * spectrum.values.sqrt().unsqueeze(1);
        Ok(Factored { mean: mean.unsqueeze(0), factor })
    }
}

/// [`frechet_distance`] of sets whose moments alone are known.
///
/// The covariances are factored by their eigenvalues. The result has fewer digits only if the covariances already had.
///
/// ```
/// use gen_eval::{Moments, frechet_distance, frechet_distance_of_moments};
/// use tch::{Device, Kind, Tensor};
///
/// let normal = |n| Tensor::randn([n, 8], (Kind::Float, Device::Cpu));
/// let (real, fake) = (normal(100), normal(90));
/// let stored = Moments::of(&real).unwrap();
/// let distance = frechet_distance_of_moments(&stored, &Moments::of(&fake).unwrap()).unwrap();
/// assert!((distance - frechet_distance(&real, &fake).unwrap()).abs() < 1e-9);
/// ```
///
/// # Errors
/// When the numbers of features differ, a shape is wrong or a value is not finite.
pub fn frechet_distance_of_moments(real: &Moments, fake: &Moments) -> Result<f64> {
    let (real, fake) = (real.factored()?, fake.factored()?);
    same_width("the Fréchet distance", &[("real", &real.mean), ("fake", &fake.mean)])?;
    between(&real, &fake)
}

/// The eigenvalues and eigenvectors of a positive semidefinite matrix.
struct Spectrum {
    /// `[d]`, exactly 0 for values below the rounding of the largest.
    values: Tensor,
    /// `[d, d]`, an eigenvector per column.
    vectors: Tensor,
}

impl Spectrum {
    fn of(matrix: &Tensor) -> Result<Self> {
        let (values, vectors) = matrix.f_linalg_eigh("L")?;
        let least = values.max() * (values.numel() as f64 * f64::EPSILON);
        let values = values.where_self(&values.gt_tensor(&least), &values.zeros_like());
        Ok(Spectrum { values, vectors })
    }

    /// A power of the matrix on the span of the eigenvectors with nonzero eigenvalues.
    fn power(&self, exponent: f64) -> Tensor {
        let powers = self.values.pow_tensor_scalar(exponent);
        let powers = powers.where_self(&self.values.gt(0.0), &self.values.zeros_like());
        (&self.vectors * powers).matmul(&self.vectors.tr())
    }
}

/// The standard error of [`frechet_distance`] over draws of both sets, by the delta method, in `O(n d² + d³)`.
///
/// To first order the distance changes by the mean of its influence function over the rows. For a fake row `y` it is
/// `2 (μ_f - μ_r)·(y - μ_f) + (y - μ_f)ᵀ (I - T) (y - μ_f) - Tr (I - T) Σ_f`, where `T` is the optimal transport map
/// from the fake Gaussian to the real one (derivatives by the covariances: Rippl, Munk and Sturm 2016). For a real row
/// the roles are swapped. Directions without variance are excluded.
///
/// The error excludes the bias, which is about `(d (d + 1) / 2 + 2 d) / n`; see
/// [`frechet_distance_infinity`](crate::frechet_distance_infinity). Where the distance is all bias the first order
/// vanishes, and the error has the right magnitude only.
///
/// ```
/// use gen_eval::{frechet_distance, frechet_standard_error};
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([1000, 2], (Kind::Float, Device::Cpu));
/// let (real, fake) = (normal(), normal() + 1.0);
/// let error = frechet_standard_error(&real, &fake).unwrap();
/// assert!((frechet_distance(&real, &fake).unwrap() - 2.0).abs() < 6.0 * error);
/// ```
///
/// # Errors
/// As [`frechet_distance`].
pub fn frechet_standard_error(real: &Tensor, fake: &Tensor) -> Result<f64> {
    let (real, fake) = checked_pair("the Fréchet distance", real, fake, 2)?;
    let (real, fake) = influences(&real, &fake)?;
    let variance = |x: &Tensor| mean(&x.square()) / (x.numel() as f64 - 1.0);
    Ok((variance(&real) + variance(&fake)).sqrt())
}

/// The influence of each real row, `[n]`, and of each fake row, `[m]`; both have mean 0.
pub(super) fn influences(real: &Tensor, fake: &Tensor) -> Result<(Tensor, Tensor)> {
    let side = |x: &Tensor| {
        let mean = x.mean_dim(0, true, Kind::Double);
        let centred = x - &mean;
        let covariance = centred.tr().matmul(&centred) / (x.size()[0] as f64 - 1.0);
        (mean, centred, covariance)
    };
    let (real_mean, real_centred, real_covariance) = side(real);
    let (fake_mean, fake_centred, fake_covariance) = side(fake);
    let influence = |centred: &Tensor, away: &Tensor, from: &Tensor, to: &Tensor| -> Result<Tensor> {
        let curvature = Tensor::eye(from.size()[0], (Kind::Double, from.device())) - transport(from, to)?;
        let quadratic = row_sums(&(centred.matmul(&curvature) * centred));
        let influence = quadratic + centred.matmul(&away.tr()).squeeze_dim(1) * 2.0;
        let middle = influence.mean(Kind::Double);
        Ok(influence - middle)
    };
    let away = fake_mean - real_mean;
    Ok((
        influence(&real_centred, &-&away, &real_covariance, &fake_covariance)?,
        influence(&fake_centred, &away, &fake_covariance, &real_covariance)?,
    ))
}

/// The optimal transport map from a Gaussian with covariance `from` to one with covariance `to`:
/// `to^½ (to^½ from to^½)^-½ to^½`.
fn transport(from: &Tensor, to: &Tensor) -> Result<Tensor> {
    let root = Spectrum::of(to)?.power(0.5);
    let inner = Spectrum::of(&root.matmul(from).matmul(&root))?.power(-0.5);
    Ok(root.matmul(&inner).matmul(&root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::rng::{Purpose, stream};
    use gen_core::testing::{assert_close, assert_close_f64};

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    fn spread(x: &[f64]) -> f64 {
        Tensor::from_slice(x).std(true).double_value(&[])
    }

    #[test]
    fn transport_takes_one_covariance_to_the_other() {
        let covariance = |seed| Moments::of(&normal(50, 6, seed)).unwrap().covariance;
        let (a, b) = (covariance(1), covariance(2));
        let map = transport(&a, &b).unwrap();
        assert_close(&map.matmul(&a).matmul(&map), &b, 1e-10, 1e-12);
        assert_close(&map, &map.tr(), 0.0, 1e-12);
    }

    #[test]
    fn influence_is_the_derivative_by_weight() {
        // A row that comes once more moves the distance by its influence over the new number of rows.
        let (real, fake) = (normal(3000, 3, 3), normal(2000, 3, 4) * 1.4 + 0.3);
        let before = frechet_distance(&real, &fake).unwrap();
        let (of_real, of_fake) = influences(&real, &fake).unwrap();
        assert_close_f64(mean(&of_real), 0.0, 0.0, 1e-12);
        for row in [0, 7, 100] {
            let more = |x: &Tensor| Tensor::cat(&[x, &x.narrow(0, row, 1)], 0);
            let moved = (frechet_distance(&more(&real), &fake).unwrap() - before) * 3001.0;
            assert_close_f64(moved, of_real.double_value(&[row]), 0.03, 0.03);
            let moved = (frechet_distance(&real, &more(&fake)).unwrap() - before) * 2001.0;
            assert_close_f64(moved, of_fake.double_value(&[row]), 0.03, 0.03);
        }
    }

    #[test]
    fn of_equal_distributions_the_error_has_the_right_size() {
        let draws: Vec<(f64, f64)> = (0..40)
            .map(|i| {
                let (real, fake) = (normal(500, 8, 300 + 2 * i), normal(500, 8, 301 + 2 * i));
                (frechet_distance(&real, &fake).unwrap(), frechet_standard_error(&real, &fake).unwrap())
            })
            .collect();
        let found = spread(&draws.iter().map(|draw| draw.0).collect::<Vec<f64>>());
        let stated = draws.iter().map(|draw| draw.1).sum::<f64>() / 40.0;
        assert!(found < 2.0 * stated && stated < 3.0 * found, "spread {found}, stated {stated}");
    }

    #[test]
    fn singular_covariances_have_an_error() {
        let (real, fake) = (normal(6, 8, 5), normal(6, 8, 6));
        assert!(frechet_standard_error(&real, &fake).unwrap().is_finite());
        let constant = real.ones_like();
        assert_eq!(frechet_standard_error(&constant, &constant).unwrap(), 0.0);
    }

    #[test]
    fn impossible_input_is_explained() {
        let (a, b) = (normal(10, 3, 9), normal(10, 3, 10));
        let moments = Moments::of(&a).unwrap();
        let wrong =
            Moments { covariance: Tensor::zeros([3, 2], (Kind::Double, Device::Cpu)), ..Moments::of(&b).unwrap() };
        assert_eq!(
            frechet_distance_of_moments(&moments, &wrong).unwrap_err().to_string(),
            "the covariance of 3 features should be [3, 3], found [3, 2]"
        );
        let narrow = Moments::of(&b.narrow(1, 0, 2)).unwrap();
        assert_eq!(
            frechet_distance_of_moments(&moments, &narrow).unwrap_err().to_string(),
            "the Fréchet distance: real rows have 3 features, fake rows 2"
        );
    }
}
