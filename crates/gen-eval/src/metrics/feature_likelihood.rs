//! The feature likelihood score.

use tch::{Device, Kind, Tensor};

use super::estimate::Estimate;
use super::neighbours::nearest;
use super::rows::{checked, distances, mean, same_width};
use gen_core::Result;

/// Steps of the fit, and steps before the learning rate falls to a tenth.
const STEPS: i32 = 100;
const FAST_STEPS: i32 = 50;
const RATE: f64 = 0.5;
/// Bounds of the logarithms of variances, since a Gaussian on a training row would narrow without end.
const LOG_VARIANCES: [f64; 2] = [-100.0, 20.0];
/// Largest number of distances kept in memory (512 MiB); more are computed again at each step.
const KEPT: i64 = 1 << 26;
/// Distances computed at a time.
const ENTRIES: i64 = 1 << 18;
/// Blocks of centres of the standard error.
const BLOCKS: i64 = 10;

/// The feature likelihood score, FLS, of Jiralerspong et al. (2023, section 3). It is above 0, 100 for samples as good
/// as other data, and less for samples that are poor, not diverse, or copies of training rows; higher is better.
///
/// Features are standardised with the mean and standard deviation of all four sets. Each fake row becomes a Gaussian of
/// equal weight, whose variance maximises the likelihood of training rows (100 steps of Adam). The same is done with
/// `baseline` rows, which are data that is neither in `train` nor in `test`. The score is
/// `100 exp(-2 (NLL_fake - NLL_baseline) / d)` with the mean negative log-likelihoods of `test` under both mixtures. A
/// Gaussian on a copied training row narrows to a spike, which gives test rows no likelihood.
///
/// A mixture is fitted to the nearest training row of each of its centres. The paper uses all training rows, or a
/// random choice of as many as there are samples. With many training rows such a choice contains few that samples were
/// copied from, and the others keep every Gaussian wide. The scores therefore differ from those of the paper's program.
///
/// All sets are `[n, features]`; `fake` and `baseline` should have the same number of rows, in random order. The
/// standard error is over draws of test rows, and of blocks of the centres of both mixtures with fixed variances; it is
/// up to twice too large. The score is deterministic.
///
/// ```
/// use gen_eval::feature_likelihood_score;
/// use tch::{Device, Kind, Tensor};
///
/// let normal = |n| Tensor::randn([n, 4], (Kind::Float, Device::Cpu));
/// let (train, baseline, test) = (normal(1000), normal(100), normal(100));
/// let score = |fake: &Tensor| feature_likelihood_score(&train, &baseline, &test, fake).unwrap().value;
/// assert!(score(&normal(100)) > score(&(normal(100) + 3.0)));
/// assert!(score(&train.narrow(0, 0, 100)) < 1.0);
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn feature_likelihood_score(train: &Tensor, baseline: &Tensor, test: &Tensor, fake: &Tensor) -> Result<Estimate> {
    const METRIC: &str = "the feature likelihood";
    let train = checked(METRIC, "training", train, 1)?;
    let baseline = checked(METRIC, "baseline", baseline, 1)?;
    let test = checked(METRIC, "test", test, 1)?;
    let fake = checked(METRIC, "fake", fake, 1)?;
    same_width(METRIC, &[("training", &train), ("baseline", &baseline), ("test", &test), ("fake", &fake)])?;
    let all = Tensor::cat(&[&train, &baseline, &test, &fake], 0);
    let (deviation, middle) = all.std_mean_dim([0i64].as_slice(), true, true);
    // Constant features are not scaled.
    let deviation = deviation.where_self(&deviation.gt(0.0), &deviation.ones_like());
    let [train, baseline, test, fake] = [train, baseline, test, fake].map(|x| (x - &middle) / &deviation);
    let likelihoods = |centres: &Tensor| -> Result<Likelihoods> {
        let (_, index) = nearest(centres, &train, 1, false, &mut |_, _| ())?;
        let (rows, _, _) = index.select(1, 0).unique_dim(0, true, false, false);
        let log_variances = fit(&train.index_select(0, &rows), centres);
        Ok(Likelihoods::of(&test, centres, &log_variances))
    };
    let (of_fake, of_baseline) = (likelihoods(&fake)?, likelihoods(&baseline)?);
    let difference = &of_baseline.rows - &of_fake.rows;
    let scale = 2.0 / train.size()[1] as f64;
    let value = 100.0 * (-scale * mean(&difference)).exp();
    let of_test = (difference.numel() > 1).then(|| difference.var(true).double_value(&[]) / difference.numel() as f64);
    let variance = of_test.zip(of_fake.of_centres).zip(of_baseline.of_centres);
    let standard_error = variance.map(|((test, fake), baseline)| value * scale * (test + fake + baseline).sqrt());
    Ok(Estimate { value, standard_error })
}

