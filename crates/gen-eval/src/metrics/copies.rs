//! Tests for copies of training rows, and for differences of two sets, by nearest neighbours.

use tch::{Kind, Tensor};

use super::estimate::{Estimate, share_standard_error};
use super::neighbours::nearest;
use super::rows::{checked, checked_pair, mean, same_width, sum, values};
use gen_core::{Error, Result};

/// Neighbours that measure the density of the training data around a row (Carlini et al. 2023).
const NEIGHBOURS: i64 = 50;
/// Share of test rows at or below the threshold of copies.
pub(crate) const FALSE_ALARMS: f64 = 0.01;

fn silent(_: usize, _: usize) {}

/// Shares of rows whose nearest other row is of the same set, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneNearest {
    /// Share of all rows; 0.5 is best.
    pub all: f64,
    /// Share of real rows.
    pub real: f64,
    /// Share of fake rows.
    pub fake: f64,
}

/// The leave-one-out accuracy of a nearest-neighbour classifier of `real` against `fake`, `[n, features]` (Lopez-Paz
/// and Oquab 2017, section 3): 0.5 if the sets are indistinguishable, 1 if they are apart, 0 if each fake row is a copy
/// of another real one. Among equally near rows the first counts, real ones before fake ones.
///
/// The sets should have the same size, since the larger one has more nearest neighbours.
///
/// ```
/// use gen_eval::one_nn_accuracy;
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([100, 4], (Kind::Float, Device::Cpu));
/// assert_eq!(one_nn_accuracy(&real, &real).unwrap().all, 0.0);
/// assert_eq!(one_nn_accuracy(&real, &(&real + 100.0)).unwrap().all, 1.0);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn one_nn_accuracy(real: &Tensor, fake: &Tensor) -> Result<OneNearest> {
    let (real, fake) = checked_pair("1-NN accuracy", real, fake, 1)?;
    let (n, m) = (real.size()[0], fake.size()[0]);
    let all = Tensor::cat(&[real, fake], 0);
    let (_, index) = nearest(&all, &all, 1, true, &mut silent)?;
    let is_real = index.select(1, 0).lt(n);
    let count = |x: &Tensor| x.sum(Kind::Int64).int64_value(&[]);
    let (of_real, of_fake) = (count(&is_real.narrow(0, 0, n)), m - count(&is_real.narrow(0, n, m)));
    let share = |right: i64, of: i64| right as f64 / of as f64;
    let (all, real, fake) = (share(of_real + of_fake, n + m), share(of_real, n), share(of_fake, m));
    Ok(OneNearest { all, real, fake })
}

/// AuthPct (Alaa et al. 2022, section 4.3): the percentage of rows of `fake: [m, features]` that are farther from their
/// nearest row of `train: [n, features]` than that row is from its own nearest training row. It is 0 for copies, and
/// below 100 for a perfect model too. Samples far from all data have 100, so it ranks no model.
///
/// ```
/// use gen_eval::auth_pct;
/// use tch::{Device, Kind, Tensor};
///
/// let train = Tensor::randn([100, 4], (Kind::Float, Device::Cpu));
/// assert_eq!(auth_pct(&train, &train).unwrap(), 0.0);
/// ```
///
/// # Errors
/// When there are fewer than two training rows or no fake ones, the numbers of features differ, or a value is not
/// finite.
pub fn auth_pct(train: &Tensor, fake: &Tensor) -> Result<f64> {
    const METRIC: &str = "AuthPct";
    let train = checked(METRIC, "training", train, 2)?;
    let fake = checked(METRIC, "fake", fake, 1)?;
    same_width(METRIC, &[("training", &train), ("fake", &fake)])?;
    Ok(NearestTraining::find(&train, &fake, &mut silent)?.auth_pct(&train)?.value)
}

/// The nearest training rows of each row of a set, which [`auth_pct`], [`nearest_train_test`] and [`copied_share`]
/// share.
#[derive(Debug)]
pub struct NearestTraining {
    /// `f64 [rows, 50]`, or fewer columns for fewer training rows, the nearest first
    distances: Tensor,
    /// Index of the nearest training row: `i64 [rows]`
    index: Tensor,
}

