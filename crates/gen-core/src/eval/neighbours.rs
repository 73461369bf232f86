use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::checked_pair;
use super::mmd::distances;
use crate::error::{Error, Result};

/// Rows of a distance matrix that are in memory at once.
const BLOCK: i64 = 64;

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
}

/// Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2), density and coverage (Naeem et al.
/// 2020, equations 5 and 6) of `fake` against `real`, `[n, features]`.
///
/// The ball of a row reaches to its `k`-th nearest other row of the same set, without its surface: rows that are
/// all equal have empty balls. Distances are direct differences in f64, a block of rows at a time.
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
    if k < 1 {
        return Err(Error::invalid("precision and recall need k of at least 1"));
    }
    let (real, fake) = checked_pair("precision and recall", real, fake, k + 1)?;
    let real_radii = radii(&real, k);
    let fake_radii = radii(&fake, k);

    let (n, m) = (real.size()[0], fake.size()[0]);
    let (mut precise, mut balls) = (0, 0);
    let mut recalled = Tensor::zeros([n], (Kind::Bool, real.device()));
    let mut nearest = Tensor::full([n], f64::INFINITY, (Kind::Double, real.device()));
    for start in (0..m).step_by(BLOCK as usize) {
        let length = BLOCK.min(m - start);
        let d = distances(&fake.narrow(0, start, length), &real);
        let within_real = d.less_tensor(&real_radii);
        let within_fake = d.less_tensor(&fake_radii.narrow(0, start, length).unsqueeze(1));
        precise += within_real.any_dim(1, false).sum(Kind::Int64).int64_value(&[]);
        balls += within_real.sum(Kind::Int64).int64_value(&[]);
        let _ = recalled.logical_or_(&within_fake.any_dim(0, false));
        nearest.copy_(&nearest.minimum(&d.amin([0i64].as_slice(), false)));
    }
    let share = |mask: Tensor| mask.sum(Kind::Int64).int64_value(&[]) as f64 / n as f64;
    Ok(Prdc {
        precision: precise as f64 / m as f64,
        recall: share(recalled),
        density: balls as f64 / (k * m) as f64,
        coverage: share(nearest.less_tensor(&real_radii)),
    })
}

/// The distance of every row of `x`, `[n, features]`, to its `k`-th nearest other row: `f64 [n]`.
///
/// # Errors
/// When there are no more than `k` rows, `k` is 0, or a value is not finite.
pub fn neighbour_radii(x: &Tensor, k: i64) -> Result<Tensor> {
    let (x, _) = checked_pair("the nearest neighbours", x, x, k.max(1) + 1)?;
    Ok(radii(&x, k.max(1)))
}

fn radii(x: &Tensor, k: i64) -> Tensor {
    let n = x.size()[0];
    // Filled in place: small results kept among large temporaries would tear holes into the heap.
    let radii = Tensor::zeros([n], (Kind::Double, x.device()));
    for start in (0..n).step_by(BLOCK as usize) {
        let length = BLOCK.min(n - start);
        let d = distances(&x.narrow(0, start, length), x);
        // A row is its own nearest, at distance 0: the k-th other one is in place k + 1.
        radii.narrow(0, start, length).copy_(&d.kthvalue(k + 1, 1, false).0);
    }
    radii
}
