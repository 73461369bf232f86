//! The Vendi score.

use tch::{Kind, Tensor};

use super::rows::{checked, row_sums, sum};
use gen_core::{Error, Result};

/// The Vendi score of rows `x: [n, features]`: the effective number of different rows, from 1 to `n` (Friedman and
/// Dieng 2023, definition 3.1; any order in Pasarkar and Dieng 2024). It is the exponential of the Rényi entropy of
/// order `order` of the eigenvalues of `K / n`, with the cosine kernel `K`. Order 1 is Shannon's entropy; order
/// infinity uses the largest eigenvalue alone. Rows of zeros have no direction: they count as equal to each other and
/// unlike all others.
///
/// It grows with `n`, so only sets of the same size are comparable. Noise has the highest score, so it ranks no model.
///
/// ```
/// use gen_eval::vendi_score;
/// use tch::{Device, Kind, Tensor};
///
/// let different = Tensor::eye(8, (Kind::Float, Device::Cpu));
/// assert!((vendi_score(&different, 1.0).unwrap() - 8.0).abs() < 1e-9);
/// let alike = Tensor::ones([8, 8], (Kind::Float, Device::Cpu));
/// assert!((vendi_score(&alike, 2.0).unwrap() - 1.0).abs() < 1e-9);
/// ```
///
/// # Errors
/// When there are no rows, a value is not finite, or the order is not positive.
pub fn vendi_score(x: &Tensor, order: f64) -> Result<f64> {
    if order.is_nan() || order <= 0.0 {
        return Err(Error::invalid(format!("the order of a Vendi score must be positive, found {order}")));
    }
    let x = checked("the Vendi score", "fake", x, 1)?;
    let [n, d] = x.size()[..] else { unreachable!("a matrix has two sizes") };
    // Rows are scaled first, since squares of tiny or huge values underflow or overflow.
    let largest = x.abs().amax([1i64].as_slice(), true);
    let zero = largest.eq(0.0);
    let x = x / largest.where_self(&zero.logical_not(), &largest.ones_like());
    let norms = row_sums(&x.square()).sqrt().unsqueeze(1);
    let rows = x / norms.where_self(&zero.logical_not(), &norms.ones_like());
    // Both matrices of products have the same eigenvalues but for zeros; the smaller one is faster.
    let products = if n > d { rows.tr().matmul(&rows) } else { rows.matmul(&rows.tr()) } / n as f64;
    let eigenvalues = products.f_linalg_eigvalsh("L")?.clamp_min(0.0);
    let zeros = zero.sum(Kind::Double).unsqueeze(0) / n as f64;
    let p = Tensor::cat(&[eigenvalues, zeros], 0);
    Ok(if order == 1.0 {
        (-sum(&p.xlogy(&p))).exp()
    } else if order.is_infinite() {
        1.0 / p.max().double_value(&[])
    } else {
        sum(&p.pow_tensor_scalar(order)).powf(1.0 / (1.0 - order))
    })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::rng::{Purpose, stream};
    use gen_core::testing::assert_close_f64;

    #[test]
    fn shares_by_hand() {
        // Two directions, three times and once, whatever the lengths; then also three rows of zeros.
        let x = Tensor::from_slice(&[1.0, 0.0, 2.0, 0.0, 1e-200, 0.0, 0.0, 5.0]).view([4, 2]);
        let score = |x: &Tensor, order| vendi_score(x, order).unwrap();
        let entropy = |p: &[f64]| -p.iter().map(|p| p * p.ln()).sum::<f64>();
        assert_close_f64(score(&x, 1.0), entropy(&[0.75, 0.25]).exp(), 1e-12, 0.0);
        assert_close_f64(score(&x, 2.0), 1.0 / (0.5625 + 0.0625), 1e-12, 0.0);
        assert_close_f64(score(&x, f64::INFINITY), 1.0 / 0.75, 1e-12, 0.0);
        assert_close_f64(score(&x, 0.5), (0.75f64.sqrt() + 0.5).powi(2), 1e-7, 0.0);
        let more = Tensor::cat(&[&x, &x.zeros_like().narrow(0, 0, 3)], 0);
        assert_close_f64(score(&more, 1.0), entropy(&[3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]).exp(), 1e-12, 0.0);
    }

    #[test]
    fn both_matrices_agree_and_the_order_of_rows_does_not_matter() {
        let x = stream(1, Purpose::Evaluate, 0).randn([30, 8], (Kind::Double, Device::Cpu));
        let wide = Tensor::cat(&[&x, &x.zeros_like().repeat([1, 4])], 1);
        for order in [1.0, 2.0, 3.5, f64::INFINITY] {
            let score = vendi_score(&x, order).unwrap();
            assert_close_f64(vendi_score(&wide, order).unwrap(), score, 1e-9, 0.0);
            assert_close_f64(vendi_score(&x.flip([0]), order).unwrap(), score, 1e-12, 0.0);
            assert!((1.0..=8.0).contains(&score));
        }
    }

    #[test]
    fn impossible_input_is_explained() {
        let x = Tensor::ones([2, 2], (Kind::Double, Device::Cpu));
        assert_eq!(
            vendi_score(&x, 0.0).unwrap_err().to_string(),
            "the order of a Vendi score must be positive, found 0"
        );
        assert!(vendi_score(&(&x / 0.0), 1.0).is_err());
        assert!(vendi_score(&x.narrow(0, 0, 0), 1.0).is_err());
    }
}