impl NearestTraining {
    /// Finds the rows of `train: [n, features]` that are nearest to each row of `x: [m, features]`. `progress` receives
    /// the number of rows done and in all.
    ///
    /// # Errors
    /// When there are fewer than two training rows or `x` is empty, the numbers of features differ, or a value is not
    /// finite.
    pub fn find(train: &Tensor, x: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        const METRIC: &str = "the search for copies";
        let train = checked(METRIC, "training", train, 2)?;
        let x = checked(METRIC, "fake", x, 1)?;
        let (distances, index) = nearest(&x, &train, NEIGHBOURS.min(train.size()[0]), false, progress)?;
        Ok(NearestTraining { distances, index: index.select(1, 0).contiguous() })
    }

    /// The distances, `f64 [rows, 50]`, and the indices of the nearest rows, `i64 [rows]`, for
    /// [`from_tensors`](NearestTraining::from_tensors).
    pub fn tensors(&self) -> (&Tensor, &Tensor) {
        (&self.distances, &self.index)
    }

    /// The result whose [`NearestTraining::tensors`] these are.
    ///
    /// # Errors
    /// When kinds or shapes are others.
    pub fn from_tensors(distances: Tensor, index: Tensor) -> Result<Self> {
        let kinds = (distances.kind(), index.kind()) == (Kind::Double, Kind::Int64);
        match (&distances.size()[..], &index.size()[..]) {
            ([rows, _], [indices]) if kinds && rows == indices => Ok(NearestTraining { distances, index }),
            (distances, index) => Err(Error::invalid(format!(
                "nearest training rows are [rows, neighbours] distances and [rows] indices: \
                 found {distances:?} and {index:?}"
            ))),
        }
    }

    /// [`auth_pct`] of these rows, given the `train` rows of [`NearestTraining::find`]. The standard error is over
    /// draws of both sets. It accounts for rows with the same nearest training row, which decides about all of them.
    ///
    /// # Errors
    /// When `train` has too few rows, or values that are not finite.
    pub fn auth_pct(&self, train: &Tensor) -> Result<Estimate> {
        let train = checked("AuthPct", "training", train, 2)?;
        // Only training rows that are nearest to some row matter.
        let (rows, place, _) = self.index.unique_dim(0, true, true, false);
        let (own, _) = nearest(&train.f_index_select(0, &rows)?, &train, 2, false, &mut silent)?;
        // The first neighbour is the row itself or an equal one; the second is then its nearest other row.
        let own = own.select(1, 1).index_select(0, &place);
        let authentic = own.less_tensor(&self.distances.select(1, 0)).to_kind(Kind::Double);
        let share = mean(&authentic);
        let n = authentic.numel();
        let of_training_rows = place.bincount(Some(&authentic - share), 0);
        let error = sum(&of_training_rows.square()).sqrt() / n as f64;
        let error = error.max(share_standard_error(share, n));
        Ok(Estimate { value: 100.0 * share, standard_error: Some(100.0 * error) })
    }

