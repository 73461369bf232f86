use tch::{Kind, Tensor};

use crate::data::{ColumnMoments, DataSpec};
use crate::error::{Error, Result};
use crate::params::Scope;

/// Tabular data in the units of its file, to and from columns of mean 0 and standard deviation 1 for networks:
/// z = (x - μ) / σ for each column, as [`ColumnMoments`] computes it.
///
/// The difference is taken in f64 and the quotient rounded to the kind of the scope, since a column with a large offset
/// has no digits to lose: 2451545.3, a Julian day, is 2451545.25 in f32. The inverse ends in f64. μ and σ are buffers,
/// `f64 [dimension]` each, saved with the parameters.
///
/// ```
/// use gen_core::nn::Standardise;
/// use gen_core::params::Params;
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let standardise = Standardise::new(params.root(), &[2451545.0], &[0.3])?;
/// let x = Tensor::from_slice(&[2451545.3]).view([1, 1]);
/// let z = standardise.forward(&x);
/// assert_eq!(z.kind(), Kind::Float);
/// assert!((z.double_value(&[0, 0]) - 1.0).abs() < 1e-6);
/// assert!((standardise.inverse(&z).double_value(&[0, 0]) - 2451545.3).abs() < 1e-6);
/// # Ok::<(), gen_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Standardise {
    moments: ColumnMoments,
    /// The kind of z.
    kind: Kind,
}

impl Standardise {
    /// From the moments of a training set, as [`DataSpec`] gives them.
    ///
    /// # Errors
    /// When the lists differ in length or are empty, a value is not finite, or a standard deviation is negative.
    pub fn new(scope: Scope<'_>, mean: &[f64], std: &[f64]) -> Result<Self> {
        let sound = mean.iter().chain(std).all(|value| value.is_finite()) && std.iter().all(|&std| std >= 0.0);
        if mean.is_empty() || mean.len() != std.len() || !sound {
            return Err(Error::invalid(format!(
                "standardisation needs the mean and the standard deviation (0 or more) of each column, found \
                 {mean:?} and {std:?}"
            )));
        }
        let moments = ColumnMoments {
            mean: scope.buffer("mean", Tensor::from_slice(mean)),
            std: scope.buffer("std", Tensor::from_slice(std)),
        };
        Ok(Standardise { moments, kind: scope.kind() })
    }

    /// The layer for `data`, registered in `scope` under `standardise`; `None` for images, whose values are in [-1, 1]
    /// already.
    ///
    /// # Errors
    /// When a table comes without the moments of its columns.
    pub fn of(scope: &Scope<'_>, data: &DataSpec) -> Result<Option<Self>> {
        if data.shape.is_image() {
            return Ok(None);
        }
        if data.mean.len() as i64 != data.shape.dimensions() {
            return Err(Error::invalid(format!(
                "`{}` has {} columns: the mean and the standard deviation of each are needed",
                data.name,
                data.shape.dimensions()
            )));
        }
        Self::new(scope / "standardise", &data.mean, &data.std).map(Some)
    }

    /// `x: [batch, dimension]` in the units of the data, of any kind, to z in the kind of the scope.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.moments.standardise(x).to_kind(self.kind)
    }

    /// z to the units of the data: `f64 [batch, dimension]`.
    pub fn inverse(&self, z: &Tensor) -> Tensor {
        self.moments.restore(z)
    }

    /// ln |det ∂z/∂x| of [`Standardise::forward`], -Σ ln σ over the columns with σ > 0: a scalar, `f64`.
    pub fn log_det(&self) -> Tensor {
        self.moments.log_det()
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_close_f64};

    fn standardise(mean: &[f64], std: &[f64]) -> Standardise {
        Standardise::new(Params::new(Kind::Float, Device::Cpu).root(), mean, std).unwrap()
    }

    #[test]
    fn large_offsets_and_tiny_scales_keep_their_digits() {
        let s = standardise(&[2451545.0, 0.0, 1e300], &[0.3, 1e-21, 1e299]);
        let z = Tensor::from_slice(&[0.5, -1.5, 2.0, 1e-3, 0.25, -1.0]).view([2, 3]).to_kind(Kind::Float);
        let x = s.inverse(&z);
        assert_eq!(x.kind(), Kind::Double);
        assert_close_f64(x.double_value(&[0, 0]), 2451545.15, 1e-15, 0.0);
        assert_close_f64(x.double_value(&[0, 1]), -1.5e-21, 1e-7, 0.0);
        assert_close(&s.forward(&x), &z, 1e-6, 2e-9);
        let expected = -(0.3f64.ln() + 1e-21f64.ln() + 1e299f64.ln());
        assert_close_f64(s.log_det().double_value(&[]), expected, 1e-14, 0.0);
    }

    #[test]
    fn a_constant_column_is_restored() {
        let s = standardise(&[7.1, 0.0], &[0.0, 2.0]);
        let x = Tensor::from_slice(&[7.1, 3.0]).view([1, 2]);
        assert_eq!(Vec::<f64>::try_from(s.forward(&x).to_kind(Kind::Double).view([-1])).unwrap(), [0.0, 1.5]);
        let z = Tensor::from_slice(&[0.3f32, 1.5]).view([1, 2]);
        assert_eq!(s.inverse(&z), x);
        assert_close_f64(s.log_det().double_value(&[]), -(2f64.ln()), 1e-15, 0.0);
    }

    #[test]
    fn impossible_moments_are_refused() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let root = params.root();
        for (mean, std) in [
            (&[][..], &[][..]),
            (&[1.0][..], &[1.0, 2.0][..]),
            (&[1.0][..], &[-1.0][..]),
            (&[f64::NAN][..], &[1.0][..]),
            (&[0.0][..], &[f64::INFINITY][..]),
        ] {
            let error = Standardise::new(root.clone(), mean, std).unwrap_err().to_string();
            assert!(error.contains("0 or more"), "{error}");
        }
    }
}
