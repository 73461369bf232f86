//! log p(x | decoder output), one number for each row: summed over all values of a row, never averaged.
//!
//! Everything here is a pure function of tensors of one shape, `[batch, ...]`; a scale may be anything that
//! broadcasts to it, such as a learned scalar.

use std::f64::consts::PI;

use gen_core::native::discretised_logistic;
use tch::{Reduction, Tensor};

/// Half the width of a byte's bin on [-1, 1], where byte `b` lies at `b / 127.5 - 1`.
pub const HALF_BIN: f64 = 1.0 / 255.0;

/// Sums everything but the first dimension: `[batch, ...]` to `[batch]`.
pub(crate) fn sum_rows(x: &Tensor) -> Tensor {
    x.flatten(1, -1).sum_dim_intlist(1, false, x.kind())
}

/// Bernoulli: Σ x log σ(l) + (1 − x) log σ(−l), a probability mass where `x` is 0 or 1.
///
/// Between 0 and 1 this is the expected log mass of an image drawn with brightness as probability, not the
/// log-likelihood of the grey value: [`crate::Vae`] refuses it there.
///
/// `logits`: `[batch, ...]`; `x`: the same shape, in [0, 1]. Returns `[batch]`, nats.
///
/// Kingma & Welling (2014), appendix C.1.
pub fn bernoulli_log_prob(logits: &Tensor, x: &Tensor) -> Tensor {
    let cross_entropy =
        logits.binary_cross_entropy_with_logits(x, None::<Tensor>, None::<Tensor>, Reduction::None);
    sum_rows(&cross_entropy).neg()
}

/// Gaussian density: Σ log N(x; μ, σ²).
///
/// `mean`, `x`: `[batch, ...]`; `log_sigma`: broadcastable to them. Returns `[batch]`, nats.
///
/// Kingma & Welling (2014), appendix C.2; with one σ for all values it is the σ-VAE of Rybkin et al. (2021).
pub fn gaussian_log_prob(mean: &Tensor, log_sigma: &Tensor, x: &Tensor) -> Tensor {
    let standardised = (x - mean) * log_sigma.neg().exp();
    sum_rows(&(standardised.square() * -0.5 - log_sigma - 0.5 * (2.0 * PI).ln()))
}

/// Gaussian mass of the byte: Σ log of the integral of N(μ, σ²) over the bin of `x`, of half-width 1/255. The
/// outermost bins take the tails, so the 256 masses sum to 1.
///
/// `mean`, `x`: `[batch, ...]`, `x` on the grid `byte / 127.5 − 1`; `log_sigma`: broadcastable to them. Returns
/// `[batch]`, nats.
///
/// Ho et al. (2020), equation 13, without the loss of precision far from the mean.
pub fn discretised_gaussian_log_prob(mean: &Tensor, log_sigma: &Tensor, x: &Tensor) -> Tensor {
    let Bins { lowest, highest } = Bins::of(x);
    let deviation = x - mean;
    // The bin and its mirror image about the mean have the same mass. Of the two the lower one is computed, where
    // log Φ keeps its precision: Φ(upper) − Φ(lower) = Φ(upper) (1 − Φ(lower) / Φ(upper)).
    let distance = deviation.abs();
    let distance = deviation.neg().where_self(&lowest, &distance);
    let distance = deviation.where_self(&highest, &distance);
    let precision = log_sigma.neg().exp();
    let upper = ((HALF_BIN - &distance) * &precision).special_log_ndtr();
    let lower = ((-HALF_BIN - &distance) * &precision).special_log_ndtr();
    let outermost = lowest.logical_or(&highest);
    // A finite stand-in where the value is not used, since a gradient goes through both branches.
    let log_ratio = (lower - &upper).masked_fill(&outermost, -1.0);
    let inner = log_ratio.expm1().neg().log().masked_fill(&outermost, 0.0);
    sum_rows(&(upper + inner))
}

