//! Wasserstein distances, exact and sliced.

use tch::{Device, Kind, Tensor};

use super::assignment::assign;
use super::rows::{checked, checked_pair, distances, mean, row_sums, same_width, sum, values};
use gen_core::rng::{Purpose, stream};
use gen_core::{Error, Result};

/// Limit on the rows of an exact transport problem: the costs take 128 MiB, and the time grows with the cube.
const MOST_ROWS: i64 = 4000;
/// Projections in memory at a time.
const PROJECTIONS: i64 = 1 << 21;

/// Wasserstein distances of projections, averaged over directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlicedWasserstein {
    /// The mean of `W₁`.
    pub w1: f64,
    /// The root of the mean of `W₂²`: a distance.
    pub w2: f64,
    /// The mean of `W₂²`. Multiplied by three times the number of features it is MIND.
    pub w2_squared_mean: f64,
}

/// The sliced Wasserstein distances (Bonneel et al. 2015, section 3) of `real` and `fake`, `[n, features]`, along
/// `directions: [count, features]`, which are scaled to length 1. The range is 0 to infinity in the units of the
/// features; lower is better. In one dimension the sorted rows are coupled in order, and sets of different sizes
/// through their quantile functions, which is exact too.
///
/// ```
/// use gen_eval::{random_directions, sliced_wasserstein};
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([300, 4], (Kind::Float, Device::Cpu));
/// let directions = random_directions(4, 128, 0);
/// let shifted = sliced_wasserstein(&real, &(&real + 2.0), &directions).unwrap();
/// // A shift by s has W₂ = |s·u| along u: on average |s|² / d.
/// assert!((shifted.w2_squared_mean - 4.0).abs() < 1.5);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, there is no direction or one of length 0, or a value is not
/// finite.
pub fn sliced_wasserstein(real: &Tensor, fake: &Tensor, directions: &Tensor) -> Result<SlicedWasserstein> {
    const METRIC: &str = "the sliced Wasserstein distance";
    let (real, fake) = checked_pair(METRIC, real, fake, 1)?;
    let directions = checked(METRIC, "direction", directions, 1)?;
    same_width(METRIC, &[("real", &real), ("direction", &directions)])?;
    let lengths = row_sums(&directions.square()).sqrt().unsqueeze(1);
    if lengths.min().double_value(&[]) == 0.0 {
        return Err(Error::invalid(format!("{METRIC}: a direction of length 0")));
    }
    let directions = directions / lengths;
    let coupling = Coupling::of(real.size()[0], fake.size()[0]);
    let at_once = (PROJECTIONS / (real.size()[0] + fake.size()[0])).max(1);
    let (mut first, mut second) = (0.0, 0.0);
    for part in directions.split(at_once, 0) {
        // A row per direction, so that sorting runs along contiguous memory.
        let sorted = |x: &Tensor| part.matmul(&x.tr()).sort(1, false).0;
        let gaps = coupling.gaps(&sorted(&real), &sorted(&fake));
        first += coupling.total(&gaps.abs());
        second += coupling.total(&gaps.square());
    }
    let count = directions.size()[0] as f64;
    let w2_squared_mean = second / count;
    Ok(SlicedWasserstein { w1: first / count, w2: w2_squared_mean.sqrt(), w2_squared_mean })
}

/// The coupling of the sorted rows of two sets.
enum Coupling {
    InOrder {
        n: i64,
    },
    /// Intervals of quantiles: the row of each set there, and the share of the mass.
    Pieces {
        real: Tensor,
        fake: Tensor,
        shares: Tensor,
    },
}

