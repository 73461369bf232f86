//! Scores that tell rows of a model's own distribution from rows of another, by likelihood.
//!
//! Every score is one number per row, `[n]`, and higher for rows that look more like the training data, so [`auroc`] is
//! above 0.5 for a score that works.

use std::f64::consts::LN_2;
use std::fmt;

use tch::{Kind, Tensor};

use crate::metrics::{Estimate, auroc, false_positive_rate};
use gen_core::{Error, Result};

/// A score by likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OodScore {
    /// log p(x) itself (Bishop 1994). It fails where the other data is simpler or smoother: models of clothes find
    /// digits more likely than clothes (Nalisnick et al. 2019, Do Deep Generative Models Know What They Don't Know?).
    LogLikelihood,
    /// [`typicality`].
    Typicality,
    /// [`likelihood_ratio`].
    LikelihoodRatio,
    /// [`input_complexity`].
    InputComplexity,
}

impl fmt::Display for OodScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OodScore::LogLikelihood => "log-likelihood",
            OodScore::Typicality => "typicality",
            OodScore::LikelihoodRatio => "likelihood-ratio",
            OodScore::InputComplexity => "input-complexity",
        })
    }
}

/// -|log p(x) - E log p|, with the mean over training rows (Nalisnick et al. 2019, Detecting Out-of-Distribution Inputs
/// Using a Test for Typicality, with one row per test): rows that are too likely are as unusual as rows that are too
/// unlikely.
///
/// `nats: [n]` and `training: [m]` are log p of the rows and of training rows; the result is `f64 [n]`, at most 0.
///
/// ```
/// use gen_eval::typicality;
/// use tch::Tensor;
///
/// let training = Tensor::from_slice(&[-4.0, -6.0]);
/// let scores = typicality(&Tensor::from_slice(&[-5.0, -9.0, 0.0]), &training).unwrap();
/// assert_eq!(Vec::<f64>::try_from(scores).unwrap(), [0.0, -4.0, -5.0]);
/// ```
///
/// # Errors
/// When the mean over the training rows is not finite.
pub fn typicality(nats: &Tensor, training: &Tensor) -> Result<Tensor> {
    let mean = training.mean(Kind::Double).double_value(&[]);
    if !mean.is_finite() {
        return Err(Error::invalid(format!(
            "typicality needs training rows with a finite mean of log p, found {mean} over {}",
            training.numel()
        )));
    }
    Ok(-(nats.to_kind(Kind::Double) - mean).abs())
}

/// log p(x) - log p₀(x), where p₀ is a background model, trained on perturbed data, that has learned what any image has
/// and not what these images mean (Ren et al. 2019, equation 3). `[n]` each, in nats; the result is `f64 [n]`.
///
/// ```
/// use gen_eval::likelihood_ratio;
/// use tch::Tensor;
///
/// let scores = likelihood_ratio(&Tensor::from_slice(&[-3.0]), &Tensor::from_slice(&[-5.0])).unwrap();
/// assert_eq!(scores.double_value(&[0]), 2.0);
/// ```
///
/// # Errors
/// When the numbers of rows differ.
pub fn likelihood_ratio(nats: &Tensor, background: &Tensor) -> Result<Tensor> {
    same_rows("the background's likelihoods", nats, background)?;
    Ok(nats.to_kind(Kind::Double) - background.to_kind(Kind::Double))
}

/// log p(x) + L(x) ln 2, where L is the length in bits of x as a general compressor stores it (Serrà et al. 2020,
/// equation 3, in nats and with the other sign): a likelihood ratio whose background model is the compressor. `[n]`
/// each; the result is `f64 [n]`, in nats.
///
/// ```
/// use gen_eval::input_complexity;
/// use tch::Tensor;
///
/// // One bit is log 2.
/// let scores = input_complexity(&Tensor::from_slice(&[-8.0 * 2f64.ln()]), &Tensor::from_slice(&[10.0])).unwrap();
/// assert!((scores.double_value(&[0]) - 2.0 * 2f64.ln()).abs() < 1e-12);
/// ```
///
/// # Errors
/// When the numbers of rows differ.
pub fn input_complexity(nats: &Tensor, bits: &Tensor) -> Result<Tensor> {
    same_rows("the compressed lengths", nats, bits)?;
    Ok(nats.to_kind(Kind::Double) + bits.to_kind(Kind::Double) * LN_2)
}

