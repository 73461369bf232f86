//! Principal components of pixels.

use tch::{Kind, Tensor};

use crate::axes::{PrincipalAxes, rows};
use gen_core::Result;

/// Principal components of pixels: a feature space without labels.
///
/// The components keep their relative sizes. One common scale makes their mean variance over the training images 1, so
/// distances are those between images, up to that scale and the components that are left out.
pub struct PrincipalComponents {
    mean: Tensor,
    components: Tensor,
}

impl PrincipalComponents {
    /// Fits the leading components of the training images `[n, ...]`, at most `count`.
    ///
    /// # Errors
    /// When there are fewer than two images, or all are equal.
    pub fn fit(train: &Tensor, count: i64) -> Result<Self> {
        let PrincipalAxes { mean, variances, directions } = PrincipalAxes::of(train)?;
        let count = count.min(variances.numel() as i64);
        let scale = variances.narrow(0, 0, count).mean(Kind::Double).sqrt();
        Ok(PrincipalComponents { mean, components: directions.narrow(1, 0, count) / scale })
    }

    /// Number of components.
    pub fn count(&self) -> i64 {
        self.components.size()[1]
    }

    /// Features of images `[n, ...]`: `f64 [n, count]`.
    ///
    /// # Errors
    /// When the images have another number of pixels.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut parts = Vec::new();
        for part in images.split(1000, 0) {
            parts.push(rows(&part).f_sub(&self.mean)?.f_matmul(&self.components)?);
        }
        Ok(Tensor::cat(&parts, 0))
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::testing::assert_close;

    fn images(n: i64, side: i64) -> Tensor {
        let i = Tensor::arange(n * side * side, (Kind::Double, Device::Cpu));
        let x = (&i * &i * 0.37).sin() * 40.0 + (&i * 0.013).cos() * 60.0 + 128.0;
        x.to_kind(Kind::Uint8).view([n, 1, side, side])
    }

    #[test]
    fn features_are_uncorrelated_and_of_unit_variance_on_average() {
        let x = images(200, 4);
        let f = PrincipalComponents::fit(&x, 5).unwrap().features(&x).unwrap();
        let covariance = f.tr().cov(1, None::<Tensor>, None::<Tensor>);
        let variances = covariance.diagonal(0, 0, 1);
        assert_close(&covariance, &variances.diag(0), 0.0, 1e-10);
        assert!((variances.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-10);
    }

    #[test]
    fn all_components_keep_the_distances() {
        // 20 images span 19 dimensions of the 36.
        let x = images(20, 6);
        let pca = PrincipalComponents::fit(&x, 64).unwrap();
        assert_eq!(pca.count(), 19);
        let distances = |x: &Tensor| Tensor::cdist(x, x, 2.0, 2);
        let (ours, theirs) = (distances(&pca.features(&x).unwrap()), distances(&rows(&x)));
        let scale = theirs.double_value(&[0, 1]) / ours.double_value(&[0, 1]);
        assert_close(&(ours * scale), &theirs, 1e-9, 1e-9);
    }
}
