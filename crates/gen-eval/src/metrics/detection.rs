//! How well a score separates two sets of rows.

use tch::{Device, Kind, Tensor};

use super::estimate::Estimate;
use gen_core::{Error, Result};

/// The area under the receiver operating characteristic of a score that should be higher for rows of one distribution,
/// `inside`, than for others, `outside`, with its standard error. Both are `[n]` of any numbers, infinite ones
/// included.
///
/// The area is the probability that the row inside has the higher score of a pair, where equal scores count half
/// (Hanley & McNeil 1982). It is 1 if the score separates the sets, 0.5 by chance, and below 0.5 if the order is
/// reversed.
///
/// ```
/// use gen_eval::auroc;
/// use tch::Tensor;
///
/// // Of the four pairs, three are in order and one is equal.
/// let (inside, outside) = (Tensor::from_slice(&[3.0, 2.0]), Tensor::from_slice(&[1.0, 2.0]));
/// assert_eq!(auroc(&inside, &outside).unwrap().value, 3.5 / 4.0);
/// ```
///
/// # Errors
/// When a set is empty, or a score is NaN.
pub fn auroc(inside: &Tensor, outside: &Tensor) -> Result<Estimate> {
    let (inside, outside) = (ascending("inside", inside)?, ascending("outside", outside)?);
    // Half pairs are counted, so that all sums are whole numbers.
    let won =
        |score: &f64| outside.partition_point(|other| other < score) + outside.partition_point(|other| other <= score);
    let halves: f64 = inside.iter().map(|score| won(score) as f64).sum();
    let value = halves / (2.0 * inside.len() as f64 * outside.len() as f64);
    let standard_error = auroc_standard_error(value, inside.len(), outside.len());
    Ok(Estimate { value, standard_error: Some(standard_error) })
}

/// The standard error of an area under the curve of `n_inside` and `n_outside` scores (Hanley & McNeil 1982, equations
/// 1 and 2, for scores with exponential tails). An area A below 0.5 has the error of 1 - A with the sets exchanged,
/// which belongs to the negated score. The error is 0 for areas of 0 and 1, where the formula does not apply.
///
/// ```
/// use gen_eval::auroc_standard_error;
///
/// // The example of the paper.
/// assert!((auroc_standard_error(0.893, 51, 58) - 0.032).abs() < 0.001);
/// ```
pub fn auroc_standard_error(area: f64, n_inside: usize, n_outside: usize) -> f64 {
    if area < 0.5 {
        return auroc_standard_error(1.0 - area, n_outside, n_inside);
    }
    let (n, m) = (n_inside as f64, n_outside as f64);
    // Probabilities that two rows inside both exceed one outside, and that one inside exceeds two outside.
    let two_inside = area / (2.0 - area);
    let two_outside = 2.0 * area * area / (1.0 + area);
    let square = area * area;
    let variance = area * (1.0 - area) + (n - 1.0) * (two_inside - square) + (m - 1.0) * (two_outside - square);
    (variance.max(0.0) / (n * m)).sqrt()
}

/// The false positive rate at a true positive rate of `recall`: the share of `outside` at or above the highest
/// threshold that at least the share `recall` of `inside` reaches. Both sets are as in [`auroc`]. With `recall` 0.95 it
/// is FPR95 (Liang et al. 2018). 0 is best, and `recall` is the result by chance.
///
/// # Errors
/// As [`auroc`], and when `recall` is not in (0, 1].
pub fn false_positive_rate(inside: &Tensor, outside: &Tensor, recall: f64) -> Result<f64> {
    if !(recall > 0.0 && recall <= 1.0) {
        return Err(Error::invalid(format!("the share to be recalled must be in (0, 1], found {recall}")));
    }
    let (inside, outside) = (ascending("inside", inside)?, ascending("outside", outside)?);
    // The small difference keeps rounding from adding a row to a whole number of them.
    let recalled = ((recall * inside.len() as f64 - 1e-9).ceil() as usize).clamp(1, inside.len());
    let threshold = inside[inside.len() - recalled];
    let below = outside.partition_point(|score| *score < threshold);
    Ok((outside.len() - below) as f64 / outside.len() as f64)
}

