use tch::{Device, Kind, Tensor};

use super::mmd::distances;
use super::{checked, mean, same_width};
use crate::error::Result;

/// Steps of the fit, and those after which the rate falls to a tenth.
const STEPS: i32 = 100;
const FAST_STEPS: i32 = 50;
const RATE: f64 = 0.5;
/// Bounds of the logarithms of variances: a Gaussian on a training row would become a spike without end.
const LOG_VARIANCES: [f64; 2] = [-100.0, 20.0];
/// Entries of a matrix of distances that are kept (512 MiB); larger ones are found anew at each step.
const KEPT: i64 = 1 << 26;
/// Entries in a block of rows.
const BLOCK: i64 = 1 << 18;

/// The feature likelihood score, FLS, of Jiralerspong et al. (2023, section 3): 100 for samples as good as other data,
/// less for samples that are poor, not diverse, or copies of training rows.
///
/// Features are standardised with the mean and deviation of all four sets. Each fake row becomes a Gaussian of equal
/// weight, whose variance maximises the likelihood of `train` (100 steps of Adam); so does each `baseline` row, which are
/// data that is neither in `train` nor in `test`. With the mean negative log-likelihoods of `test` under both mixtures
/// the score is `100 exp(-2 (NLL_fake - NLL_baseline) / d)`. A Gaussian on a copied training row narrows to a spike that
/// no test row can see. All sets are `[n, features]`; `fake` and `baseline` should have as many rows.
///
/// The time is that of 200 passes over the distances of `train` to the centres: seconds for 2000 rows each, a few
/// minutes for 10,000. It is deterministic.
///
/// ```
/// use gen_core::eval::feature_likelihood_score;
/// use tch::{Device, Kind, Tensor};
///
/// let normal = || Tensor::randn([100, 4], (Kind::Float, Device::Cpu));
/// let (train, baseline, test) = (normal(), normal(), normal());
/// let score = |fake: &Tensor| feature_likelihood_score(&train, &baseline, &test, fake).unwrap();
/// assert!(score(&normal()) > score(&(normal() + 3.0)));
/// assert!(score(&normal()) > score(&train));
/// ```
///
/// # Errors
/// When a set is empty, the numbers of features differ, or a value is not finite.
pub fn feature_likelihood_score(
    train: &Tensor,
    baseline: &Tensor,
    test: &Tensor,
    fake: &Tensor,
) -> Result<f64> {
    const METRIC: &str = "the feature likelihood";
    let train = checked(METRIC, "training", train, 1)?;
    let baseline = checked(METRIC, "baseline", baseline, 1)?;
    let test = checked(METRIC, "test", test, 1)?;
    let fake = checked(METRIC, "fake", fake, 1)?;
    same_width(METRIC, &[("training", &train), ("baseline", &baseline), ("test", &test), ("fake", &fake)])?;
    let all = Tensor::cat(&[&train, &baseline, &test, &fake], 0);
    let (deviation, middle) = all.std_mean_dim([0i64].as_slice(), true, true);
    // What never varies says nothing.
    let deviation = deviation.where_self(&deviation.gt(0.0), &deviation.ones_like());
    let [train, baseline, test, fake] = [train, baseline, test, fake].map(|x| (x - &middle) / &deviation);
    let nll = |centres: &Tensor| {
        let log_variances = fit(&train, centres);
        negative_log_likelihood(&test, centres, &log_variances)
    };
    let difference = nll(&fake) - nll(&baseline);
    Ok(100.0 * (-2.0 * difference / train.size()[1] as f64).exp())
}

