use tch::{Kind, Tensor};

/// The mean μ and the standard deviation σ of each column of a table, and the conversion z = (x - μ) / σ.
///
/// A column that never varies has σ = 0. Its z is x - μ, and [`ColumnMoments::restore`] gives μ whatever z is. It has
/// no part in [`ColumnMoments::log_det`], since there is no density along it.
///
/// ```
/// use gen_core::data::ColumnMoments;
/// use tch::Tensor;
///
/// let x = Tensor::from_slice(&[1.0, 7.0, 3.0, 7.0]).view([2, 2]);
/// let moments = ColumnMoments::of(&x);
/// let z = moments.standardise(&x);
/// assert_eq!(z, Tensor::from_slice(&[-1.0, 0.0, 1.0, 0.0]).view([2, 2]));
/// assert_eq!(moments.restore(&z), x);
/// ```
#[derive(Debug)]
pub struct ColumnMoments {
    /// μ: `f64 [columns]`.
    pub mean: Tensor,
    /// σ: `f64 [columns]`, 0 or more.
    pub std: Tensor,
}

impl ColumnMoments {
    /// Of `x: f64 [n, columns]`, n > 0, on the device of `x`.
    ///
    /// Both moments are computed from (x - min) / (max - min), so that a large offset costs no digits and no square
    /// overflows or underflows. They are NaN where max - min is not finite.
    pub fn of(x: &Tensor) -> Self {
        let (low, high) = (x.amin([0].as_slice(), false), x.amax([0].as_slice(), false));
        let range = &high - &low;
        let is_constant = range.eq(0.0);
        let share = (x - &low) / (&range + &is_constant);
        let mean = &low + share.mean_dim(0, false, Kind::Double) * &range;
        let std = share.std_dim(0, false, false) * &range;
        // The standard deviation of a subnormal range may underflow to 0, which stands for a constant column.
        let std = std.clamp_min(f64::MIN_POSITIVE).masked_fill(&is_constant, 0.0);
        ColumnMoments { mean, std }
    }

    /// z = (x - μ) / σ of `x: [batch, columns]`, in `f64` on the device of the moments.
    pub fn standardise(&self, x: &Tensor) -> Tensor {
        (x.to_device(self.mean.device()) - &self.mean) / self.divisor()
    }

    /// x = z σ + μ: `f64 [batch, columns]`.
    pub fn restore(&self, z: &Tensor) -> Tensor {
        z * &self.std + &self.mean
    }

    /// ln |det ∂z/∂x| = -Σ ln σ, a scalar `f64`.
    pub fn log_det(&self) -> Tensor {
        -self.divisor().log().sum(Kind::Double)
    }

    /// σ, with 1 in the place of 0.
    fn divisor(&self) -> Tensor {
        &self.std + self.std.eq(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;
    use crate::testing::{assert_close, assert_close_f64};

    #[test]
    fn moments_do_not_depend_on_offset_and_scale() {
        let z = Generator::seeded(1).randn([1000], (Kind::Double, tch::Device::Cpu));
        let columns = [&z * 0.3 + 2_451_545.0, &z * 1e-21, &z * 1e200, &z * 0.0 + 0.1, z.shallow_clone()];
        let moments = ColumnMoments::of(&Tensor::stack(&columns, 1));
        let [mean, std] = [&moments.mean, &moments.std].map(|row| Vec::<f64>::try_from(row).unwrap());
        let (m, s) = (mean[4], std[4]);
        assert_close_f64(m, z.mean(Kind::Double).double_value(&[]), 0.0, 1e-14);
        assert_close_f64(s, z.std(false).double_value(&[]), 1e-13, 0.0);
        assert_close_f64(mean[0], 2_451_545.0 + 0.3 * m, 1e-15, 0.0);
        assert_close_f64(std[0], 0.3 * s, 1e-8, 0.0);
        assert_close_f64(mean[1], 1e-21 * m, 1e-9, 0.0);
        assert_close_f64(std[1], 1e-21 * s, 1e-12, 0.0);
        assert_close_f64(std[2], 1e200 * s, 1e-12, 0.0);
        assert_eq!((mean[3], std[3]), (0.1, 0.0));
    }

    #[test]
    fn columns_of_extreme_scales_are_standardised_alike() {
        let z = Tensor::from_slice(&[-1.0, 0.5, 2.0, 3.0]);
        let scales = [1.0, 1e200, 1e-200, 1e-300];
        let mut columns: Vec<Tensor> = scales.iter().map(|scale| &z * *scale).collect();
        columns.push(z.ones_like() * 1e300);
        let x = Tensor::stack(&columns, 1);
        let moments = ColumnMoments::of(&x);
        let standardised = moments.standardise(&x);
        let restored = moments.restore(&standardised);
        for (column, scale) in (0..).zip(scales) {
            assert_close(&standardised.select(1, column), &standardised.select(1, 0), 1e-12, 1e-12);
            assert_close(&(restored.select(1, column) / scale), &z, 1e-12, 1e-12);
        }
        assert_eq!(standardised.select(1, 4), z.zeros_like());
        assert_eq!(restored.select(1, 4), x.select(1, 4));
        let expected = 4.0 * z.std(false).double_value(&[]).ln() + (1e200f64 * 1e-200).ln() + 1e-300f64.ln();
        assert_close_f64(moments.log_det().double_value(&[]), -expected, 0.0, 1e-9);
    }
}