/// Log-likelihoods of rows under a mixture of Gaussians.
struct Likelihoods {
    /// Log-density of each row, without the constant `(d / 2) ln 2π`: `[rows]`
    rows: Tensor,
    /// Variance of their mean over draws of the centres; `None` for too few centres.
    of_centres: Option<f64>,
}

impl Likelihoods {
    fn of(x: &Tensor, centres: &Tensor, log_variances: &Tensor) -> Self {
        let m = centres.size()[0];
        let blocks = if m >= 2 * BLOCKS { BLOCKS } else { 1 };
        let ends: Vec<i64> = (0..=blocks).map(|i| i * m / blocks).collect();
        let sizes: Vec<i64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let parts: Vec<Tensor> = x
            .split((ENTRIES / m).max(1), 0)
            .iter()
            .map(|rows| {
                let squared = distances(rows, centres).square();
                let logs = log_densities(&squared, log_variances, x.size()[1] as f64);
                let of_blocks = logs.split_with_sizes(&sizes[..], 1);
                let sums = of_blocks.iter().map(|logs| logs.logsumexp([1i64].as_slice(), false));
                Tensor::stack(&sums.collect::<Vec<_>>(), 1)
            })
            .collect();
        // `[rows, blocks]`
        let sums = Tensor::cat(&parts, 0);
        let mean_of = |sums: &Tensor, m: i64| sums.logsumexp([1i64].as_slice(), false) - (m as f64).ln();
        let of_centres = (blocks > 1).then(|| {
            // The jackknife over blocks of centres.
            let without: Vec<f64> = (0..blocks)
                .map(|block| {
                    let others: Vec<i64> = (0..blocks).filter(|other| *other != block).collect();
                    let sums = sums.index_select(1, &Tensor::from_slice(&others));
                    mean(&mean_of(&sums, m - sizes[block as usize]))
                })
                .collect();
            Tensor::from_slice(&without).var(false).double_value(&[]) * (blocks - 1) as f64
        });
        Likelihoods { rows: mean_of(&sums, m), of_centres }
    }
}

/// The logarithms of the variances of Gaussians around `centres` that maximise the likelihood of the rows of `x`:
/// `[m]`.
fn fit(x: &Tensor, centres: &Tensor) -> Tensor {
    let (n, m, d) = (x.size()[0], centres.size()[0], x.size()[1] as f64);
    let blocks = x.split((ENTRIES / m).max(1), 0);
    let kept: Option<Vec<Tensor>> =
        (n * m <= KEPT).then(|| blocks.iter().map(|block| distances(block, centres).square()).collect());

    let mut log_variances = Tensor::zeros([m], (Kind::Double, Device::Cpu));
    let (mut first, mut second) = (log_variances.zeros_like(), log_variances.zeros_like());
    let (beta1, beta2, epsilon) = (0.9f64, 0.999f64, 1e-8);
    for step in 1..=STEPS {
        let (mut weight, mut moment) = (log_variances.zeros_like(), log_variances.zeros_like());
        for (index, block) in blocks.iter().enumerate() {
            let squared = match &kept {
                Some(kept) => kept[index].shallow_clone(),
                None => distances(block, centres).square(),
            };
            let share = log_densities(&squared, &log_variances, d).softmax(1, Kind::Double);
            let total = |x: &Tensor| x.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
            weight += total(&share);
            moment += total(&(share * squared));
        }
        // The gradient of the mean negative log-likelihood by the log-variances.
        let gradient = (weight * d - moment * (-&log_variances).exp()) * (0.5 / n as f64);
        first = first * beta1 + &gradient * (1.0 - beta1);
        second = second * beta2 + gradient.square() * (1.0 - beta2);
        let rate = if step <= FAST_STEPS { RATE } else { 0.1 * RATE };
        let scale = (&second / (1.0 - beta2.powi(step))).sqrt() + epsilon;
        let moved = &log_variances - &first * (rate / (1.0 - beta1.powi(step))) / scale;
        log_variances = moved.clamp(LOG_VARIANCES[0], LOG_VARIANCES[1]);
    }
    log_variances
}

