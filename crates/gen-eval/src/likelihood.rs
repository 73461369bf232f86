//! Numbers of reports from log-likelihoods.

use std::f64::consts::LN_2;

use tch::{Device, Kind, Tensor};

use gen_core::{Error, Result};

/// Bits per dimension of a density over `dimensions` values whose grey levels are `level_width` apart: 1 for bytes,
/// 1/256 on `[0, 1)`, 1/128 on `[-1, 1)`. `(nll - D ln w) / (D ln 2)`.
///
/// ```
/// use gen_eval::bits_per_dim;
///
/// // A uniform density on [0, 1) has a likelihood of 1, and leaves all 8 bits.
/// assert_eq!(bits_per_dim(0.0, 784, 1.0 / 256.0), 8.0);
/// ```
pub fn bits_per_dim(nll_nats: f64, dimensions: i64, level_width: f64) -> f64 {
    nll_nats / (dimensions as f64 * LN_2) - level_width.log2()
}

/// The logarithm of the mean weight in each row of `log_weights: [n, k]`: `f64 [n]`. With `k` importance weights it
/// is the bound of Burda et al. (2016, equation 8); with one it is the evidence lower bound.
///
/// ```
/// use gen_eval::log_mean_exp;
/// use tch::Tensor;
///
/// let weights = Tensor::from_slice(&[-1000.0, -1000.0 + 3f64.ln()]).view([1, 2]);
/// assert!((log_mean_exp(&weights).unwrap().double_value(&[0]) + 1000.0 - 2f64.ln()).abs() < 1e-9);
/// ```
///
/// # Errors
/// When the shape is another, or a row has an infinite or NaN weight, or weights of 0 alone.
pub fn log_mean_exp(log_weights: &Tensor) -> Result<Tensor> {
    let log_weights = weights(log_weights)?;
    let k = log_weights.size()[1] as f64;
    Ok(log_weights.logsumexp([1i64].as_slice(), false) - k.ln())
}

/// The effective number of samples in each row of importance weights `log_weights: [n, k]`: `(Σ w)² / Σ w²` (Kish
/// 1965), `f64 [n]`, from 1 if one weight dominates to `k` if all are equal. Near 1, an importance-weighted bound
/// depends on one sample, and `k` is too small.
///
/// ```
/// use gen_eval::effective_sample_size;
/// use tch::Tensor;
///
/// let log_weights = Tensor::from_slice(&[-7.0, -7.0, -7.0, f64::NEG_INFINITY]).view([1, 4]);
/// assert!((effective_sample_size(&log_weights).unwrap().double_value(&[0]) - 3.0).abs() < 1e-12);
/// ```
///
/// # Errors
/// As [`log_mean_exp`].
pub fn effective_sample_size(log_weights: &Tensor) -> Result<Tensor> {
    let log_weights = weights(log_weights)?;
    let k = log_weights.size()[1] as f64;
    let log_sum = |x: &Tensor| x.logsumexp([1i64].as_slice(), false);
    Ok((log_sum(&log_weights) * 2.0 - log_sum(&(&log_weights * 2.0))).exp().clamp(1.0, k))
}

fn weights(log_weights: &Tensor) -> Result<Tensor> {
    match log_weights.size()[..] {
        [n, k] if n >= 1 && k >= 1 => {
            let x = log_weights.detach().to_device(Device::Cpu).to_kind(Kind::Double);
            if !bool::try_from(x.amax([1i64].as_slice(), false).isfinite().all())? {
                return Err(Error::invalid(
                    "each row needs log-weights below infinity, and one above minus infinity",
                ));
            }
            Ok(x)
        }
        _ => Err(Error::invalid(format!("log-weights should be [n, k], found {:?}", log_weights.size()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::data::Values;
    use gen_core::testing::{assert_close, assert_close_f64};

    #[test]
    fn bits_agree_with_those_of_data() {
        assert_close_f64(bits_per_dim(700.0, 100, 1.0), Values::Bytes.bits_per_dim(-700.0, 100), 1e-12, 0.0);
        let dequantised = Values::Dequantised.bits_per_dim(-700.0, 100);
        assert_close_f64(bits_per_dim(700.0, 100, 1.0 / 128.0), dequantised, 1e-12, 0.0);
    }

    #[test]
    fn weights_by_hand() {
        let w = Tensor::from_slice(&[1.0, 2.0, 3.0, 1.0, 0.0, 0.0]).view([2, 3]);
        let log_w = w.log() - 500.0;
        assert_close(
            &log_mean_exp(&log_w).unwrap(),
            &Tensor::from_slice(&[2f64.ln() - 500.0, -3f64.ln() - 500.0]),
            1e-12,
            0.0,
        );
        assert_close(
            &effective_sample_size(&log_w).unwrap(),
            &Tensor::from_slice(&[36.0 / 14.0, 1.0]),
            1e-9,
            0.0,
        );
        // Rounding stays in the range.
        let equal = Tensor::full([1, 64], -1.0 / 3.0, (Kind::Float, Device::Cpu));
        assert!(effective_sample_size(&equal).unwrap().double_value(&[0]) <= 64.0);
    }

    #[test]
    fn more_weights_never_lower_the_bound_on_average() {
        let log_w = (Tensor::arange(600, (Kind::Double, Device::Cpu)) * 1.7).sin().view([50, 12]) * 3.0;
        let mean = |x: &Tensor| log_mean_exp(x).unwrap().mean(Kind::Double).double_value(&[]);
        let [one, four, twelve] = [1, 4, 12].map(|k| mean(&log_w.view([-1, k])));
        assert!(one < four && four < twelve);
    }

    #[test]
    fn impossible_input_is_explained() {
        let message = |x: Tensor| log_mean_exp(&x).unwrap_err().to_string();
        assert_eq!(message(Tensor::from_slice(&[1.0])), "log-weights should be [n, k], found [1]");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(
                message(Tensor::from_slice(&[bad, f64::NEG_INFINITY]).view([1, 2])),
                "each row needs log-weights below infinity, and one above minus infinity"
            );
        }
    }
}