    /// [`nearest_train_test`] of these rows against those of `test`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn against(&self, test: &NearestTraining) -> Result<NearestTrain> {
        let nearest = |rows: &NearestTraining| values(&rows.distances.select(1, 0));
        Ok(mann_whitney(&nearest(test)?, &nearest(self)?))
    }

    /// [`copied_share`] of these rows, by the threshold of those of `test`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn copied_share(&self, test: &NearestTraining) -> Result<Copied> {
        let mut of_test = test.relative_nearness()?;
        of_test.sort_unstable_by(f64::total_cmp);
        let last = (of_test.len() - 1) as f64;
        let threshold_at = |share: f64| of_test[(share * last).clamp(0.0, last) as usize];
        let threshold = threshold_at(FALSE_ALARMS);
        let of_these = self.relative_nearness()?;
        let flagged: Vec<i64> =
            (0..).zip(&of_these).filter(|(_, ratio)| **ratio <= threshold).map(|(row, _)| row).collect();
        let n = of_these.len();
        let share = flagged.len() as f64 / n as f64;
        // The threshold is a quantile of test rows, so it varies with them (Woodruff 1952). Its interval of two
        // standard errors to either side gives four standard errors of the share.
        let off = 2.0 * (FALSE_ALARMS * (1.0 - FALSE_ALARMS) / (last + 1.0)).sqrt();
        let below = |threshold: f64| of_these.iter().filter(|ratio| **ratio <= threshold).count() as f64;
        let by_test =
            (below(threshold_at(FALSE_ALARMS + off)) - below(threshold_at(FALSE_ALARMS - off))) / (4.0 * n as f64);
        Ok(Copied { share, standard_error: by_test.hypot(share_standard_error(share, n)), threshold, flagged })
    }

    /// Ratio of the distance to the nearest training row to the mean distance to the nearest 50; 0 if both are 0.
    fn relative_nearness(&self) -> Result<Vec<f64>> {
        let around = self.distances.mean_dim([1i64].as_slice(), false, Kind::Double);
        values(&(self.distances.select(1, 0) / around).nan_to_num(0.0, None, None))
    }
}

/// A test of whether samples are nearer to the training data than test rows are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearestTrain {
    /// The standardised Mann-Whitney statistic: standard normal if samples are as near as test rows, negative if they
    /// are nearer (copies), positive if they are farther (underfitted).
    pub z: f64,
    /// Standard error of `z` over draws of samples and test rows, where it is known; about 1 for equal distributions.
    pub standard_error: Option<f64>,
    /// Share of pairs of a sample and a test row in which the sample is nearer; ties count half.
    pub nearer: f64,
}

/// C_T, the data-copying test of Meehan et al. (2020, section 3) over the whole space: the Mann-Whitney test of the
/// distances of `fake: [m, features]` to their nearest rows of `train`, against those of held-out `test` rows. Ties
/// have mid-ranks and the corrected variance.
///
/// ```
/// use gen_eval::nearest_train_test;
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([300, 2], (Kind::Float, Device::Cpu));
/// let train = normal();
/// assert!(nearest_train_test(&train, &normal(), &(&train + 0.001)).unwrap().z < -10.0);
/// assert!(nearest_train_test(&train, &normal(), &(normal() * 5.0)).unwrap().z > 10.0);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn nearest_train_test(train: &Tensor, test: &Tensor, fake: &Tensor) -> Result<NearestTrain> {
    let [train, test, fake] = three("the test of data copying", train, test, fake, 2)?;
    let find = |x: &Tensor| NearestTraining::find(&train, x, &mut silent);
    find(&fake)?.against(&find(&test)?)
}

/// The Mann-Whitney test of `b` against `a`; negative if `b` is smaller.
fn mann_whitney(a: &[f64], b: &[f64]) -> NearestTrain {
    let mut all: Vec<(f64, bool)> = a.iter().map(|x| (*x, false)).chain(b.iter().map(|x| (*x, true))).collect();
    all.sort_unstable_by(|x, y| x.0.total_cmp(&y.0));
    let (n, m) = (a.len() as f64, b.len() as f64);
    let total = n + m;
    // `larger` counts pairs in which b is larger, by runs of equal values.
    let (mut larger, mut ties, mut below) = (0.0, 0.0, 0.0);
    for run in all.chunk_by(|x, y| x.0 == y.0) {
        let of_b = run.iter().filter(|(_, is_b)| *is_b).count() as f64;
        let of_a = run.len() as f64 - of_b;
        larger += of_b * (below + 0.5 * of_a);
        below += of_a;
        let t = run.len() as f64;
        ties += t * t * t - t;
    }
    let variance = if total > 1.0 { n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0))) } else { 0.0 };
    // Without any variance there is no evidence either way.
    let z = if variance > 0.0 { (larger - 0.5 * n * m) / variance.sqrt() } else { 0.0 };
    // The variance of the share of pairs by the contributions of single rows (DeLong et al. 1988).
    let parts_in = |rows: &[f64], others: &[f64]| {
        let mut others = others.to_vec();
        others.sort_unstable_by(f64::total_cmp);
        let below = |x: &f64| others.partition_point(|y| y < x) + others.partition_point(|y| y <= x);
        let parts: Vec<f64> = rows.iter().map(|x| below(x) as f64 / (2.0 * others.len() as f64)).collect();
        match parts.len() {
            0 | 1 => 0.0,
            count => Tensor::from_slice(&parts).var(true).double_value(&[]) / count as f64,
        }
    };
    let of_share = parts_in(a, b) + parts_in(b, a);
    let standard_error = (of_share > 0.0 && variance > 0.0).then(|| n * m * of_share.sqrt() / variance.sqrt());
    NearestTrain { z, standard_error, nearer: 1.0 - larger / (n * m) }
}

