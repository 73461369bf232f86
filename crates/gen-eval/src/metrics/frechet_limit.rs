//! The Fréchet distance for infinitely many samples.

use tch::Tensor;

use super::frechet::{between, influences, mean_and_factor};
use super::rows::{checked_pair, sum};
use gen_core::{Error, Result};

/// Number of sizes of an extrapolation, and limit on the smallest one (Chong and Forsyth 2020, section 4.2).
const SIZES: i64 = 15;
const SMALLEST: f64 = 5000.0;

/// The limit of a metric for infinitely many samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extrapolation {
    /// The value for infinitely many samples.
    pub limit: f64,
    /// The value for `n` samples is `limit + slope / n`.
    pub slope: f64,
    /// Standard error of the limit.
    pub standard_error: f64,
}

/// FD∞, the Fréchet distance for infinitely many fake rows (Chong and Forsyth 2020, section 4): the intercept of the
/// least-squares line through the distances of the first `sizes` rows of `fake` over `1 / size`. Every distance uses
/// all real rows, so the bias of their number remains. Lower is better; sampling noise can make it negative.
///
/// Rows must be in random order. The standard error is over draws of both sets to first order, as in
/// [`frechet_standard_error`](crate::frechet_standard_error), and accounts for the rows that prefixes share.
///
/// ```
/// use gen_eval::{extrapolation_sizes, frechet_distance, frechet_distance_infinity};
/// use tch::{Device, Kind, Tensor};
///
/// let normal = |n| Tensor::randn([n, 32], (Kind::Float, Device::Cpu));
/// let (real, fake) = (normal(5000), normal(500));
/// let infinity = frechet_distance_infinity(&real, &fake, &extrapolation_sizes(500)).unwrap();
/// assert!(infinity.limit < frechet_distance(&real, &fake).unwrap());
/// ```
///
/// # Errors
/// As [`frechet_distance`](crate::frechet_distance), and when there are fewer than two different sizes or one is not
/// from 2 to the number of fake rows.
pub fn frechet_distance_infinity(real: &Tensor, fake: &Tensor, sizes: &[i64]) -> Result<Extrapolation> {
    let (real, fake) = checked_pair("the Fréchet distance", real, fake, 2)?;
    let n = fake.size()[0];
    if let Some(size) = sizes.iter().find(|size| !(2..=n).contains(*size)) {
        return Err(Error::invalid(format!("sizes to extrapolate from go from 2 to the {n} fake rows, found {size}")));
    }
    if sizes.iter().all(|size| *size == sizes[0]) {
        return Err(Error::invalid("to extrapolate takes at least two different sizes"));
    }
    let factored = mean_and_factor(&real)?;
    let distances = sizes
        .iter()
        .map(|size| between(&factored, &mean_and_factor(&fake.narrow(0, 0, *size))?))
        .collect::<Result<Vec<f64>>>()?;

    let inverse: Vec<f64> = sizes.iter().map(|size| 1.0 / *size as f64).collect();
    let average = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (x, y) = (average(&inverse), average(&distances));
    let spread: f64 = inverse.iter().map(|at| (at - x).powi(2)).sum();
    let slope = inverse.iter().zip(&distances).map(|(at, d)| (at - x) * (d - y)).sum::<f64>() / spread;

    // The intercept is a sum of the distances with these weights, and a distance changes by the mean influence of its
    // rows. A row's share is therefore the sum of weight over size of the prefixes that contain it.
    let weights = inverse.iter().map(|at| 1.0 / sizes.len() as f64 - x * (at - x) / spread);
    let mut shares = vec![0.0; n as usize];
    for (weight, size) in weights.zip(sizes) {
        for share in &mut shares[..*size as usize] {
            *share += weight / *size as f64;
        }
    }
    let (real_influence, fake_influence) = influences(&real, &fake)?;
    let variance = |x: &Tensor| sum(&x.square()) / (x.numel() as f64 - 1.0);
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    let error = variance(&real_influence) / real.size()[0] as f64 + variance(&fake_influence) * squares;
    Ok(Extrapolation { limit: y - slope * x, slope, standard_error: error.sqrt() })
}

