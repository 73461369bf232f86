//! The Gaussian reference.

use std::f64::consts::PI;

use tch::{Kind, Tensor};

use super::axes::{PrincipalAxes, rows};
use gen_core::rng::{Purpose, stream};
use gen_core::{Error, Result};

/// The Gaussian with the mean and the full covariance of a training set.
pub struct Gaussian {
    axes: PrincipalAxes,
}

impl Gaussian {
    /// Fits the rows of `train: [n, ...]`.
    ///
    /// # Errors
    /// When there are fewer than two rows.
    pub fn fit(train: &Tensor) -> Result<Self> {
        Ok(Gaussian { axes: PrincipalAxes::if_any(train)? })
    }

    /// Whether the covariance is singular, so that there is no density without noise.
    pub fn is_singular(&self) -> bool {
        let size = self.axes.directions.size();
        size[1] < size[0]
    }

    /// `n` samples `f64 [n, dimensions]`.
    pub fn sample(&self, n: usize, seed: u64) -> Tensor {
        let PrincipalAxes { mean, variances, directions } = &self.axes;
        let size = [n as i64, variances.numel() as i64];
        let z = stream(seed, Purpose::Sample, 0).randn(size, (Kind::Double, variances.device()));
        (z * variances.sqrt()).matmul(&directions.tr()) + mean
    }

    /// log p of each row of `x: [n, ...]`, in nats: `f64 [n]`. Independent noise of variance `noise` is added to every
    /// dimension of the distribution.
    ///
    /// # Errors
    /// When the covariance is singular and there is no noise, or the dimensions differ.
    pub fn log_prob(&self, x: &Tensor, noise: f64) -> Result<Tensor> {
        let PrincipalAxes { mean, variances, directions } = &self.axes;
        let [dimensions, axes] = directions.size()[..] else { unreachable!("a matrix has two sizes") };
        let others = (dimensions - axes) as f64;
        if noise <= 0.0 && others > 0.0 {
            return Err(Error::invalid("the covariance of the training data is singular: there is no density"));
        }
        let x = rows(x);
        let centred = x.f_sub(mean)?;
        let sum = |x: &Tensor| x.sum_dim_intlist([-1i64].as_slice(), false, Kind::Double);
        let along = self.axes.project(&x).square();
        let variances = variances + noise;
        let mut mahalanobis = sum(&(&along / &variances));
        let mut log_determinant = variances.log().sum(Kind::Double).double_value(&[]);
        if others > 0.0 {
            mahalanobis += (sum(&centred.square()) - sum(&along)) / noise;
            log_determinant += others * noise.ln();
        }
        Ok((mahalanobis + log_determinant + dimensions as f64 * (2.0 * PI).ln()) * -0.5)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::testing::assert_close;

    #[test]
    fn samples_have_the_moments_of_the_data() {
        let x = Tensor::from_slice(&[0.0, 1.0, 2.0, 5.0, -1.0, 3.0, 4.0, 4.0]).view([4, 2]);
        let sample = Gaussian::fit(&x).unwrap().sample(40_000, 1);
        let covariance = |x: &Tensor| x.tr().cov(1, None::<Tensor>, None::<Tensor>);
        assert_close(&sample.mean_dim(0, false, Kind::Double), &x.mean_dim(0, false, Kind::Double), 0.0, 0.05);
        assert_close(&covariance(&sample), &covariance(&x), 0.05, 0.0);
    }

    #[test]
    fn density_by_hand() {
        // Covariance diag(2, 8) and mean 0; then with noise of variance 1, and in a third, empty dimension.
        let x = Tensor::from_slice(&[-1.0, -2.0, 1.0, -2.0, -1.0, 2.0, 1.0, 2.0]).view([4, 2]) * 1.5f64.sqrt();
        let at = Tensor::from_slice(&[1.0, 2.0]).view([1, 2]);
        let expected = |v: [f64; 2]| -0.5 * (1.0 / v[0] + 4.0 / v[1] + (v[0] * v[1]).ln()) - (2.0 * PI).ln();
        let density =
            |x: &Tensor, at: &Tensor, noise| Gaussian::fit(x).unwrap().log_prob(at, noise).unwrap().double_value(&[0]);
        assert!((density(&x, &at, 0.0) - expected([2.0, 8.0])).abs() < 1e-12);
        assert!((density(&x, &at, 1.0) - expected([3.0, 9.0])).abs() < 1e-12);

        let wide = |x: &Tensor| x.constant_pad_nd([0, 1]);
        let more = density(&wide(&x), &(wide(&at) + Tensor::from_slice(&[0.0, 0.0, 0.5])), 1.0);
        assert!((more - (expected([3.0, 9.0]) - 0.5 * 0.25 - 0.5 * (2.0 * PI).ln())).abs() < 1e-12);
        let flat = Gaussian::fit(&wide(&x)).unwrap();
        assert!(flat.is_singular() && !Gaussian::fit(&x).unwrap().is_singular());
        assert!(flat.log_prob(&Tensor::zeros([1, 3], (Kind::Double, Device::Cpu)), 0.0).is_err());
        // A training set of one row many times is a point.
        let point = Gaussian::fit(&x.ones_like()).unwrap();
        assert_eq!(point.sample(3, 0), Tensor::ones([3, 2], (Kind::Double, Device::Cpu)));
        assert!(point.is_singular() && density(&x.ones_like(), &at, 1.0).is_finite());
    }
}
