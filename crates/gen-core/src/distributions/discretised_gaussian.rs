use tch::Tensor;

use super::gaussian::Gaussian;
use super::grid::{Grid, Outermost};
use super::rows::sum_rows;

/// A Gaussian cut into the bins of grey levels: of so many equally spaced values from -1 to 1, byte `b` of 256 at
/// `b / 127.5 − 1`. The outermost bins take the tails, so that the masses sum to 1.
///
/// Ho et al. (2020), equation 13.
///
/// ```
/// use gen_core::distributions::{DiscretisedGaussian, Gaussian};
/// use tch::{Device, Kind, Tensor};
///
/// let bytes = Tensor::arange(256, (Kind::Double, Device::Cpu)).unsqueeze(1) / 127.5 - 1.0;
/// let gaussian = Gaussian::new(bytes.full_like(0.2), Tensor::from_slice(&[-1.0]));
/// let masses = DiscretisedGaussian::new(gaussian, 256).log_prob(&bytes).exp();
/// assert!((masses.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct DiscretisedGaussian {
    /// The distribution that is cut, in the units of the grey levels.
    pub gaussian: Gaussian,
    grid: Grid,
}

impl DiscretisedGaussian {
    /// `gaussian` over this many grey levels.
    ///
    /// # Panics
    /// When there are fewer than 2 levels.
    pub fn new(gaussian: Gaussian, levels: u32) -> Self {
        DiscretisedGaussian { gaussian, grid: Grid::new(levels) }
    }

    /// Σ ln of the integral of N(μ, σ²) over the bin of `x`, a probability mass. `x: [batch, ...]`, on the grid, to
    /// `[batch]`, nats.
    ///
    /// It is computed from ln Φ, so that no digits are lost far from the mean. (improved-diffusion has a tanh in place
    /// of Φ, and a floor of 1e-12 that makes a bound with bad outliers look better than it is.)
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        let Gaussian { mean, log_std } = &self.gaussian;
        let half_bin = self.grid.half_bin;
        let Outermost { lowest, highest } = self.grid.outermost(x);
        let deviation = x - mean;
        // The bin and its mirror image about the mean have the same mass. Of the two the lower one is computed, where
        // ln Φ keeps its precision: Φ(upper) − Φ(lower) = Φ(upper) (1 − Φ(lower) / Φ(upper)).
        let distance = deviation.abs();
        let distance = deviation.neg().where_self(&lowest, &distance);
        let distance = deviation.where_self(&highest, &distance);
        let precision = log_std.neg().exp();
        let upper = ((half_bin - &distance) * &precision).special_log_ndtr();
        let lower = ((-half_bin - &distance) * &precision).special_log_ndtr();
        let outermost = lowest.logical_or(&highest);
        // A finite stand-in where the value is not used, since a gradient goes through both branches.
        let log_ratio = (lower - &upper).masked_fill(&outermost, -1.0);
        let inner = log_ratio.expm1().neg().log().masked_fill(&outermost, 0.0);
        sum_rows(&(upper + inner))
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use tch::{Device, Kind};

    use super::super::grid::testing::{assert_gradients, assert_normalised, assert_single_precision, bytes, scalar};
    use super::*;
    use crate::testing::{assert_close, assert_close_f64};

    const HALF_BIN: f64 = 1.0 / 255.0;

    fn log_prob(mean: &Tensor, log_std: &Tensor, x: &Tensor) -> Tensor {
        let gaussian = Gaussian::new(mean.shallow_clone(), log_std.shallow_clone());
        DiscretisedGaussian::new(gaussian, 256).log_prob(x)
    }

    #[test]
    fn is_a_distribution_over_bytes() {
        assert_normalised(log_prob);
        assert_single_precision(log_prob);
        assert_gradients(log_prob);
    }

    /// In the far tail a difference of two distribution functions is 0 even in f64; the mass is not.
    #[test]
    fn masses_far_from_the_mean_are_precise() {
        let (mean, x) = (Tensor::from_slice(&[-0.9]).unsqueeze(1), bytes().narrow(0, 200, 1));
        let (distance, std) = (200.0 / 127.5 - 0.1, 0.02);
        // Of a Gaussian tail that falls by e^-a over a bin, a = distance * width / std², nearly all lies at the inner
        // edge.
        let inner = (distance - HALF_BIN) / std;
        let expected = -0.5 * inner * inner - (inner * TAU.sqrt()).ln();
        let actual = log_prob(&mean, &scalar(f64::ln(std)), &x).double_value(&[0]);
        assert_close_f64(actual, expected, 0.0, 2e-3);
    }

    #[test]
    fn a_narrow_bin_has_density_times_width() {
        let (mean, x) = (Tensor::zeros([256, 1], (Kind::Double, Device::Cpu)), bytes());
        let inside = |t: Tensor| t.narrow(0, 1, 254);
        let mass = inside(log_prob(&mean, &scalar(0.0), &x));
        let density = inside(Gaussian::new(mean, scalar(0.0)).log_prob(&x));
        assert_close(&mass, &(density + (2.0 * HALF_BIN).ln()), 0.0, 1e-5);
    }

    /// Of other numbers of grey levels too, black and white among them.
    #[test]
    fn masses_of_any_number_of_levels_sum_to_one() {
        for levels in [2u32, 3, 16, 256] {
            let x = Tensor::linspace(-1.0, 1.0, i64::from(levels), (Kind::Double, Device::Cpu)).unsqueeze(1);
            for (mean, std) in [(0.0, 0.3), (-0.95, 0.01), (0.4, 2.0), (1.3, 0.05)] {
                let gaussian = Gaussian::new(x.full_like(mean), scalar(f64::ln(std)));
                let masses = DiscretisedGaussian::new(gaussian, levels).log_prob(&x).exp();
                assert_close_f64(masses.sum(Kind::Double).double_value(&[]), 1.0, 1e-12, 0.0);
            }
        }
    }

    #[test]
    fn values_of_other_implementations() {
        let log_prob = |[x, mean, log_std]: [f64; 3]| {
            log_prob(&scalar(mean).unsqueeze(0), &scalar(log_std), &scalar(x).unsqueeze(0)).double_value(&[0])
        };
        // By erfc in f64.
        for (case, expected) in [
            ([0.0, 0.0, -3.0], -2.768088505294004),
            ([-1.0, -0.98, -4.0], -1.6606688125893703),
            ([1.0, 0.99, -4.0], -0.9942703984090261),
            ([0.2, 0.25, -2.0], -3.8354234197971695),
            // By the asymptotic series of Φ: the bin holds e^-970, which f64 cannot.
            ([0.2, 0.5, -5.0], -970.1491656765808),
        ] {
            assert_close_f64(log_prob(case), expected, 1e-9, 0.0);
        }
        // By improved-diffusion, which approximates Φ by a tanh, to within 1e-3.
        for (case, expected) in [
            ([0.0, 0.0, -3.0], -2.7680936066146007),
            ([-1.0, -0.98, -4.0], -1.6600112677205452),
            ([1.0, 0.99, -4.0], -0.9942403016208918),
            ([0.2, 0.25, -2.0], -3.835730917058195),
        ] {
            assert_close_f64(log_prob(case), expected, 0.0, 1e-3);
        }
    }
}