/// The sizes of [`frechet_distance_infinity`] in the literature: 15 evenly spaced sizes from a tenth of `n`, at most
/// 5000, to `n`. They are fewer for small `n`.
///
/// ```
/// use gen_eval::extrapolation_sizes;
/// assert_eq!(extrapolation_sizes(10_000)[..3], [1000, 1642, 2285]);
/// assert_eq!(extrapolation_sizes(4), [2, 3, 4]);
/// ```
pub fn extrapolation_sizes(n: i64) -> Vec<i64> {
    let first = (n as f64 / 10.0).clamp(2.0, SMALLEST);
    let step = (n as f64 - first) / (SIZES - 1) as f64;
    let mut sizes: Vec<i64> = (0..SIZES - 1).map(|i| (first + i as f64 * step) as i64).collect();
    sizes.push(n);
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::super::frechet::{frechet_distance, frechet_standard_error};
    use super::*;
    use gen_core::rng::{Purpose, stream};

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    fn spread(x: &[f64]) -> f64 {
        Tensor::from_slice(x).std(true).double_value(&[])
    }

    #[test]
    fn standard_errors_are_the_spread_of_repeated_draws() {
        let sizes = [60, 90, 150, 300];
        let draws: Vec<[f64; 4]> = (0..60)
            .map(|i| {
                let scale = Tensor::from_slice(&[1.0, 1.5, 0.7, 1.2]);
                let (real, fake) = (normal(400, 4, 100 + 2 * i), normal(300, 4, 101 + 2 * i) * scale + 0.5);
                let infinity = frechet_distance_infinity(&real, &fake, &sizes).unwrap();
                [
                    frechet_distance(&real, &fake).unwrap(),
                    frechet_standard_error(&real, &fake).unwrap(),
                    infinity.limit,
                    infinity.standard_error,
                ]
            })
            .collect();
        let column = |i: usize| draws.iter().map(|draw| draw[i]).collect::<Vec<f64>>();
        for i in [0, 2] {
            let (found, stated) = (spread(&column(i)), column(i + 1).iter().sum::<f64>() / 60.0);
            // 60 draws know their spread to 10 %.
            assert!((found / stated - 1.0).abs() < 0.3, "spread {found}, stated {stated}");
        }
    }

    #[test]
    fn the_limit_of_equal_distributions_is_near_zero() {
        let real = normal(10_000, 8, 7);
        let sizes = extrapolation_sizes(1000);
        let (mut limit, mut slope, mut finite) = (0.0, 0.0, 0.0);
        for seed in 0..10 {
            let fake = normal(1000, 8, 400 + seed);
            let infinity = frechet_distance_infinity(&real, &fake, &sizes).unwrap();
            limit += 0.1 * infinity.limit;
            slope += 0.1 * infinity.slope;
            finite += 0.1 * frechet_distance(&real, &fake).unwrap();
        }
        assert!(limit.abs() < 0.25 * finite, "{limit} against {finite}");
        // Half of d (d + 1) / 2 + 2 d, where only one side is small.
        assert!((slope / 26.0 - 1.0).abs() < 0.2, "{slope}");
    }

    #[test]
    fn impossible_input_is_explained() {
        let (a, b) = (normal(10, 3, 9), normal(10, 3, 10));
        let message = |sizes: &[i64]| frechet_distance_infinity(&a, &b, sizes).unwrap_err().to_string();
        assert_eq!(message(&[2, 11]), "sizes to extrapolate from go from 2 to the 10 fake rows, found 11");
        assert_eq!(message(&[5, 5]), "to extrapolate takes at least two different sizes");
        assert_eq!(message(&[]), "to extrapolate takes at least two different sizes");
    }
}