/// Logistic mass of the byte: Σ log of σ((x − μ + 1/255) / s) − σ((x − μ − 1/255) / s). The outermost bins take
/// the tails, so the 256 masses sum to 1.
///
/// `mean`, `x`: `[batch, ...]`, `x` on the grid `byte / 127.5 − 1`; `log_scale` (log s): broadcastable to them.
/// Returns `[batch]`, nats.
///
/// Salimans et al. (2017), equation 2, with one component. Their code falls back to the density where the
/// difference of the two sigmoids vanishes; here it is factored as σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b − a)), which
/// is exact everywhere.
pub fn discretised_logistic_log_prob(mean: &Tensor, log_scale: &Tensor, x: &Tensor) -> Tensor {
    if let Ok(Some(fused)) = discretised_logistic(mean, log_scale, x, HALF_BIN) {
        return fused;
    }
    // An outermost bin reaches so far out that its tail is whole, and so flat that no gradient comes from there.
    let Bins { lowest, highest } = Bins::of(x);
    let upper_edge = (x + HALF_BIN).masked_fill(&highest, FAR);
    let lower_edge = (x - HALF_BIN).masked_fill(&lowest, -FAR);
    let precision = log_scale.neg().exp();
    let below_upper = ((upper_edge - mean) * &precision).log_sigmoid();
    let above_lower = ((mean - lower_edge) * &precision).log_sigmoid();
    let width = (&precision * (-2.0 * HALF_BIN)).expm1().neg().log();
    let inner = lowest.logical_or(&highest).logical_not().to_kind(x.kind());
    let inner =
        if width.numel() == 1 { sum_rows(&inner) * width.squeeze() } else { sum_rows(&(inner * width)) };
    sum_rows(&(below_upper + above_lower)) + inner
}

/// Farther out than any scale that is learned, and finite: infinity times the gradient of 0 there would be no number.
const FAR: f64 = 1e6;

/// Which values lie in the two outermost bins.
struct Bins {
    lowest: Tensor,
    highest: Tensor,
}

impl Bins {
    fn of(x: &Tensor) -> Self {
        Bins { lowest: x.lt(HALF_BIN - 1.0), highest: x.gt(1.0 - HALF_BIN) }
    }
}

#[cfg(test)]
mod tests {
    use gen_core::testing::{assert_close, assert_close_f64, assert_gradient};
    use tch::{Device, Kind};

    use super::*;

    type LogProb = fn(&Tensor, &Tensor, &Tensor) -> Tensor;
    const OF_BYTES: [(&str, LogProb); 2] =
        [("gaussian", discretised_gaussian_log_prob), ("logistic", discretised_logistic_log_prob)];

    fn scalar(value: f64) -> Tensor {
        Tensor::from_slice(&[value])
    }

    /// All 256 values of the grid, a row each.
    fn grid() -> Tensor {
        Tensor::arange(256, (Kind::Double, Device::Cpu)).unsqueeze(1) / 127.5 - 1.0
    }

    #[test]
    fn the_256_masses_sum_to_one() {
        for (name, log_prob) in OF_BYTES {
            for mean in [-3.0, -1.0, 0.1, 0.999, 1.5] {
                for log_scale in [-7.0, -4.0, -1.0, 2.0] {
                    let x = grid();
                    let masses = log_prob(&Tensor::full_like(&x, mean), &scalar(log_scale), &x).exp();
                    let total = masses.sum(Kind::Double).double_value(&[]);
                    assert!(
                        (total - 1.0).abs() < 1e-10,
                        "{name}, mean {mean}, log scale {log_scale}: {total}"
                    );
                }
            }
        }
    }

