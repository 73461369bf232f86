//! Values with standard errors.

use tch::Tensor;

use gen_core::{Error, Result};

/// A value and its standard error over draws of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The standard error, where it is known.
    pub standard_error: Option<f64>,
}

impl Estimate {
    /// Whether the two values differ by at most twice the standard error of their difference; `None` where a standard
    /// error is unknown.
    ///
    /// ```
    /// use gen_eval::Estimate;
    ///
    /// let a = Estimate { value: 1.0, standard_error: Some(0.3) };
    /// let b = Estimate { value: 1.9, standard_error: Some(0.4) };
    /// assert_eq!(a.ties_with(b), Some(true));
    /// assert_eq!(a.ties_with(Estimate { value: 2.1, ..b }), Some(false));
    /// assert_eq!(a.ties_with(Estimate { standard_error: None, ..b }), None);
    /// ```
    pub fn ties_with(self, other: Estimate) -> Option<bool> {
        let error = self.standard_error?.hypot(other.standard_error?);
        Some((self.value - other.value).abs() <= 2.0 * error)
    }
}

/// The standard error of a share of `n` independent rows: `√(p (1 - p) / n)` with two rows of each kind added (Agresti
/// and Coull 1998), so that it is above 0 for shares of 0 and 1.
///
/// ```
/// use gen_eval::share_standard_error;
///
/// assert!((share_standard_error(0.3, 10_000) - (0.3f64 * 0.7 / 1e4).sqrt()).abs() < 1e-5);
/// assert!(share_standard_error(0.0, 100) > 0.01);
/// ```
pub fn share_standard_error(share: f64, n: usize) -> f64 {
    let n = n as f64;
    let near = (share * n + 2.0) / (n + 4.0);
    (near * (1.0 - near) / (n + 4.0)).sqrt()
}

/// The standard error of a metric over draws of both sets, from disjoint `blocks` of consecutive rows: the standard
/// deviation of the metric over the blocks, divided by the root of their number.
///
/// It is valid for metrics whose standard deviation is proportional to `1 / √n`, and for rows in random order. A bias
/// that depends on the number of rows does not matter.
///
/// ```
/// use gen_eval::{block_standard_error, energy_distance};
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([400, 2], (Kind::Float, Device::Cpu));
/// let (real, fake) = (normal(), normal() + 1.0);
/// let error = block_standard_error(&real, &fake, 10, energy_distance).unwrap();
/// assert!(error > 0.0 && error < energy_distance(&real, &fake).unwrap());
/// ```
///
/// # Errors
/// When there are fewer than two blocks or fewer rows than blocks, or the metric fails on a block.
pub fn block_standard_error(
    real: &Tensor,
    fake: &Tensor,
    blocks: i64,
    metric: impl Fn(&Tensor, &Tensor) -> Result<f64>,
) -> Result<f64> {
    let [error] = block_standard_errors(real, fake, blocks, |real, fake| Ok([metric(real, fake)?]))?;
    Ok(error)
}

/// [`block_standard_error`] of several metrics that are computed together.
pub(super) fn block_standard_errors<const N: usize>(
    real: &Tensor,
    fake: &Tensor,
    blocks: i64,
    metric: impl Fn(&Tensor, &Tensor) -> Result<[f64; N]>,
) -> Result<[f64; N]> {
    let rows = |x: &Tensor| x.size().first().copied().unwrap_or(0);
    let least = rows(real).min(rows(fake));
    if blocks < 2 || blocks > least {
        return Err(Error::invalid(format!(
            "a standard error needs at least two blocks and a row in each: found {blocks} blocks of {least} rows"
        )));
    }
    let block = |x: &Tensor, i: i64| {
        let (start, end) = (i * rows(x) / blocks, (i + 1) * rows(x) / blocks);
        x.narrow(0, start, end - start)
    };
    let values = (0..blocks).map(|i| metric(&block(real, i), &block(fake, i))).collect::<Result<Vec<[f64; N]>>>()?;
    Ok(std::array::from_fn(|i| {
        let values: Vec<f64> = values.iter().map(|values| values[i]).collect();
        Tensor::from_slice(&values).std(true).double_value(&[]) / (blocks as f64).sqrt()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_hand() {
        // Blocks of rows 0-1 and 2-4 against 0, 1-2: differences of means 0.5 - 0 and 3 - 1.5.
        let real = Tensor::from_slice(&[0.0, 1.0, 2.0, 3.0, 4.0]).view([5, 1]);
        let fake = Tensor::from_slice(&[0.0, 1.0, 2.0]).view([3, 1]);
        let mean = |x: &Tensor| x.mean(tch::Kind::Double).double_value(&[]);
        let error = block_standard_error(&real, &fake, 2, |a, b| Ok(mean(a) - mean(b))).unwrap();
        assert!((error - 0.5).abs() < 1e-12, "{error}");
        assert!(block_standard_error(&real, &fake, 4, |_, _| Ok(0.0)).is_err());
        assert!(block_standard_error(&real, &fake, 1, |_, _| Ok(0.0)).is_err());
    }
}