/// Samples that are suspiciously near a single training row.
#[derive(Debug, Clone, PartialEq)]
pub struct Copied {
    /// Share of fake rows at or below the threshold, from 0 to 1; about 0.01 for a model that does not copy.
    pub share: f64,
    /// Standard error of the share over draws of fake and of test rows.
    pub standard_error: f64,
    /// Threshold on the ratio of the distance to the nearest training row to the mean distance to the nearest 50.
    pub threshold: f64,
    /// Indices of the fake rows that are counted, in order.
    pub flagged: Vec<i64>,
}

/// The share of `fake` rows that look copied from `train` (Carlini et al. 2023, section 4.2). A row counts if the
/// distance to its nearest training row, relative to the mean distance to the nearest 50, is at most that of the lowest
/// percent of held-out `test` rows. The criterion is relative, so blurred or plain samples, which are near very many
/// training rows, do not count. Samples far from all data do not either, so it ranks no model.
///
/// ```
/// use gen_eval::copied_share;
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([500, 8], (Kind::Float, Device::Cpu));
/// let (train, test) = (normal(), normal());
/// assert_eq!(copied_share(&train, &test, &train).unwrap().share, 1.0);
/// assert!(copied_share(&train, &test, &normal()).unwrap().share < 0.1);
/// ```
///
/// # Errors
/// When there are fewer than two training rows, no test or fake rows, the numbers of features differ, or a value is
/// not finite.
pub fn copied_share(train: &Tensor, test: &Tensor, fake: &Tensor) -> Result<Copied> {
    let [train, test, fake] = three("the share of copies", train, test, fake, 2)?;
    let find = |x: &Tensor| NearestTraining::find(&train, x, &mut silent);
    find(&fake)?.copied_share(&find(&test)?)
}