fn same_rows(what: &str, nats: &Tensor, other: &Tensor) -> Result<()> {
    if nats.size() == other.size() && nats.dim() == 1 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "log p and {what} should be [n] of the same rows, found {:?} and {:?}",
        nats.size(),
        other.size()
    )))
}

/// How well a score separates rows inside the model's distribution from rows outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// See [`auroc`].
    pub auroc: Estimate,
    /// [`false_positive_rate`] at a true positive rate of 95 %.
    pub fpr95: f64,
    /// Rows inside.
    pub n_in: usize,
    /// Rows outside.
    pub n_out: usize,
    /// The mean score inside.
    pub mean_in: f64,
    /// The mean score outside.
    pub mean_out: f64,
}

impl Detection {
    /// Detection by the scores inside, `[n]`, and outside, `[m]`.
    ///
    /// ```
    /// use gen_eval::Detection;
    /// use tch::Tensor;
    ///
    /// let found = Detection::of(&Tensor::from_slice(&[1.0, 3.0]), &Tensor::from_slice(&[0.0, 2.0, 0.5])).unwrap();
    /// assert_eq!((found.auroc.value, found.n_in, found.n_out), (5.0 / 6.0, 2, 3));
    /// ```
    ///
    /// # Errors
    /// As [`auroc`].
    pub fn of(inside: &Tensor, outside: &Tensor) -> Result<Self> {
        let mean = |scores: &Tensor| scores.mean(Kind::Double).double_value(&[]);
        Ok(Detection {
            auroc: auroc(inside, outside)?,
            fpr95: false_positive_rate(inside, outside, 0.95)?,
            n_in: inside.numel(),
            n_out: outside.numel(),
            mean_in: mean(inside),
            mean_out: mean(outside),
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Data that is too likely: likelihood has it the wrong way round, typicality does not.
    #[test]
    fn rows_that_are_too_likely_are_not_typical() {
        let row = |start: f64| Tensor::arange(100, (Kind::Double, Device::Cpu)) * 0.1 + start;
        let (training, test, simple) = (row(-100.0), row(-100.2), row(-60.0));
        let by_likelihood = Detection::of(&test, &simple).unwrap();
        assert_eq!((by_likelihood.auroc.value, by_likelihood.fpr95), (0.0, 1.0));
        assert!(by_likelihood.mean_out > by_likelihood.mean_in + 30.0);
        let score = |nats: &Tensor| typicality(nats, &training).unwrap();
        let by_typicality = Detection::of(&score(&test), &score(&simple)).unwrap();
        assert_eq!((by_typicality.auroc.value, by_typicality.fpr95), (1.0, 0.0));
    }

    #[test]
    fn rows_that_do_not_belong_together_are_refused() {
        let (two, three) = (Tensor::from_slice(&[1.0, 2.0]), Tensor::from_slice(&[1.0, 2.0, 3.0]));
        assert!(likelihood_ratio(&two, &three).is_err());
        assert!(input_complexity(&three, &two).unwrap_err().to_string().contains("compressed lengths"));
        assert!(typicality(&two, &Tensor::from_slice(&[f64::NEG_INFINITY])).is_err());
    }

    /// A background that explains all that differs in likelihood leaves what it does not explain.
    #[test]
    fn a_ratio_takes_off_what_any_model_knows() {
        let background = Tensor::from_slice(&[-10.0, -500.0, -30.0]);
        let meaning = Tensor::from_slice(&[1.0, 2.0, 3.0]);
        let ratio = likelihood_ratio(&(&background + &meaning), &background).unwrap();
        assert!(ratio.allclose(&meaning, 1e-12, 1e-9, false));
    }
}