/// The scores of one set in ascending order.
fn ascending(side: &str, scores: &Tensor) -> Result<Vec<f64>> {
    let scores = scores.detach().to_device(Device::Cpu).to_kind(Kind::Double).reshape([-1]);
    let mut scores = Vec::<f64>::try_from(scores)?;
    if scores.is_empty() || scores.iter().any(|score| score.is_nan()) {
        return Err(Error::invalid(format!(
            "detection needs at least one score {side}, none of them NaN; found {} scores, {} of them NaN",
            scores.len(),
            scores.iter().filter(|score| score.is_nan()).count()
        )));
    }
    scores.sort_by(f64::total_cmp);
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::testing::assert_close_f64;

    fn scores(values: &[f64]) -> Tensor {
        Tensor::from_slice(values)
    }

    fn area(inside: &[f64], outside: &[f64]) -> f64 {
        auroc(&scores(inside), &scores(outside)).unwrap().value
    }

    #[test]
    fn areas_by_hand() {
        assert_eq!(area(&[2.0, 3.0], &[0.0, 1.0]), 1.0);
        assert_eq!(area(&[0.0, 1.0], &[2.0, 3.0]), 0.0);
        assert_eq!(area(&[1.0, 1.0, 1.0], &[1.0, 1.0]), 0.5);
        // 5 beats all four; 2 beats 1 and ties with both 2; -1 beats nothing.
        assert_eq!(area(&[5.0, 2.0, -1.0], &[1.0, 2.0, 2.0, 3.0]), (4.0 + 2.0) / 12.0);
        assert_eq!(area(&[f64::INFINITY, 0.0], &[f64::NEG_INFINITY, 0.0]), 3.5 / 4.0);
        // No more than the order counts, and no less.
        assert_eq!(area(&[1e300, 1e-300], &[0.0, -1e-300]), 1.0);
    }

    #[test]
    fn zeros_of_either_sign_are_equal() {
        assert_eq!(area(&[0.0, -0.0], &[-0.0, 0.0, 0.0]), 0.5);
    }

    #[test]
    fn standard_errors_by_hand() {
        // By chance it is that of Mann & Whitney, sqrt((n + m + 1) / (12 n m)).
        let chance = ((20.0 + 30.0 + 1.0) / (12.0 * 20.0 * 30.0f64)).sqrt();
        assert_close_f64(auroc_standard_error(0.5, 20, 30), chance, 1e-12, 0.0);
        // A = 0.8, n = 2, m = 3: Q1 = 2/3, Q2 = 32/45, A^2 = 0.64;
        // (0.16 + 0.026667 + 2 * 0.071111) / 6 = 0.054815.
        let variance = (0.16 + (2.0 / 3.0 - 0.64) + 2.0 * (32.0 / 45.0 - 0.64)) / 6.0;
        assert_close_f64(auroc_standard_error(0.8, 2, 3), f64::sqrt(variance), 1e-12, 0.0);
        assert_close_f64(variance, 0.054815, 1e-4, 0.0);
        assert_eq!(auroc_standard_error(1.0, 5, 7), 0.0);
        // The score with the other sign is as certain.
        assert_close_f64(auroc_standard_error(0.1, 9, 40), auroc_standard_error(0.9, 40, 9), 1e-12, 0.0);
    }

    #[test]
    fn false_positives_by_hand() {
        let inside: Vec<f64> = (1..=20).map(f64::from).collect();
        let rate =
            |outside: &[f64], recall: f64| false_positive_rate(&scores(&inside), &scores(outside), recall).unwrap();
        // 19 of 20 have 2 or more, which half of those outside have too.
        assert_eq!(rate(&[0.0, 1.9, 2.0, 30.0], 0.95), 0.5);
        // More than 95 % are all of them.
        assert_eq!(rate(&[0.0, 1.9, 2.0, 30.0], 0.951), 0.75);
        assert_eq!(rate(&[0.0, 0.5], 0.95), 0.0);
        // Equal scores cannot be parted.
        let equal = scores(&[1.0; 10]);
        assert_eq!(false_positive_rate(&equal, &equal, 0.95).unwrap(), 1.0);
    }

    #[test]
    fn scores_without_an_order_are_refused() {
        let (one, none) = (scores(&[1.0]), scores(&[]));
        for (inside, outside) in [(&one, &none), (&none, &one), (&one, &scores(&[f64::NAN]))] {
            assert!(auroc(inside, outside).is_err());
            assert!(false_positive_rate(inside, outside, 0.95).is_err());
        }
        for recall in [0.0, 1.01, f64::NAN] {
            assert!(false_positive_rate(&one, &one, recall).is_err(), "{recall}");
        }
    }
}
