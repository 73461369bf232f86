use tch::Tensor;

/// ln of the mean of weights given by their logarithms: ln (1/K) Σₖ wₖ over the K entries of dimension `dim`, which the
/// result lacks.
///
/// With w = p(x, z) / q(z | x) for z ~ q it is the importance-weighted lower bound on ln p(x), tighter the larger K is,
/// in expectation; with K = 1 the evidence lower bound.
///
/// Burda, Grosse & Salakhutdinov (2016), equation 8.
///
/// ```
/// use gen_core::distributions::log_mean_exp;
/// use tch::Tensor;
///
/// let log_weights = Tensor::from_slice(&[-1000.0, -1000.0 + 3f64.ln()]);
/// assert!((log_mean_exp(&log_weights, 0).double_value(&[]) + 1000.0 - 2f64.ln()).abs() < 1e-9);
/// ```
pub fn log_mean_exp(log_weights: &Tensor, dim: i64) -> Tensor {
    log_weights.logsumexp(dim, false) - (count(log_weights, dim) as f64).ln()
}

/// (Σ w)² / Σ w² of weights given by their logarithms, over the K entries of dimension `dim`, which the result lacks:
/// the number of samples that carry an estimate, from 1, where one weight has it all, to K, where all are equal.
///
/// Near 1, an importance-weighted bound rests on a single sample and is loose.
///
/// Kong (1992).
///
/// ```
/// use gen_core::distributions::effective_sample_size;
/// use tch::Tensor;
///
/// let log_weights = Tensor::from_slice(&[-7.0, -7.0, -7.0, f64::NEG_INFINITY]);
/// assert!((effective_sample_size(&log_weights, 0).double_value(&[]) - 3.0).abs() < 1e-12);
/// ```
pub fn effective_sample_size(log_weights: &Tensor, dim: i64) -> Tensor {
    let log_sum = |x: &Tensor| x.logsumexp(dim, false);
    // Rounding must not leave the range.
    let most = count(log_weights, dim) as f64;
    (log_sum(log_weights) * 2.0 - log_sum(&(log_weights * 2.0))).exp().clamp(1.0, most)
}

/// K.
fn count(log_weights: &Tensor, dim: i64) -> i64 {
    let dims = log_weights.dim() as i64;
    log_weights.size()[dim.rem_euclid(dims) as usize]
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient};

    #[test]
    fn weights_by_hand() {
        let log_w = Tensor::from_slice(&[1.0, 2.0, 3.0, 1.0, 0.0, 0.0]).view([2, 3]).log() - 500.0;
        let (bound, size) = ([2f64.ln() - 500.0, -3f64.ln() - 500.0], [36.0 / 14.0, 1.0]);
        for (log_w, dim) in [(log_w.shallow_clone(), 1), (log_w.tr(), 0), (log_w, -1)] {
            assert_close(&log_mean_exp(&log_w, dim), &Tensor::from_slice(&bound), 1e-12, 0.0);
            assert_close(&effective_sample_size(&log_w, dim), &Tensor::from_slice(&size), 1e-9, 0.0);
        }
        // With seven decimals, from elsewhere.
        let log_w = Tensor::from_slice(&[-90.0, -92.0, -95.0, -91.0]);
        assert_close_f64(log_mean_exp(&log_w, 0).double_value(&[]), -90.9742161, 0.0, 6e-8);
        assert_close_f64(effective_sample_size(&log_w, 0).double_value(&[]), 1.976219, 0.0, 6e-7);
    }

    #[test]
    fn gradients() {
        let log_w = (Tensor::arange(12, (Kind::Double, Device::Cpu)) * 1.7).sin().view([3, 4]);
        assert_gradient(|w| log_mean_exp(w, 0).sum(Kind::Double), &log_w, 1e-8);
    }

    #[test]
    fn one_sample_that_dominates_is_an_effective_sample_of_one() {
        let log_w = Tensor::from_slice(&[0.0, -800.0, -900.0]);
        assert_close_f64(effective_sample_size(&log_w, 0).double_value(&[]), 1.0, 1e-12, 0.0);
        assert_close_f64(log_mean_exp(&log_w, 0).double_value(&[]), -3f64.ln(), 1e-12, 0.0);
    }

    #[test]
    fn equal_weights_are_all_effective() {
        let equal = Tensor::full([1, 64], -1.0 / 3.0, (Kind::Float, Device::Cpu));
        assert!(effective_sample_size(&equal, 1).double_value(&[0]) <= 64.0);
    }

    #[test]
    fn more_weights_never_lower_the_bound_on_average() {
        let log_w = (Tensor::arange(600, (Kind::Double, Device::Cpu)) * 1.7).sin().view([50, 12]) * 3.0;
        let mean = |k: i64| log_mean_exp(&log_w.view([-1, k]), 1).mean(Kind::Double).double_value(&[]);
        let [one, four, twelve] = [1, 4, 12].map(mean);
        assert!(one < four && four < twelve);
    }
}
