//! The classifier score and histograms of classes.

use tch::{Device, Kind, Tensor};

use super::estimate::Estimate;
use super::rows::{row_sums, sum, values};
use gen_core::{Error, Result};

/// The classifier score and its parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierScore {
    /// Mean of the score over the splits, from 1 to the number of classes; higher is better.
    pub score: f64,
    /// Standard deviation over the splits, with their number `n` in the denominator; 0 for one split.
    pub standard_deviation: f64,
    /// Entropy of the mean prediction, in nats: variety, at most the logarithm of the number of classes.
    pub marginal_entropy: f64,
    /// Mean entropy of the predictions, in nats: uncertainty.
    pub conditional_entropy: f64,
}

/// The inception score (Salimans et al. 2016, section 4) under any classifier, from its `logits: [n, classes]`:
/// `exp(mean_i KL(p_i ‖ mean p))` in each of `splits` parts of consecutive rows. For one split its logarithm is
/// `marginal_entropy - conditional_entropy`.
///
/// Scores are comparable under the same classifier only.
///
/// ```
/// use gen_eval::classifier_score;
/// use tch::{Device, Kind, Tensor};
///
/// // Certain of each of ten classes in turn.
/// let logits = Tensor::eye(10, (Kind::Float, Device::Cpu)).repeat([20, 1]) * 100.0;
/// assert!((classifier_score(&logits, 2).unwrap().score - 10.0).abs() < 1e-6);
/// ```
///
/// # Errors
/// When there are fewer rows than splits, no split or no class, or a value is not finite.
pub fn classifier_score(logits: &Tensor, splits: usize) -> Result<ClassifierScore> {
    let [n, _] = logits.size()[..] else {
        return Err(Error::invalid(format!(
            "the classifier score needs logits as [n, classes], found {:?}",
            logits.size()
        )));
    };
    let splits = splits as i64;
    if splits < 1 || n < splits || logits.numel() == 0 {
        return Err(Error::invalid(format!("the classifier score: {n} rows do not make {splits} splits")));
    }
    let logits = logits.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    if !bool::try_from(logits.isfinite().all())? {
        return Err(Error::invalid("the classifier score: the logits are not all finite"));
    }
    let log_p = logits.log_softmax(1, Kind::Double);
    let scores: Vec<f64> = (0..splits)
        .map(|i| {
            let (start, end) = (i * n / splits, (i + 1) * n / splits);
            let (marginal, conditional) = entropies(&log_p.narrow(0, start, end - start));
            (marginal - conditional).exp()
        })
        .collect();
    let scores = Tensor::from_slice(&scores);
    let (marginal_entropy, conditional_entropy) = entropies(&log_p);
    Ok(ClassifierScore {
        score: scores.mean(Kind::Double).double_value(&[]),
        standard_deviation: scores.std(false).double_value(&[]),
        marginal_entropy,
        conditional_entropy,
    })
}

/// The entropy of the mean prediction, and the mean entropy of the predictions.
fn entropies(log_p: &Tensor) -> (f64, f64) {
    let p = log_p.exp();
    let marginal = p.mean_dim(0, false, Kind::Double);
    let conditional = -row_sums(&(p * log_p)).mean(Kind::Double).double_value(&[]);
    (-sum(&marginal.xlogy(&marginal)), conditional)
}

/// Distances of two histograms of classes; lower is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassHistogram {
    /// `KL(fake ‖ real)`, in nats.
    pub kl: f64,
    /// Total variation distance: half of the sum of the absolute differences, from 0 to 1.
    pub total_variation: f64,
}

/// [`ClassHistogram`] with standard errors, for counts of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassDistance {
    /// `KL(fake ‖ real)`, in nats.
    pub kl: Estimate,
    /// Total variation distance, from 0 to 1.
    pub total_variation: Estimate,
}