impl Coupling {
    fn of(n: i64, m: i64) -> Self {
        if n == m {
            return Coupling::InOrder { n };
        }
        // In units of 1 / (n m) of the mass, the rows of the first end at multiples of m, those of the second at
        // multiples of n.
        let (mut i, mut j, mut at) = (0, 0, 0);
        let (mut real, mut fake, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        while at < n * m {
            let next = ((i + 1) * m).min((j + 1) * n);
            real.push(i);
            fake.push(j);
            shares.push((next - at) as f64 / (n as f64 * m as f64));
            i += i64::from(next == (i + 1) * m);
            j += i64::from(next == (j + 1) * n);
            at = next;
        }
        let [real, fake] = [real, fake].map(|index| Tensor::from_slice(&index));
        Coupling::Pieces { real, fake, shares: Tensor::from_slice(&shares) }
    }

    /// Differences of coupled values of sorted projections `[directions, n]` and `[directions, m]`.
    fn gaps(&self, real: &Tensor, fake: &Tensor) -> Tensor {
        match self {
            Coupling::InOrder { .. } => real - fake,
            Coupling::Pieces { real: i, fake: j, .. } => real.index_select(1, i) - fake.index_select(1, j),
        }
    }

    /// The mean of each direction over the mass, summed over the directions.
    fn total(&self, gaps: &Tensor) -> f64 {
        match self {
            Coupling::InOrder { n } => sum(gaps) / *n as f64,
            Coupling::Pieces { shares, .. } => sum(&gaps.matmul(shares)),
        }
    }
}

/// `count` directions by `seed`, uniformly distributed on the sphere: `f64 [count, features]`, each of length 1.
pub fn random_directions(features: i64, count: i64, seed: u64) -> Tensor {
    let normal = stream(seed, Purpose::Evaluate, 0).randn([count, features], (Kind::Double, Device::Cpu));
    let lengths = row_sums(&normal.square()).sqrt().unsqueeze(1);
    normal / lengths
}

/// An approximation of the sliced `W₂` of two sets from their means and mean squared deviations alone (Nadjahi et al.
/// 2021, theorem 2 for centred sets, with the exact term of the means). It is accurate in many dimensions, and ignores
/// shape.
///
/// ```
/// use gen_eval::sliced_wasserstein_of_moments;
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([300, 4], (Kind::Double, Device::Cpu));
/// assert!((sliced_wasserstein_of_moments(&real, &(&real + 2.0)).unwrap() - 2.0).abs() < 1e-9);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn sliced_wasserstein_of_moments(real: &Tensor, fake: &Tensor) -> Result<f64> {
    let (real, fake) = checked_pair("the sliced Wasserstein distance", real, fake, 1)?;
    let d = real.size()[1] as f64;
    let moments = |x: &Tensor| {
        let middle = x.mean_dim(0, true, Kind::Double);
        let deviation = mean(&row_sums(&(x - &middle).square()));
        (middle, (deviation / d).sqrt())
    };
    let ((real_mean, real_deviation), (fake_mean, fake_deviation)) = (moments(&real), moments(&fake));
    let means = sum(&(real_mean - fake_mean).square()) / d;
    Ok((means + (real_deviation - fake_deviation).powi(2)).sqrt())
}

