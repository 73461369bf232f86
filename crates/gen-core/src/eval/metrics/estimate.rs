use tch::Tensor;

use crate::error::{Error, Result};

/// A number and how far it would vary with other rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its standard error, where one is known.
    pub standard_error: Option<f64>,
}

impl Estimate {
    /// Whether the two differ by no more than twice the standard error of their difference; an error that is not
    /// known counts as 0.
    ///
    /// ```
    /// use gen_core::eval::Estimate;
    ///
    /// let (a, b) = (Estimate { value: 1.0, standard_error: Some(0.3) }, Estimate { value: 1.9, standard_error: Some(0.4) });
    /// assert!(a.ties_with(b));
    /// assert!(!a.ties_with(Estimate { value: 2.1, ..b }));
    /// ```
    pub fn ties_with(self, other: Estimate) -> bool {
        let error = |estimate: Estimate| estimate.standard_error.unwrap_or(0.0);
        (self.value - other.value).abs() <= 2.0 * error(self).hypot(error(other))
    }
}

/// The standard error of the mean of a metric over disjoint `blocks` of consecutive rows of both sets: for metrics
/// without a closed form. A metric of whole sets often varies less than that mean; a bias that depends on the number
/// of rows does not matter.
///
/// ```
/// use gen_core::eval::{block_standard_error, energy_distance};
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
    let values =
        (0..blocks).map(|i| metric(&block(real, i), &block(fake, i))).collect::<Result<Vec<f64>>>()?;
    Ok(Tensor::from_slice(&values).std(true).double_value(&[]) / (blocks as f64).sqrt())
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
