//! Precision, recall, density and coverage.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::estimate::{block_standard_errors, share_standard_error};
use super::neighbours::{Points, neighbour_radii};
use super::rows::{checked_pair, distances};
use gen_core::{Error, Result};

/// Largest number of disjoint blocks of the standard errors.
const BLOCKS: i64 = 10;

/// Precision, recall, density and coverage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prdc {
    /// Share of fake rows inside the ball of some real row, from 0 to 1; higher is better.
    pub precision: f64,
    /// Share of real rows inside the ball of some fake row, from 0 to 1; higher is better.
    pub recall: f64,
    /// Number of real balls that contain a fake row, averaged over fake rows and divided by `k`. It is at least 0, 1 on
    /// average for samples from the distribution of the data, and above 1 for samples in its densest parts.
    pub density: f64,
    /// Share of real rows whose ball contains some fake row, from 0 to 1; higher is better.
    pub coverage: f64,
    /// Standard errors; `None` for too few rows.
    pub standard_errors: Option<PrdcErrors>,
}

/// Standard errors of the four numbers of [`Prdc`] over draws of both sets.
///
/// They come from up to 10 disjoint blocks of consecutive rows, and are at least those of independent rows,
/// [`share_standard_error`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of Prdc")]
pub struct PrdcErrors {
    pub precision: f64,
    pub recall: f64,
    pub density: f64,
    pub coverage: f64,
}

/// Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2), density and coverage (Naeem et al.
/// 2020, equations 5 and 6) of `fake` against `real`, `[n, features]`.
///
/// The ball of a row reaches to its `k`-th nearest other row of the same set. It includes its surface, as in equation 2
/// of the first paper, so the ball of a row that occurs more than `k` times is a point. Membership is decided by direct
/// differences in f64.
///
/// Density weighs fake rows on the surface. If the `k`-th neighbour alone is on the surface the weight is 0, as in the
/// program of the second paper. If several neighbours are, the weight is the share of them that makes `k` with those
/// inside. Density is then 1 on average for samples from the distribution of the data, with repeated rows too.
///
/// The standard errors assume rows in random order.
///
/// ```
/// use gen_eval::prdc;
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

/// [`prdc`] with known [`neighbour_radii`] of `real` at this `k`, `[n]`, so that several sets can be compared with one
/// real set.
///
/// # Errors
/// As [`prdc`], and when the number of radii is not that of real rows.
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
    let [precision, recall, density, coverage] = shares(real, real_radii, fake, k)?;
    let (n, m) = (real.size()[0], fake.size()[0]);
    let standard_errors = match BLOCKS.min(n.min(m) / (2 * (k + 1))) {
        0..=1 => None,
        blocks => {
            let of_blocks = |real: &Tensor, fake: &Tensor| shares(real, &neighbour_radii(real, k)?, fake, k);
            let [of_precision, of_recall, of_density, of_coverage] =
                block_standard_errors(real, fake, blocks, of_blocks)?;
            let at_least = |share: f64, rows: i64| share_standard_error(share, rows as usize);
            Some(PrdcErrors {
                precision: of_precision.max(at_least(precision, m)),
                recall: of_recall.max(at_least(recall, n)),
                density: of_density,
                coverage: of_coverage.max(at_least(coverage, n)),
            })
        }
    };
    Ok(Prdc { precision, recall, density, coverage, standard_errors })
}

/// Precision, recall, density and coverage.
fn shares(real: &Tensor, real_radii: &Tensor, fake: &Tensor, k: i64) -> Result<[f64; 4]> {
    let fake_radii = neighbour_radii(fake, k)?;
    let (n, m) = (real.size()[0], fake.size()[0]);
    let none = || Tensor::zeros([n], (Kind::Bool, real.device()));
    let (mut recalled, mut covered) = (none(), none());
    let mut precise = 0;
    // For each real row: the number of fake rows in its ball, and of those on its surface.
    let counts = || Tensor::zeros([n], (Kind::Int64, real.device()));
    let (mut inside, mut on_surface) = (counts(), counts());
    let total = |x: &Tensor| x.sum(Kind::Int64).int64_value(&[]);
    let of_real = |x: &Tensor| x.sum_dim_intlist([0i64].as_slice(), false, Kind::Int64);
    let points = Points::new(real)?;
    for block in points.blocks(fake) {
        let (start, block) = block?;
        let in_real = block.within(real_radii);
        let in_fake = block.within(&fake_radii.narrow(0, start, block.length()).unsqueeze(1));
        precise += total(&in_real.pairs.any_dim(1, false));
        inside += of_real(&in_real.pairs);
        if let Some(surface) = &in_real.surface {
            on_surface += of_real(surface);
        }
        let _ = covered.logical_or_(&in_real.pairs.any_dim(0, false));
        let _ = recalled.logical_or_(&in_fake.pairs.any_dim(0, false));
    }
    let balls = total(&(inside - &on_surface)) as f64 + on_surfaces(real, real_radii, &on_surface, k)?;
    let (n, m, k) = (n as f64, m as f64, k as f64);
    Ok([precise as f64 / m, total(&recalled) as f64 / n, balls / (k * m), total(&covered) as f64 / n])
}

/// The weight in density of the fake rows on the surfaces of balls, `count: [n]` of them for each real row.
fn on_surfaces(real: &Tensor, radii: &Tensor, count: &Tensor, k: i64) -> Result<f64> {
    let rows = count.nonzero().squeeze_dim(1);
    let mut sum = 0.0;
    for rows in rows.split(256, 0) {
        let to_all = distances(&real.index_select(0, &rows), real);
        let radii = radii.index_select(0, &rows).unsqueeze(1);
        let rows_of = |x: &Tensor| x.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        // The row itself, at distance 0, is excluded.
        let is_point = radii.squeeze_dim(1).eq(0.0);
        let nearer = rows_of(&to_all.less_tensor(&radii)) - is_point.logical_not().to_kind(Kind::Double);
        let there = rows_of(&to_all.eq_tensor(&radii)) - is_point.to_kind(Kind::Double);
        let alone = there.le(1.0).logical_and(&is_point.logical_not());
        let shares = (nearer.neg() + k as f64) / there.clamp_min(1.0);
        let shares = shares.masked_fill(&alone, 0.0);
        sum += (shares * count.index_select(0, &rows)).sum(Kind::Double).double_value(&[]);
    }
    Ok(sum)
}