    /// In the far tail a difference of two distribution functions is 0 even in f64; the mass is not.
    #[test]
    fn masses_far_from_the_mean_are_precise() {
        let (mean, x) = (Tensor::from_slice(&[-0.9]).unsqueeze(1), grid().narrow(0, 200, 1));
        let distance = 200.0 / 127.5 - 0.1;
        let sigma = 0.02;
        // Of a Gaussian tail that falls by e^-a over a bin, a = distance * width / sigma^2, nearly all lies at the
        // inner edge.
        let inner = (distance - HALF_BIN) / sigma;
        let expected = -0.5 * inner * inner - (inner * (2.0 * PI).sqrt()).ln();
        let actual = discretised_gaussian_log_prob(&mean, &scalar(f64::ln(sigma)), &x).double_value(&[0]);
        assert_close_f64(actual, expected, 0.0, 2e-3);

        let expected = -(distance - HALF_BIN) / 0.01;
        let actual = discretised_logistic_log_prob(&mean, &scalar(f64::ln(0.01)), &x).double_value(&[0]);
        let factor = (1.0 - (-2.0 * HALF_BIN / 0.01f64).exp()).ln();
        assert_close_f64(actual, expected + factor, 1e-12, 0.0);
    }

    #[test]
    fn single_precision_agrees_with_double() {
        let x = grid();
        for (name, log_prob) in OF_BYTES {
            for log_scale in [-7.0, -2.0, 1.0] {
                let exact = log_prob(&Tensor::full_like(&x, 0.3), &scalar(log_scale), &x);
                let single = |t: &Tensor| t.to_kind(Kind::Float);
                let mean = Tensor::full_like(&x, 0.3);
                let actual = log_prob(&single(&mean), &single(&scalar(log_scale)), &single(&x));
                assert!(bool::try_from(actual.isfinite().all()).unwrap(), "{name}");
                assert_close(&actual, &exact, 1e-4, 1e-3);
            }
        }
    }

    #[test]
    fn a_narrow_bin_has_density_times_width() {
        let (mean, x) = (Tensor::zeros([256, 1], (Kind::Double, Device::Cpu)), grid());
        let inside = |t: Tensor| t.narrow(0, 1, 254);
        let mass = inside(discretised_gaussian_log_prob(&mean, &scalar(0.0), &x));
        let density = inside(gaussian_log_prob(&mean, &scalar(0.0), &x));
        assert_close(&mass, &(density + (2.0 * HALF_BIN).ln()), 0.0, 1e-5);
    }

    #[test]
    fn rows_are_summed_not_averaged() {
        let x = Tensor::zeros([2, 3, 4, 4], (Kind::Double, Device::Cpu));
        let log_prob = gaussian_log_prob(&x, &scalar(0.0), &x);
        let expected = -0.5 * 48.0 * (2.0 * PI).ln();
        assert_close(&log_prob, &Tensor::from_slice(&[expected, expected]), 1e-14, 0.0);
    }

    #[test]
    fn gradients_in_location_and_scale() {
        let x = Tensor::from_slice(&[0u8, 1, 90, 255]).to_kind(Kind::Double).unsqueeze(0) / 127.5 - 1.0;
        let mean = Tensor::from_slice(&[-0.7, 0.2, -0.294117647, 0.9]).unsqueeze(0);
        let both = Tensor::cat(&[mean, Tensor::from_slice(&[-0.5, -1.0, -2.0, -1.5]).unsqueeze(0)], 0);
        for log_prob in [gaussian_log_prob, OF_BYTES[0].1, OF_BYTES[1].1] {
            let f = |p: &Tensor| log_prob(&p.narrow(0, 0, 1), &p.narrow(0, 1, 1), &x).sum(Kind::Double);
            assert_gradient(f, &both, 1e-7);
        }
        let soft = Tensor::from_slice(&[0.0, 1.0, 0.3, 1.0]).unsqueeze(0);
        assert_gradient(
            |logits| bernoulli_log_prob(logits, &soft).sum(Kind::Double),
            &(both.narrow(0, 0, 1)),
            1e-8,
        );
    }
}