/// The distance of the predicted classes of samples, `fake_classes: i64 [m]`, from those of the data,
/// `real_classes: i64 [n]`. Classes are numbers from 0 to below `classes`.
///
/// The divergence is infinite if a class of samples is empty in the data. Only then half a row is added to every class
/// of both histograms before it is computed. The standard errors over draws of both sets come from the delta method,
/// that of the divergence to second order, since the first order vanishes for equal histograms.
///
/// ```
/// use gen_eval::class_histogram_distance;
/// use tch::Tensor;
///
/// let (real, fake) = (Tensor::from_slice(&[0i64, 0, 1, 1]), Tensor::from_slice(&[0i64, 0, 0, 0]));
/// let found = class_histogram_distance(&real, &fake, 2).unwrap();
/// assert!((found.kl.value - 2f64.ln()).abs() < 1e-12 && found.total_variation.value == 0.5);
/// ```
///
/// # Errors
/// When a set is empty or not `i64 [n]`, or a class is out of range.
pub fn class_histogram_distance(real_classes: &Tensor, fake_classes: &Tensor, classes: i64) -> Result<ClassDistance> {
    let real = counts("real", real_classes, classes)?;
    let fake = counts("fake", fake_classes, classes)?;
    let ClassHistogram { kl, total_variation } = histogram_distance(&real, &fake)?;
    let (n, m) = (sum(&real), sum(&fake));
    let (p, q) = (values(&(&real / n))?, values(&(&fake / m))?);
    let expected = |of: &[f64], f: &dyn Fn(f64, f64) -> f64| -> f64 {
        of.iter().zip(p.iter().zip(&q)).map(|(share, (p, q))| share * f(*p, *q)).sum()
    };
    let side = |p: f64, q: f64| if p == q { 0.0 } else { (q - p).signum() };
    let variance_of_side = |of: &[f64]| 1.0 - expected(of, &side).powi(2);
    let variation_error = (0.25 * (variance_of_side(&p) / n + variance_of_side(&q) / m)).sqrt();
    let kl = if kl.is_finite() { kl } else { histogram_distance(&(&real + 0.5), &(&fake + 0.5))?.kl };
    // Half a row more in every class keeps the logarithms finite.
    let smooth = |x: &Tensor, n: f64| values(&((x + 0.5) / (n + 0.5 * classes as f64)));
    let (p, q) = (smooth(&real, n)?, smooth(&fake, m)?);
    let over = |f: &dyn Fn(f64, f64) -> f64| -> f64 { p.iter().zip(&q).map(|(p, q)| f(*p, *q)).sum() };
    let of_fake = over(&|p, q| q * (q / p).ln().powi(2)) - over(&|p, q| q * (q / p).ln()).powi(2);
    let of_real = over(&|p, q| q * q / p) - 1.0;
    let second = 0.5 * (1.0 / n + 1.0 / m).powi(2) * (classes as f64 - 1.0);
    let kl_error = (of_fake.max(0.0) / m + of_real.max(0.0) / n + second).sqrt();
    Ok(ClassDistance {
        kl: Estimate { value: kl, standard_error: Some(kl_error) },
        total_variation: Estimate { value: total_variation, standard_error: Some(variation_error) },
    })
}

/// The distance of two histograms of counts or probabilities, `[classes]`, which need not sum to one. The divergence is
/// infinite if a class is 0 in `real` and above 0 in `fake`.
///
/// # Errors
/// When the lengths differ, a value is negative or not finite, or a histogram is empty.
pub fn histogram_distance(real: &Tensor, fake: &Tensor) -> Result<ClassHistogram> {
    let shares = |side: &str, x: &Tensor| {
        let x = x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
        let total = sum(&x);
        if x.dim() != 1 || !(total > 0.0 && total.is_finite()) || x.min().double_value(&[]) < 0.0 {
            return Err(Error::invalid(format!(
                "the {side} histogram should be [classes] of finite numbers of at least 0, not all 0"
            )));
        }
        Ok(x / total)
    };
    let (real, fake) = (shares("real", real)?, shares("fake", fake)?);
    if real.size() != fake.size() {
        return Err(Error::invalid(format!(
            "the histograms should have the same number of classes: found {} real and {} fake",
            real.numel(),
            fake.numel()
        )));
    }
    let kl = values(&fake)?.into_iter().zip(values(&real)?).filter(|(f, _)| *f > 0.0).map(|(f, r)| f * (f / r).ln());
    Ok(ClassHistogram { kl: kl.sum::<f64>().max(0.0), total_variation: 0.5 * sum(&(fake - real).abs()) })
}