fn three(metric: &str, train: &Tensor, test: &Tensor, fake: &Tensor, least: i64) -> Result<[Tensor; 3]> {
    let train = checked(metric, "training", train, least)?;
    let test = checked(metric, "test", test, 1)?;
    let fake = checked(metric, "fake", fake, 1)?;
    same_width(metric, &[("training", &train), ("test", &test), ("fake", &fake)])?;
    Ok([train, test, fake])
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::rng::{Purpose, stream};
    use gen_core::testing::assert_close_f64;

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    fn column(x: &[f64]) -> Tensor {
        Tensor::from_slice(x).view([-1, 1])
    }

    #[test]
    fn one_nearest_by_hand() {
        // 0 and 1 have each other, 5 and 6 have 5.4: 5.4 has 5, which has 5.4.
        let found = one_nn_accuracy(&column(&[0.0, 1.0, 5.0, 6.0]), &column(&[5.4, 9.0])).unwrap();
        assert_eq!(found, OneNearest { all: 2.0 / 6.0, real: 0.5, fake: 0.0 });
        let found = one_nn_accuracy(&normal(600, 4, 1), &normal(600, 4, 2)).unwrap();
        assert_close_f64(found.all, 0.5, 0.0, 0.06);
    }

    #[test]
    fn authenticity_by_hand() {
        let train = column(&[0.0, 1.0, 10.0, 10.0]);
        // 0.6 is nearer to 1 than 0 is; -1.5 is farther from 0 than 1 is; -1 is as far; 10.1 is near to a row whose
        // copy is nearer.
        let share = |fake: &[f64]| auth_pct(&train, &column(fake)).unwrap();
        assert_eq!(share(&[0.6, -1.5, -1.0, 10.1]), 50.0);
        assert_eq!(share(&[0.0, 10.0]), 0.0);
        assert_eq!(share(&[-3.0, 30.0, -3.0]), 100.0);
    }

    #[test]
    fn the_statistic_of_mann_and_whitney_by_hand() {
        // 2 is above 1 and ties with 2, 3 is above two of a, 6 above three.
        let (a, b) = ([1.0, 2.0, 5.0, 7.0], [2.0, 3.0, 6.0]);
        let found = mann_whitney(&a, &b);
        let u = 1.5 + 2.0 + 3.0;
        assert_close_f64(found.nearer, 1.0 - u / 12.0, 1e-12, 0.0);
        let variance = 12.0 / 12.0 * (8.0 - 6.0 / 42.0);
        assert_close_f64(found.z, (u - 6.0) / f64::sqrt(variance), 1e-12, 0.0);
        assert_close_f64(mann_whitney(&b, &a).z, -found.z, 1e-12, 0.0);
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0]), NearestTrain { z: 0.0, standard_error: None, nearer: 0.5 });
    }

    #[test]
    fn copying_differs_from_fitting() {
        let train = normal(800, 4, 3);
        let test = normal(400, 4, 4);
        let z = |fake: &Tensor| nearest_train_test(&train, &test, fake).unwrap().z;
        let honest: Vec<f64> = (10..20).map(|seed| z(&normal(400, 4, seed))).collect();
        assert!(honest.iter().all(|z| z.abs() < 3.5), "{honest:?}");
        assert!(z(&(train.narrow(0, 0, 400) + normal(400, 4, 5) * 0.05)) < -8.0);
        assert!(z(&(normal(400, 4, 6) * 2.0)) > 4.0);
    }

    #[test]
    fn copies_are_flagged_and_blur_is_not() {
        let train = normal(2000, 16, 7);
        let test = normal(1000, 16, 8);
        let share = |fake: &Tensor| copied_share(&train, &test, fake).unwrap().share;
        assert_eq!(share(&train), 1.0);
        assert_eq!(share(&(&train + normal(2000, 16, 9) * 0.1)), 1.0);
        assert_eq!(share(&test), 0.01);
        assert!(share(&normal(1000, 16, 10)) < 0.03);
        // Near to everything, a copy of nothing.
        assert!(share(&(normal(1000, 16, 11) * 0.2)) < 0.03);
        let some = Tensor::cat(&[normal(3, 16, 12) * 3.0, train.narrow(0, 50, 2)], 0);
        assert_eq!(copied_share(&train, &test, &some).unwrap().flagged, [3, 4]);
        // Training data of one row many times, which test rows and samples repeat.
        let same = Tensor::ones([60, 2], (Kind::Double, Device::Cpu));
        assert_eq!(copied_share(&same, &same, &same).unwrap().share, 1.0);
    }

    #[test]
    fn impossible_input_is_explained() {
        let x = normal(3, 2, 13);
        let message = |result: Result<f64>| result.unwrap_err().to_string();
        assert_eq!(
            message(auth_pct(&x.narrow(0, 0, 1), &x)),
            "AuthPct needs at least 2 training rows as [n, features]; found [1, 2]"
        );
        assert_eq!(
            message(nearest_train_test(&x, &x.narrow(1, 0, 1), &x).map(|found| found.z)),
            "the test of data copying: training rows have 2 features, test rows 1"
        );
        assert_eq!(
            message(copied_share(&x, &x, &(&x / 0.0)).map(|found| found.share)),
            "the share of copies: the fake features are not all finite"
        );
        assert!(one_nn_accuracy(&x, &x.narrow(0, 0, 0)).is_err());
    }
}
