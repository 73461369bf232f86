use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::checked_pair;
use super::neighbours::{Points, neighbour_radii};
use crate::error::{Error, Result};

/// Precision, recall, density and coverage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prdc {
    /// The share of fake rows that lie within the ball of some real row.
    pub precision: f64,
    /// The share of real rows that lie within the ball of some fake row.
    pub recall: f64,
    /// The number of real balls that hold a fake row, averaged over those and divided by `k`. It can exceed 1.
    pub density: f64,
    /// The share of real rows whose ball holds some fake row.
    pub coverage: f64,
    /// How far they would vary with other rows.
    pub standard_errors: PrdcErrors,
}

/// Standard errors of the four means of [`Prdc`] over the rows that are counted, the balls taken as given.
///
/// Those of shares are binomial, `√(p (1 - p) / n)`, and so 0 at shares of 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrdcErrors {
    /// Over fake rows.
    pub precision: f64,
    /// Over real rows.
    pub recall: f64,
    /// Over fake rows.
    pub density: f64,
    /// Over real rows.
    pub coverage: f64,
}

/// Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2), density and coverage (Naeem et al.
/// 2020, equations 5 and 6) of `fake` against `real`, `[n, features]`.
///
/// The ball of a row reaches to its `k`-th nearest other row of the same set, without its surface: rows that are
/// all equal have empty balls. What lies in a ball is what direct differences in f64 say.
///
/// ```
/// use gen_core::eval::prdc;
/// use tch::{Device, Kind, Tensor};
///
/// let real = Tensor::randn([500, 4], (Kind::Float, Device::Cpu));
/// let one_mode = Tensor::randn([500, 4], (Kind::Float, Device::Cpu)) * 0.01;
/// let metrics = prdc(&real, &one_mode, 5).unwrap();
/// assert!(metrics.precision > 0.9 && metrics.recall < 0.1 && metrics.coverage < 0.1);
/// ```
///
/// # Errors
/// When a set has no more than `k` rows, `k` is 0, the numbers of features differ, or a value is not finite.
pub fn prdc(real: &Tensor, fake: &Tensor, k: i64) -> Result<Prdc> {
    let (real, fake) = pair(real, fake, k)?;
    count(&real, &neighbour_radii(&real, k)?, &fake, k)
}

/// [`prdc`] where the [`neighbour_radii`] of `real` at this `k`, `[n]`, are known: several sets can be compared
/// with one real set for which they were found once.
///
/// # Errors
/// As [`prdc`], and when there is not one radius for each real row.
pub fn prdc_with_radii(real: &Tensor, real_radii: &Tensor, fake: &Tensor, k: i64) -> Result<Prdc> {
    let (real, fake) = pair(real, fake, k)?;
    if real_radii.size() != [real.size()[0]] {
        return Err(Error::invalid(format!(
            "precision and recall: {} real rows need as many radii, found {:?}",
            real.size()[0],
            real_radii.size()
        )));
    }
    count(&real, &real_radii.detach().to_device(real.device()).to_kind(Kind::Double), &fake, k)
}

fn pair(real: &Tensor, fake: &Tensor, k: i64) -> Result<(Tensor, Tensor)> {
    if k < 1 {
        return Err(Error::invalid("precision and recall need k of at least 1"));
    }
    checked_pair("precision and recall", real, fake, k + 1)
}

fn count(real: &Tensor, real_radii: &Tensor, fake: &Tensor, k: i64) -> Result<Prdc> {
    let fake_radii = neighbour_radii(fake, k)?;
    let (n, m) = (real.size()[0], fake.size()[0]);
    let none = || Tensor::zeros([n], (Kind::Bool, real.device()));
    let (mut recalled, mut covered) = (none(), none());
    // Over fake rows: those in some ball, the number of balls around each, and its square.
    let (mut precise, mut balls, mut squares) = (0, 0, 0);
    let total = |x: &Tensor| x.sum(Kind::Int64).int64_value(&[]);
    let points = Points::new(real)?;
    for block in points.blocks(fake) {
        let (start, block) = block?;
        let in_real = block.nearer_than(real_radii);
        let in_fake = block.nearer_than(&fake_radii.narrow(0, start, block.length()).unsqueeze(1));
        let around = in_real.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64);
        precise += total(&around.gt(0));
        balls += total(&around);
        squares += total(&around.square());
        let _ = covered.logical_or_(&in_real.any_dim(0, false));
        let _ = recalled.logical_or_(&in_fake.any_dim(0, false));
    }
    let (n, m, k) = (n as f64, m as f64, k as f64);
    let share = |x: i64, n: f64| (x as f64 / n, (x as f64 / n * (1.0 - x as f64 / n) / n).sqrt());
    let (precision, precision_error) = share(precise, m);
    let (recall, recall_error) = share(total(&recalled), n);
    let (coverage, coverage_error) = share(total(&covered), n);
    let mean_balls = balls as f64 / m;
    let variance = (squares as f64 / m - mean_balls * mean_balls).max(0.0) * m / (m - 1.0);
    Ok(Prdc {
        precision,
        recall,
        density: balls as f64 / (k * m),
        coverage,
        standard_errors: PrdcErrors {
            precision: precision_error,
            recall: recall_error,
            density: (variance / m).sqrt() / k,
            coverage: coverage_error,
        },
    })
}
