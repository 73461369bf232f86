//! log p(x | decoder output), one number for each row: summed over all values of a row, never averaged.
//!
//! Everything here is a pure function of tensors of one shape, `[batch, ...]`; a scale may be anything that
//! broadcasts to it, such as a learned scalar.

use std::f64::consts::PI;

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
    let Bins { lowest, highest } = Bins::of(x);
    let precision = log_scale.neg().exp();
    let deviation = x - mean;
    let below_upper = ((&deviation + HALF_BIN) * &precision).log_sigmoid().masked_fill(&highest, 0.0);
    let above_lower = ((HALF_BIN - &deviation) * &precision).log_sigmoid().masked_fill(&lowest, 0.0);
    let width = (&precision * (-2.0 * HALF_BIN)).expm1().neg().log();
    let inner = width.expand_as(x).masked_fill(&lowest.logical_or(&highest), 0.0);
    sum_rows(&(below_upper + above_lower + inner))
}

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