/// The Wasserstein distance of order `p` of `real` and `fake`, `[n, features]`, under Euclidean distance:
/// `(min_σ mean_i |x_i - y_σ(i)|ᵖ)^(1/p)`, by optimal assignment. At least 0, in the units of the features; lower is
/// better.
///
/// ```
/// use gen_eval::wasserstein_exact;
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([200, 2], (Kind::Float, Device::Cpu));
/// let distance = wasserstein_exact(&real, &(real.flip([0]) + 3.0), 2.0).unwrap();
/// assert!((distance - 18f64.sqrt()).abs() < 1e-5);
/// ```
///
/// # Errors
/// When the sets differ in size, are empty or have more than 4000 rows, the numbers of features differ, a value is not
/// finite, or `p` is below 1 or infinite.
pub fn wasserstein_exact(real: &Tensor, fake: &Tensor, p: f64) -> Result<f64> {
    if !(1.0..f64::INFINITY).contains(&p) {
        return Err(Error::invalid(format!("the order of a Wasserstein distance must be 1 or more, found {p}")));
    }
    let (real, fake) = checked_pair("the Wasserstein distance", real, fake, 1)?;
    let (n, m) = (real.size()[0], fake.size()[0]);
    if n != m {
        return Err(Error::invalid(format!(
            "the exact Wasserstein distance pairs the rows: found {n} real and {m} fake"
        )));
    }
    if n > MOST_ROWS {
        return Err(Error::invalid(format!(
            "the exact Wasserstein distance takes at most {MOST_ROWS} rows, found {n}: take some of them"
        )));
    }
    let costs = values(&distances(&real, &fake).pow_tensor_scalar(p))?;
    let n = n as usize;
    let total: f64 = assign(&costs, n).into_iter().enumerate().map(|(i, j)| costs[i * n + j]).sum();
    Ok((total / n as f64).powf(1.0 / p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::testing::assert_close_f64;

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    fn column(x: &[f64]) -> Tensor {
        Tensor::from_slice(x).view([-1, 1])
    }

    #[test]
    fn unequal_sizes_by_hand() {
        // Halves {0, 6} against thirds {0, 3, 9}: thirds of a mass of 6 are 0 0, 3 3, 9 9; halves 0 0 0, 6 6 6.
        let found = sliced_wasserstein(&column(&[6.0, 0.0]), &column(&[3.0, 9.0, 0.0]), &column(&[-2.0])).unwrap();
        assert_close_f64(found.w1, (0.0 + 0.0 + 3.0 + 3.0 + 3.0 + 3.0) / 6.0, 1e-12, 0.0);
        assert_close_f64(found.w2_squared_mean, 4.0 * 9.0 / 6.0, 1e-12, 0.0);
        assert_close_f64(found.w2, 6f64.sqrt(), 1e-12, 0.0);
    }

    #[test]
    fn repeated_rows_change_nothing() {
        let (a, b, directions) = (normal(40, 5, 1), normal(60, 5, 2) * 1.3, random_directions(5, 20, 3));
        let found = sliced_wasserstein(&a, &b, &directions).unwrap();
        let (a3, b2) = (a.repeat([3, 1]), b.repeat([2, 1]));
        let same = sliced_wasserstein(&a3, &b2, &directions).unwrap();
        assert_close_f64(same.w1, found.w1, 1e-12, 0.0);
        assert_close_f64(same.w2, found.w2, 1e-12, 0.0);
        let swapped = sliced_wasserstein(&b, &a.flip([0]), &directions).unwrap();
        assert_close_f64(swapped.w2, found.w2, 1e-12, 0.0);
        let zero = sliced_wasserstein(&a, &a3.flip([0]), &directions).unwrap();
        assert!(zero.w1 < 1e-15 && zero.w2 < 1e-15);
        // The projections of a transport plan are a plan of the projections.
        let exact = wasserstein_exact(&a, &b.narrow(0, 0, 40), 2.0).unwrap();
        let sliced = sliced_wasserstein(&a, &b.narrow(0, 0, 40), &directions).unwrap();
        assert!(sliced.w2 < exact);
    }

    #[test]
    fn directions_have_length_one_and_a_seed() {
        let directions = random_directions(7, 100, 4);
        assert!(bool::try_from((row_sums(&directions.square()) - 1.0).abs().lt(1e-12).all()).unwrap());
        assert_eq!(directions, random_directions(7, 100, 4));
        assert_ne!(directions, random_directions(7, 100, 5));
        assert!(mean(&directions).abs() < 0.05);
    }

    #[test]
    fn exact_distances_are_metrics() {
        let (a, b, c) = (normal(80, 3, 5), normal(80, 3, 6) + 0.5, normal(80, 3, 7) * 2.0);
        for p in [1.0, 2.0, 3.0] {
            let w = |x: &Tensor, y: &Tensor| wasserstein_exact(x, y, p).unwrap();
            assert_eq!(w(&a, &a.flip([0])), 0.0);
            assert_close_f64(w(&a, &b), w(&b, &a.flip([0])), 1e-12, 0.0);
            assert!(w(&a, &c) <= w(&a, &b) + w(&b, &c));
        }
        let w = |p| wasserstein_exact(&a, &b, p).unwrap();
        assert!(w(1.0) <= w(2.0) && w(2.0) <= w(3.0));
    }

    #[test]
    fn impossible_input_is_explained() {
        let (a, b) = (normal(4, 2, 8), normal(3, 2, 9));
        let message = |result: Result<f64>| result.unwrap_err().to_string();
        assert_eq!(
            message(wasserstein_exact(&a, &b, 2.0)),
            "the exact Wasserstein distance pairs the rows: found 4 real and 3 fake"
        );
        assert_eq!(
            message(wasserstein_exact(&a, &a, 0.5)),
            "the order of a Wasserstein distance must be 1 or more, found 0.5"
        );
        let many = Tensor::zeros([4001, 1], (Kind::Double, Device::Cpu));
        assert_eq!(
            message(wasserstein_exact(&many, &many, 2.0)),
            "the exact Wasserstein distance takes at most 4000 rows, found 4001: take some of them"
        );
        let sliced = |directions: &Tensor| message(sliced_wasserstein(&a, &b, directions).map(|found| found.w1));
        assert_eq!(sliced(&b.zeros_like()), "the sliced Wasserstein distance: a direction of length 0");
        assert_eq!(
            sliced(&b.narrow(1, 0, 1)),
            "the sliced Wasserstein distance: real rows have 2 features, direction rows 1"
        );
    }
}
