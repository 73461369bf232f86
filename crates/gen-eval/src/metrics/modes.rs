//! Coverage of the modes of known mixtures.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::rows::{checked_pair, distances};
use gen_core::{Error, Result};

/// Coverage of the modes of a known mixture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModeCoverage {
    /// Number of modes with at least one sample of high quality; higher is better.
    pub covered: usize,
    /// Standard error of `covered` over draws of samples. A mode with few samples might have none; their number is
    /// taken as the mean of a Poisson distribution.
    pub covered_standard_error: f64,
    /// Number of modes.
    pub total: usize,
    /// Share of samples of high quality, within three standard deviations of their nearest mode, from 0 to 1; higher is
    /// better.
    pub high_quality_share: f64,
}

/// Mode coverage, as in the literature on mode collapse (Srivastava et al. 2017, section 4.1), of
/// `fake: [n, dimension]` on a mixture of Gaussians with these `centres: [modes, dimension]` and one standard deviation
/// `std`.
///
/// # Errors
/// When there are no samples or no centres, dimensions differ, a value is not finite, or `std` is not positive.
pub fn mode_coverage(centres: &Tensor, std: f64, fake: &Tensor) -> Result<ModeCoverage> {
    if std.is_nan() || std <= 0.0 {
        return Err(Error::invalid(format!("the standard deviation of a mode must be positive, found {std}")));
    }
    let (centres, fake) = checked_pair("mode coverage", centres, fake, 1)?;
    let (distance, mode) = distances(&fake, &centres).min_dim(1, false);
    let good = distance.le(3.0 * std);
    let total = centres.size()[0];
    let hits = mode.masked_select(&good).bincount::<Tensor>(None, total);
    let missed = (-hits.to_kind(Kind::Double)).exp();
    let variance = (&missed * (missed.ones_like() - &missed)).sum(Kind::Double).double_value(&[]);
    Ok(ModeCoverage {
        covered_standard_error: variance.sqrt(),
        covered: hits.gt(0).sum(Kind::Int64).int64_value(&[]) as usize,
        total: total as usize,
        high_quality_share: good.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn counts_by_hand() {
        let centres = Tensor::from_slice(&[0.0, 0.0, 10.0, 0.0, 0.0, 10.0]).view([3, 2]);
        // On a mode, just inside of three deviations, just outside, nowhere near.
        let fake = Tensor::from_slice(&[0.0, 0.0, 10.29, 0.0, 0.0, 10.31, 5.0, 5.0]).view([4, 2]);
        let found = mode_coverage(&centres, 0.1, &fake).unwrap();
        let missed = (-1f64).exp();
        let covered_standard_error = (2.0 * missed * (1.0 - missed)).sqrt();
        assert!((found.covered_standard_error - covered_standard_error).abs() < 1e-12);
        let expected = ModeCoverage { covered: 2, total: 3, high_quality_share: 0.5, ..found };
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_near_covers_nothing() {
        let centres = Tensor::zeros([3, 2], (Kind::Double, Device::Cpu));
        let found = mode_coverage(&centres, 0.1, &(&centres + 1.0)).unwrap();
        assert_eq!((found.covered, found.high_quality_share), (0, 0.0));
    }
}