/// The number of members of each class, `f64 [classes]`.
fn counts(side: &str, x: &Tensor, classes: i64) -> Result<Tensor> {
    if x.dim() != 1 || x.numel() == 0 || x.kind() != Kind::Int64 {
        return Err(Error::invalid(format!(
            "the {side} classes should be whole numbers as [n], at least one; found {:?} {:?}",
            x.kind(),
            x.size()
        )));
    }
    let (least, most) = (x.min().int64_value(&[]), x.max().int64_value(&[]));
    if least < 0 || most >= classes {
        return Err(Error::invalid(format!(
            "the {side} classes should be from 0 to below {classes}, found {least} to {most}"
        )));
    }
    Ok(x.to_device(Device::Cpu).bincount(None::<Tensor>, classes).to_kind(Kind::Double))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::testing::assert_close_f64;

    #[test]
    fn limits_of_the_score() {
        let options = (Kind::Float, Device::Cpu);
        let uniform = classifier_score(&Tensor::zeros([40, 10], options), 4).unwrap();
        assert_close_f64(uniform.score, 1.0, 1e-12, 0.0);
        assert_close_f64(uniform.conditional_entropy, 10f64.ln(), 1e-12, 0.0);
        let one_class = Tensor::zeros([40, 10], options);
        let _ = one_class.select(1, 3).fill_(1e4);
        assert_close_f64(classifier_score(&one_class, 1).unwrap().score, 1.0, 1e-12, 0.0);
        let balanced = Tensor::eye(10, options) * 1e4;
        let found = classifier_score(&balanced, 1).unwrap();
        assert_close_f64(found.score, 10.0, 1e-12, 0.0);
        assert_eq!((found.conditional_entropy, found.standard_deviation), (0.0, 0.0));
    }

    #[test]
    fn the_divergence_is_finite_with_empty_classes() {
        let (real, fake) = (Tensor::from_slice(&[0i64, 1, 1, 1]), Tensor::from_slice(&[0i64, 0, 2, 2]));
        let found = class_histogram_distance(&real, &fake, 4).unwrap();
        // Counts (1.5, 3.5, 0.5, 0.5) and (2.5, 0.5, 2.5, 0.5) of 6.
        let expected = (2.5 * (2.5f64 / 1.5).ln() + 0.5 * (0.5f64 / 3.5).ln() + 2.5 * 5f64.ln()) / 6.0;
        assert_close_f64(found.kl.value, expected, 1e-12, 0.0);
        assert_eq!(found.total_variation.value, 0.75);
        // Nothing is added where nothing has to be.
        let found = class_histogram_distance(&fake, &Tensor::from_slice(&[2i64]), 4).unwrap();
        assert_close_f64(found.kl.value, 2f64.ln(), 1e-12, 0.0);
        let same = class_histogram_distance(&real, &real.flip([0]), 4).unwrap();
        assert_eq!((same.kl.value, same.total_variation.value), (0.0, 0.0));
        let raw = histogram_distance(&Tensor::from_slice(&[1.0, 0.0]), &Tensor::from_slice(&[0.5, 0.5])).unwrap();
        assert_eq!(raw.kl, f64::INFINITY);
    }

    #[test]
    fn impossible_input_is_explained() {
        let logits = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu));
        let message = |x: &Tensor, splits| classifier_score(x, splits).unwrap_err().to_string();
        assert_eq!(message(&logits, 4), "the classifier score: 3 rows do not make 4 splits");
        assert_eq!(message(&logits, 0), "the classifier score: 3 rows do not make 0 splits");
        assert_eq!(message(&(&logits / 0.0), 1), "the classifier score: the logits are not all finite");
        let classes = |x: &[i64]| Tensor::from_slice(x);
        let message = |real: &Tensor, fake: &Tensor| class_histogram_distance(real, fake, 3).unwrap_err().to_string();
        assert_eq!(
            message(&classes(&[0, 1]), &classes(&[0, 3])),
            "the fake classes should be from 0 to below 3, found 0 to 3"
        );
        assert_eq!(
            message(&classes(&[]), &classes(&[0])),
            "the real classes should be whole numbers as [n], at least one; found Int64 [0]"
        );
    }
}
