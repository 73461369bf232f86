use tch::Tensor;

use super::grid::{Grid, Outermost};
use super::rows::sum_rows;
use crate::native;
use crate::rng::Generator;

/// Farther out than any scale that is learned, and finite: infinity times the gradient of 0 there would be no number.
const FAR: f64 = 1e6;

/// A logistic distribution cut into the bins of grey levels: of so many equally spaced values from -1 to 1, byte `b` of
/// 256 at `b / 127.5 − 1`. The outermost bins take the tails, so that the masses sum to 1.
///
/// Salimans et al. (2017), equation 2, with one component.
///
/// ```
/// use gen_core::distributions::DiscretisedLogistic;
/// use tch::{Device, Kind, Tensor};
///
/// let bytes = Tensor::arange(256, (Kind::Double, Device::Cpu)).unsqueeze(1) / 127.5 - 1.0;
/// let logistic = DiscretisedLogistic::new(bytes.full_like(0.2), Tensor::from_slice(&[-2.0]), 256);
/// let masses = logistic.log_prob(&bytes).exp();
/// assert!((masses.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct DiscretisedLogistic {
    /// The median μ, which is the mean of the uncut distribution: `[batch, ...]`.
    pub location: Tensor,
    /// ln s, in the shape of the location or one that broadcasts to it. The standard deviation is s π / √3.
    pub log_scale: Tensor,
    grid: Grid,
}

impl DiscretisedLogistic {
    /// From μ and ln s, over this many grey levels.
    ///
    /// # Panics
    /// When there are fewer than 2 levels.
    pub fn new(location: Tensor, log_scale: Tensor, levels: u32) -> Self {
        DiscretisedLogistic { location, log_scale, grid: Grid::new(levels) }
    }

    /// Σ ln (σ((x − μ + h) / s) − σ((x − μ − h) / s)) for bins of half-width h, a probability mass. `x: [batch, ...]`,
    /// on the grid, to `[batch]`, nats.
    ///
    /// The code of Salimans et al. falls back to the density where the difference of the two sigmoids vanishes. Here it
    /// is factored as σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b − a)), which is exact everywhere.
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        let DiscretisedLogistic { location, log_scale, grid } = self;
        let half_bin = grid.half_bin;
        if let Ok(Some(fused)) = native::discretised_logistic(location, log_scale, x, half_bin) {
            return fused;
        }
        // An outermost bin reaches so far out that its tail is whole, and so flat that no gradient comes from there.
        let Outermost { lowest, highest } = grid.outermost(x);
        let upper_edge = (x + half_bin).masked_fill(&highest, FAR);
        let lower_edge = (x - half_bin).masked_fill(&lowest, -FAR);
        let precision = log_scale.neg().exp();
        let below_upper = ((upper_edge - location) * &precision).log_sigmoid();
        let above_lower = ((location - lower_edge) * &precision).log_sigmoid();
        let width = (&precision * (-2.0 * half_bin)).expm1().neg().log();
        let inner = lowest.logical_or(&highest).logical_not().to_kind(x.kind());
        let inner = match width.numel() {
            1 => sum_rows(&inner) * width.squeeze(),
            _ => sum_rows(&(inner * width)),
        };
        sum_rows(&(below_upper + above_lower)) + inner
    }

    /// A draw from the uncut distribution: rounded to the grid, and clamped to its ends, it is a draw from this one.
    pub fn sample_uncut(&self, rng: &Generator) -> Tensor {
        // The logit of a uniform number is a standard logistic one.
        &self.location + rng.rand_like(&self.location).logit(1e-6) * self.log_scale.exp()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::super::grid::testing::{assert_gradients, assert_normalised, assert_single_precision, bytes, scalar};
    use super::*;
    use crate::testing::{assert_close, assert_close_f64};

    fn log_prob(location: &Tensor, log_scale: &Tensor, x: &Tensor) -> Tensor {
        DiscretisedLogistic::new(location.shallow_clone(), log_scale.shallow_clone(), 256).log_prob(x)
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
        let (location, x) = (Tensor::from_slice(&[-0.9]).unsqueeze(1), bytes().narrow(0, 200, 1));
        let (half_bin, scale) = (1.0 / 255.0, 0.01f64);
        let to_the_inner_edge = -(200.0 / 127.5 - 0.1 - half_bin) / scale;
        let within = (1.0 - (-2.0 * half_bin / scale).exp()).ln();
        let actual = log_prob(&location, &scalar(scale.ln()), &x).double_value(&[0]);
        assert_close_f64(actual, to_the_inner_edge + within, 1e-12, 0.0);
    }

    /// In double precision by hand from the formula, with seven decimals.
    #[test]
    fn values_of_another_implementation() {
        let x = Tensor::from_slice(&[0.0, -1.0, 1.0]).unsqueeze(1);
        let expected = Tensor::from_slice(&[-4.3679532, -8.0992888, -6.6225048]);
        assert_close(&log_prob(&x.full_like(0.1), &scalar(-2.0), &x), &expected, 0.0, 6e-8);
    }

    /// A quarter of the draws lies beyond each quartile, ± s ln 3, up to four standard errors.
    #[test]
    fn draws_have_its_quartiles() {
        let location = Tensor::full([40_000, 1], 0.5, (Kind::Double, Device::Cpu));
        let logistic = DiscretisedLogistic::new(location, scalar(2f64.ln()), 256);
        let deviation = (logistic.sample_uncut(&Generator::seeded(0)) - 0.5) / 2.0;
        for sign in [-1.0, 1.0] {
            let share = (&deviation * sign).gt(3f64.ln()).to_kind(Kind::Double).mean(Kind::Double);
            assert_close_f64(share.double_value(&[]), 0.25, 0.0, 4.0 * (0.25f64 * 0.75 / 40_000.0).sqrt());
        }
    }
}