/// Log-densities under each Gaussian, up to a constant, from squared distances: `[rows, m]`.
fn log_densities(squared: &Tensor, log_variances: &Tensor, d: f64) -> Tensor {
    squared * ((-log_variances).exp() * -0.5) - log_variances * (0.5 * d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::rng::{Purpose, stream};
    use gen_core::testing::assert_close_f64;

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    /// The mean negative log-likelihood of `test` under Gaussians around `centres`, by loops over numbers, with
    /// gradients by differences.
    fn slowly(train: &[Vec<f64>], centres: &[Vec<f64>], test: &[Vec<f64>]) -> f64 {
        let d = centres[0].len() as f64;
        let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let nearest = |x: &Vec<f64>| {
            (0..train.len()).min_by(|a, b| squared(x, &train[*a]).total_cmp(&squared(x, &train[*b]))).unwrap()
        };
        let mut near: Vec<usize> = centres.iter().map(nearest).collect();
        near.sort_unstable();
        near.dedup();
        let near: Vec<Vec<f64>> = near.into_iter().map(|row| train[row].clone()).collect();
        let loss = |rows: &[Vec<f64>], log_variances: &[f64]| {
            let of_row = |x: &Vec<f64>| {
                let logs: Vec<f64> = centres
                    .iter()
                    .zip(log_variances)
                    .map(|(centre, v)| -0.5 * squared(x, centre) * (-v).exp() - 0.5 * d * v)
                    .collect();
                let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                most + (logs.iter().map(|log| (log - most).exp()).sum::<f64>() / logs.len() as f64).ln()
            };
            -rows.iter().map(of_row).sum::<f64>() / rows.len() as f64
        };
        let mut at = vec![0.0; centres.len()];
        let (mut first, mut second) = (at.clone(), at.clone());
        for step in 1..=STEPS {
            let gradient: Vec<f64> = (0..at.len())
                .map(|i| {
                    let by = |step: f64| {
                        let mut moved = at.clone();
                        moved[i] += step;
                        loss(&near, &moved)
                    };
                    (by(1e-5) - by(-1e-5)) / 2e-5
                })
                .collect();
            for (i, gradient) in gradient.into_iter().enumerate() {
                first[i] = 0.9 * first[i] + 0.1 * gradient;
                second[i] = 0.999 * second[i] + 0.001 * gradient * gradient;
                let rate = if step <= 50 { 0.5 } else { 0.05 };
                let (a, b) = (first[i] / (1.0 - 0.9f64.powi(step)), second[i] / (1.0 - 0.999f64.powi(step)));
                at[i] = (at[i] - rate * a / (b.sqrt() + 1e-8)).clamp(-100.0, 20.0);
            }
        }
        loss(test, &at)
    }

    #[test]
    fn as_by_loops_over_numbers() {
        let rows =
            |x: &Tensor| -> Vec<Vec<f64>> { (0..x.size()[0]).map(|i| Vec::try_from(x.get(i)).unwrap()).collect() };
        let (train, baseline, test, fake) =
            (normal(60, 3, 20), normal(12, 3, 21), normal(15, 3, 22), normal(12, 3, 23) * 1.3 + 0.2);
        let all = Tensor::cat(&[&train, &baseline, &test, &fake], 0);
        let (deviation, middle) = all.std_mean_dim([0i64].as_slice(), true, true);
        let [a, b, c, e] = [&train, &baseline, &test, &fake].map(|x| rows(&((x - &middle) / &deviation)));
        let expected = 100.0 * (-2.0 / 3.0 * (slowly(&a, &e, &c) - slowly(&a, &b, &c))).exp();
        let found = feature_likelihood_score(&train, &baseline, &test, &fake).unwrap();
        assert_close_f64(found.value, expected, 1e-3, 0.0);
    }

    #[test]
    fn blocks_of_rows_and_their_order_do_not_matter() {
        let (train, centres) = (normal(1200, 3, 1), normal(300, 3, 2));
        let whole = fit(&train, &centres);
        let order: Vec<i64> = (0..1200).rev().collect();
        let other = fit(&train.index_select(0, &Tensor::from_slice(&order)), &centres);
        gen_core::testing::assert_close(&other, &whole, 1e-6, 1e-6);
        let rows = |x: &Tensor| mean(&Likelihoods::of(x, &centres, &whole).rows);
        assert_close_f64(rows(&train), rows(&train.flip([0])), 1e-12, 0.0);
    }

    /// Two clusters: one Gaussian in the middle of one would be a good model of it alone.
    fn clusters(n: i64, seed: u64) -> Tensor {
        let x = normal(n, 8, seed);
        let _ = x.narrow(0, 0, n / 2).select(1, 0).g_add_scalar_(6.0);
        x.index_select(0, &Tensor::from_slice(&gen_core::rng::permutation(n as usize, seed, Purpose::Evaluate, 1)))
    }

    #[test]
    fn worse_samples_score_less() {
        let (train, baseline, test) = (clusters(6000, 3), clusters(300, 4), clusters(300, 5));
        let score = |fake: &Tensor| feature_likelihood_score(&train, &baseline, &test, fake).unwrap().value;
        let honest = score(&clusters(300, 6));
        assert!((honest - 100.0).abs() < 10.0, "{honest}");
        for (name, worse, at_most) in [
            ("shifted", clusters(300, 7) + 1.0, 80.0),
            ("noisy", clusters(300, 8) * 2.0, 80.0),
            ("one cluster", normal(300, 8, 9), 92.0),
            // 300 of 6,000 training rows.
            ("copies", train.narrow(0, 0, 300), 1.0),
            ("near copies", train.narrow(0, 0, 300) + normal(300, 8, 10) * 0.01, 1.0),
            ("half copies", Tensor::cat(&[train.narrow(0, 0, 150), clusters(150, 11)], 0), 95.0),
        ] {
            let found = score(&worse);
            assert!(found < f64::min(at_most, honest - 3.0), "{name}: {found} against {honest}");
        }
        // A feature that never varies.
        let flat = |x: &Tensor| x.constant_pad_nd([0, 1]);
        let found = feature_likelihood_score(&flat(&train), &flat(&baseline), &flat(&test), &flat(&test));
        assert!(found.unwrap().value.is_finite());
        assert_eq!(
            feature_likelihood_score(&train, &baseline.narrow(1, 0, 2), &test, &test).unwrap_err().to_string(),
            "the feature likelihood: training rows have 8 features, baseline rows 2"
        );
    }

    #[test]
    fn the_standard_error_is_the_spread_of_repeated_draws() {
        let train = clusters(3000, 30);
        let draws: Vec<(f64, f64)> = (0..24)
            .map(|i| {
                let part = |j: u64| clusters(200, 40 + 3 * i + j);
                let found = feature_likelihood_score(&train, &part(0), &part(1), &part(2)).unwrap();
                (found.value, found.standard_error.unwrap())
            })
            .collect();
        let values: Vec<f64> = draws.iter().map(|draw| draw.0).collect();
        let spread = Tensor::from_slice(&values).std(true).double_value(&[]);
        let stated = draws.iter().map(|draw| draw.1).sum::<f64>() / draws.len() as f64;
        // 24 draws know their spread to 15 %. A block of centres less costs more than another block in its place would.
        assert!((0.7..2.5).contains(&(stated / spread)), "spread {spread}, stated {stated}");
    }
}