/// The logarithms of the variances of Gaussians around `centres`, `[m]`, that fit the rows of `x` best.
fn fit(x: &Tensor, centres: &Tensor) -> Tensor {
    let (n, m, d) = (x.size()[0], centres.size()[0], x.size()[1] as f64);
    let blocks = x.split((BLOCK / m).max(1), 0);
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
        // Of the mean negative log-likelihood by the log-variances.
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

/// Of each Gaussian, up to a constant, from squared distances `[rows, m]`.
fn log_densities(squared: &Tensor, log_variances: &Tensor, d: f64) -> Tensor {
    squared * ((-log_variances).exp() * -0.5) - log_variances * (0.5 * d)
}

/// The mean over the rows of `x`, without the constant `(d / 2) ln 2π`.
fn negative_log_likelihood(x: &Tensor, centres: &Tensor, log_variances: &Tensor) -> f64 {
    let m = centres.size()[0];
    let parts: Vec<Tensor> = x
        .split((BLOCK / m).max(1), 0)
        .iter()
        .map(|block| {
            let squared = distances(block, centres).square();
            log_densities(&squared, log_variances, x.size()[1] as f64).logsumexp([1i64].as_slice(), false)
        })
        .collect();
    (m as f64).ln() - mean(&Tensor::cat(&parts, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use crate::testing::assert_close_f64;

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    fn matrix(n: i64, d: i64, f: impl Fn(f64, f64) -> f64) -> Tensor {
        let values: Vec<f64> = (0..n * d).map(|at| f((at / d) as f64, (at % d) as f64)).collect();
        Tensor::from_slice(&values).view([n, d])
    }

    /// A numpy program of the same definition, its gradients checked by differences, gave these numbers.
    #[test]
    fn as_in_numpy() {
        let real = matrix(64, 8, |i, j| (0.37 * (13.0 * i + 7.0 * j + 3.0 * i * j)).sin());
        let fake = matrix(64, 8, |i, j| {
            0.9 * (0.53 * (11.0 * i + 5.0 * j + 2.0 * i * j) + 0.25).sin() + 0.15 + 0.02 * j
        });
        let (train, baseline) = (real.narrow(0, 0, 24), real.narrow(0, 24, 20));
        let (test, fake) = (real.narrow(0, 44, 20), fake.narrow(0, 0, 20));
        let score = |fake: &Tensor| feature_likelihood_score(&train, &baseline, &test, fake).unwrap();
        assert_close_f64(score(&fake), 23.582995114651546, 1e-9, 0.0);
        assert_close_f64(score(&baseline), 100.0, 1e-12, 0.0);
        assert_eq!(score(&train), 0.0);
    }

    #[test]
    fn blocks_of_rows_and_their_order_do_not_matter() {
        let (train, centres) = (normal(1200, 3, 1), normal(300, 3, 2));
        let whole = fit(&train, &centres);
        let order: Vec<i64> = (0..1200).rev().collect();
        let other = fit(&train.index_select(0, &Tensor::from_slice(&order)), &centres);
        crate::testing::assert_close(&other, &whole, 1e-6, 1e-6);
        assert_close_f64(
            negative_log_likelihood(&train, &centres, &whole),
            negative_log_likelihood(&train.flip([0]), &centres, &whole),
            1e-12,
            0.0,
        );
    }

    #[test]
    fn what_is_worse_scores_less() {
        // Two clusters: one Gaussian in the middle of one would be a good model of it alone.
        let clusters = |seed| {
            let x = normal(300, 6, seed);
            let _ = x.narrow(0, 0, 150).select(1, 0).g_add_scalar_(6.0);
            x
        };
        let (train, baseline, test) = (clusters(3), clusters(4), clusters(5));
        let score = |fake: &Tensor| feature_likelihood_score(&train, &baseline, &test, fake).unwrap();
        let honest = score(&clusters(6));
        assert!((honest - 100.0).abs() < 6.0, "{honest}");
        for (name, worse) in [
            ("shifted", clusters(7) + 1.0),
            ("noisy", clusters(8) * 2.0),
            ("one cluster", normal(300, 6, 9)),
            ("copies", train.shallow_clone()),
            ("near copies", &train + normal(300, 6, 10) * 0.01),
        ] {
            let found = score(&worse);
            assert!(found < honest - 3.0, "{name}: {found} against {honest}");
        }
        // A feature that never varies.
        let flat = |x: &Tensor| x.constant_pad_nd([0, 1]);
        let found = feature_likelihood_score(&flat(&train), &flat(&baseline), &flat(&test), &flat(&test));
        assert!(found.unwrap().is_finite());
        assert_eq!(
            feature_likelihood_score(&train, &baseline.narrow(1, 0, 2), &test, &test)
                .unwrap_err()
                .to_string(),
            "the feature likelihood: training rows have 6 features, baseline rows 2"
        );
    }
}
