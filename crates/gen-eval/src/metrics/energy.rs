//! The energy distance, the Chamfer distance and the Parzen window estimate.

use std::f64::consts::TAU;

use tch::{Kind, Tensor};

use super::estimate::Estimate;
use super::neighbours::{Points, nearest};
use super::pairs::{PairSums, standard_error};
use super::rows::{checked_pair, distances, mean, row_sums, sum};
use gen_core::{Error, Result};

/// The energy distance (Székely and Rizzo 2013, equation 2) of `real` and `fake`, `[n, features]`:
/// `2 E|x - y| - E|x - x'| - E|y - y'|` over all pairs, each row with itself included. Never negative, and 0 only for
/// equal distributions; lower is better. It is the biased [`mmd_squared`](crate::mmd_squared) of the kernel `-|a - b|`.
/// (The function of this name in scipy, in one dimension, is its square root.)
///
/// ```
/// use gen_eval::energy_distance;
/// use tch::Tensor;
///
/// let (a, b) = (Tensor::from_slice(&[0.0, 2.0]).view([2, 1]), Tensor::from_slice(&[1.0]).view([1, 1]));
/// assert_eq!(energy_distance(&a, &b).unwrap(), 2.0 - 1.0);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn energy_distance(real: &Tensor, fake: &Tensor) -> Result<f64> {
    Ok(energy_distance_estimate(real, fake)?.value)
}

/// [`energy_distance`] with its standard error over draws of both sets, like
/// [`mmd_squared_estimate`](crate::mmd_squared_estimate).
///
/// # Errors
/// As [`energy_distance`].
pub fn energy_distance_estimate(real: &Tensor, fake: &Tensor) -> Result<Estimate> {
    let (real, fake) = checked_pair("the energy distance", real, fake, 1)?;
    let (of_real, of_fake) = (distance_sums(&real, &real)?, distance_sums(&fake, &fake)?);
    let both = distance_sums(&real, &fake)?;
    let mean = |sums: &PairSums| sum(&sums.by_first) / (sums.by_first.numel() * sums.by_second.numel()) as f64;
    Ok(Estimate {
        // Negative by rounding alone.
        value: (2.0 * mean(&both) - mean(&of_real) - mean(&of_fake)).max(0.0),
        standard_error: standard_error(&of_real, &of_fake, &both)?,
    })
}

/// Sums over the distances of all pairs of rows; those of a row to itself are 0.
fn distance_sums(first: &Tensor, second: &Tensor) -> Result<PairSums> {
    let points = Points::new(first)?;
    let mut by_second = Vec::new();
    let (mut by_first, mut squares) = (Tensor::zeros([first.size()[0]], (Kind::Double, first.device())), 0.0);
    for block in points.blocks(second) {
        let distances = block?.1.distances();
        by_first += distances.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
        squares += sum(&distances.square());
        by_second.push(row_sums(&distances));
    }
    Ok(PairSums { by_first, by_second: Tensor::cat(&by_second, 0), squares })
}

/// The Chamfer distance of point sets `real` and `fake`, `[n, features]`: the mean squared distance of real rows to
/// their nearest fake row, plus that of fake rows to their nearest real one. At least 0; lower is better.
///
/// ```
/// use gen_eval::chamfer_distance;
/// use tch::Tensor;
///
/// let (a, b) = (Tensor::from_slice(&[0.0, 4.0]).view([2, 1]), Tensor::from_slice(&[1.0]).view([1, 1]));
/// assert_eq!(chamfer_distance(&a, &b).unwrap(), (1.0 + 9.0) / 2.0 + 1.0);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn chamfer_distance(real: &Tensor, fake: &Tensor) -> Result<f64> {
    let (real, fake) = checked_pair("the Chamfer distance", real, fake, 1)?;
    let one_way = |from: &Tensor, to: &Tensor| -> Result<f64> {
        Ok(mean(&nearest(from, to, 1, false, &mut |_, _| ())?.0.square()))
    };
    Ok(one_way(&real, &fake)? + one_way(&fake, &real)?)
}

/// The mean log-density, in nats, of `fake: [m, features]` under Gaussians of standard deviation `bandwidth` around
/// each row of `real: [n, features]`: a Parzen window estimate; higher is better. With the roles swapped it is the
/// estimate of a model's likelihood in early papers on GANs, which Theis et al. (2016, section 3) advise against.
///
/// ```
/// use gen_eval::parzen_log_density;
/// use tch::{Device, Kind, Tensor};
///
/// let point = Tensor::zeros([1, 2], (Kind::Double, Device::Cpu));
/// let density = parzen_log_density(&point, &point, 1.0).unwrap();
/// assert!((density + std::f64::consts::TAU.ln()).abs() < 1e-12);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, a value is not finite, or the bandwidth is not positive.
pub fn parzen_log_density(real: &Tensor, fake: &Tensor, bandwidth: f64) -> Result<f64> {
    if bandwidth.is_nan() || bandwidth <= 0.0 {
        return Err(Error::invalid(format!("a bandwidth must be positive, found {bandwidth}")));
    }
    let (real, fake) = checked_pair("the Parzen density", real, fake, 1)?;
    let [n, d] = real.size()[..] else { unreachable!("a matrix has two sizes") };
    let normaliser = (n as f64).ln() + 0.5 * d as f64 * (TAU * bandwidth * bandwidth).ln();
    let parts: Vec<Tensor> = fake
        .split(256, 0)
        .iter()
        .map(|part| {
            let exponents = distances(part, &real).square() * (-0.5 / (bandwidth * bandwidth));
            exponents.logsumexp([1i64].as_slice(), false) - normaliser
        })
        .collect();
    Ok(Tensor::cat(&parts, 0).mean(Kind::Double).double_value(&[]))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::super::mmd::{Estimator, mmd_squared};
    use super::*;
    use gen_core::rng::{Purpose, stream};
    use gen_core::testing::assert_close_f64;

    #[test]
    fn energy_is_a_kernel_distance() {
        let a = stream(3, Purpose::Evaluate, 0).randn([900, 30], (Kind::Double, Device::Cpu));
        let b = Tensor::cat(&[&(a.narrow(0, 0, 400) + 1e-9), &(a.narrow(0, 0, 100) * 2.0)], 0);
        let kernel = |a: &Tensor, b: &Tensor| -distances(a, b);
        let expected = mmd_squared(&a, &b, kernel, Estimator::Biased).unwrap();
        assert_close_f64(energy_distance(&a, &b).unwrap(), expected, 1e-9, 1e-12);
    }

    #[test]
    fn symmetric_and_zero_on_equal_sets() {
        let a = stream(1, Purpose::Evaluate, 0).randn([700, 3], (Kind::Double, Device::Cpu));
        let b = stream(2, Purpose::Evaluate, 0).randn([600, 3], (Kind::Double, Device::Cpu)) + 0.5;
        for distance in [energy_distance, chamfer_distance] {
            let ab = distance(&a, &b).unwrap();
            assert!(ab > 0.0);
            assert_close_f64(distance(&b, &a).unwrap(), ab, 1e-10, 0.0);
            assert_close_f64(distance(&a.flip([0]), &b).unwrap(), ab, 1e-10, 0.0);
            assert_close_f64(distance(&a, &a.flip([0])).unwrap(), 0.0, 0.0, 1e-12);
        }
        assert!(energy_distance(&a, &b.narrow(1, 0, 2)).is_err());
        assert_eq!(parzen_log_density(&a, &b, 0.0).unwrap_err().to_string(), "a bandwidth must be positive, found 0");
    }
}
