use std::f64::consts::PI;

use tch::{Device, Kind, Tensor};

use super::set::PointSet;
use crate::data::{Dataset, Split, Splits};
use crate::error::Result;
use crate::rng::{Generator, Purpose, stream};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

pub(super) const MOONS_STD: f64 = 0.1;
pub(super) const MOONS_SHIFT: [f64; 2] = [-1.0, -0.2];
pub(super) const CIRCLES: [f64; 2] = [1.0, 0.5];
pub(super) const RINGS: [f64; 4] = [3.0, 2.25, 1.5, 0.75];
pub(super) const RING_STD: f64 = 0.08;
pub(super) const ROLL_STD: f64 = 0.2;
pub(super) const OCTAGON_STD: f64 = 0.5;
/// The value in the code of the literature, instead of the square root of 2.
pub(super) const OCTAGON_SCALE: f64 = 1.414;
pub(super) const GRID_STD: f64 = 0.05;
pub(super) const PINWHEEL_STD: [f64; 2] = [0.3, 0.1];
pub(super) const SPIRAL_STD: f64 = 0.1;
pub(super) const SPIRAL_BOX: f64 = 0.5 / 3.0;

/// The components of a set that is a mixture of equal round Gaussians.
#[derive(Debug)]
pub struct Modes {
    /// `f64 [modes, 2]`.
    pub centres: Tensor,
    /// The standard deviation of each component in each direction.
    pub std: f64,
}

impl PointSet {
    /// The rows of each part of [`PointSet::dataset`].
    pub const SPLITS: Splits = Splits { train: 1_000_000, validation: 20_000, test: 100_000 };

    /// The components, for the two sets that are mixtures of Gaussians.
    pub fn modes(self) -> Option<Modes> {
        match self {
            PointSet::EightGaussians => {
                Some(Modes { centres: octagon() / OCTAGON_SCALE, std: OCTAGON_STD / OCTAGON_SCALE })
            }
            PointSet::TwentyFiveGaussians => Some(Modes { centres: grid(), std: GRID_STD }),
            _ => None,
        }
    }

    /// `n` independent points, `f64 [n, 2]`.
    pub fn sample(self, n: usize, seed: u64) -> Tensor {
        self.part(n, seed, 0)
    }

    /// A data set of [`PointSet::SPLITS`] points, always the same ones.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn dataset(self) -> Result<Dataset> {
        let part = |n, index| Split::unlabelled(self.part(n, 0, index));
        let Splits { train, validation, test } = Self::SPLITS;
        Dataset::from_splits(self.name(), part(train, 1), Some(part(validation, 2)), Some(part(test, 3)), Vec::new())
    }

    pub(super) fn part(self, n: usize, seed: u64, index: u64) -> Tensor {
        draw(self, n as i64, &stream(seed, Purpose::Data, index))
    }
}

/// `n` points, `f64 [n, 2]`, from the present state of `rng`.
fn draw(set: PointSet, n: i64, rng: &Generator) -> Tensor {
    let uniform = || rng.rand([n], DOUBLE);
    let coin = || uniform().lt(0.5);
    let noise = |std: f64| rng.randn([n, 2], DOUBLE) * std;
    match set {
        PointSet::Moons => {
            let angle = uniform() * PI;
            let arc = upper_moon(&angle).where_self(&coin().unsqueeze(1), &lower_moon(&angle));
            (arc + noise(MOONS_STD)) * 2.0 + Tensor::from_slice(&MOONS_SHIFT)
        }
        PointSet::Circles => (rings(&CIRCLES, &uniform(), &uniform()) + noise(RING_STD)) * 3.0,
        PointSet::Rings => rings(&RINGS, &uniform(), &uniform()) + noise(RING_STD),
        PointSet::Swissroll => {
            let t = (uniform() * 2.0 + 1.0) * (1.5 * PI);
            roll(&t) + noise(ROLL_STD)
        }
        PointSet::EightGaussians => (pick(&octagon(), &uniform()) + noise(OCTAGON_STD)) / OCTAGON_SCALE,
        PointSet::TwentyFiveGaussians => pick(&grid(), &uniform()) + noise(GRID_STD),
        PointSet::Pinwheel => {
            let [f1_std, f2_std] = PINWHEEL_STD;
            let f1 = rng.randn([n], DOUBLE) * f1_std + 1.0;
            let f2 = rng.randn([n], DOUBLE) * f2_std;
            let arm = (uniform() * 5.0).floor();
            let angle = arm * (2.0 * PI / 5.0) + f1.exp() * 0.25;
            let (cos, sin) = (angle.cos(), angle.sin());
            points(&(&f1 * &cos + &f2 * &sin), &(f2 * cos - f1 * sin)) * 2.0
        }
        PointSet::TwoSpirals => {
            let t = uniform().sqrt() * (3.0 * PI);
            let offset = points(&uniform(), &uniform()) * SPIRAL_BOX;
            let arm = spiral(&t) + offset;
            let sign = coin().to_kind(Kind::Double) * 2.0 - 1.0;
            arm * sign.unsqueeze(1) + noise(SPIRAL_STD)
        }
        PointSet::Checkerboard => {
            let x1 = uniform() * 4.0 - 2.0;
            let x2 = uniform() - coin().to_kind(Kind::Double) * 2.0 + x1.floor().remainder(2.0);
            points(&x1, &x2) * 2.0
        }
    }
}

pub(super) fn points(x: &Tensor, y: &Tensor) -> Tensor {
    Tensor::stack(&[x, y], -1)
}

pub(super) fn upper_moon(angle: &Tensor) -> Tensor {
    points(&angle.cos(), &angle.sin())
}

pub(super) fn lower_moon(angle: &Tensor) -> Tensor {
    points(&(1.0 - angle.cos()), &(0.5 - angle.sin()))
}

pub(super) fn roll(t: &Tensor) -> Tensor {
    points(&(t * t.cos()), &(t * t.sin())) / 5.0
}

pub(super) fn spiral(t: &Tensor) -> Tensor {
    points(&(-(t * t.cos())), &(t * t.sin())) / 3.0
}

/// The centres of `8gaussians` before the division: `[8, 2]`.
pub(super) fn octagon() -> Tensor {
    let angle = Tensor::arange(8, DOUBLE) * (PI / 4.0);
    points(&angle.cos(), &angle.sin()) * 4.0
}

/// The centres of `25gaussians`: `[25, 2]`.
pub(super) fn grid() -> Tensor {
    let k = Tensor::arange(25, DOUBLE);
    let (i, j) = ((&k / 5.0).floor(), k.remainder(5.0));
    points(&i, &j) * 2.0 - 4.0
}

/// The centres of the squares of `checkerboard`: `[8, 2]`.
pub(super) fn squares() -> Tensor {
    let k = Tensor::arange(8, DOUBLE);
    let (column, row) = ((&k / 2.0).floor(), k.remainder(2.0));
    points(&(&column * 2.0 - 3.0), &(row * 4.0 - 3.0 + column.remainder(2.0) * 2.0))
}

fn rings(radii: &[f64], which: &Tensor, turn: &Tensor) -> Tensor {
    let radius = pick(&Tensor::from_slice(radii), which);
    let angle = turn * (2.0 * PI);
    points(&(&radius * angle.cos()), &(radius * angle.sin()))
}

/// A row of `rows` for each entry of `u`, uniform on [0, 1).
fn pick(rows: &Tensor, u: &Tensor) -> Tensor {
    let count = rows.size()[0];
    rows.index_select(0, &(u * count as f64).floor().to_kind(Kind::Int64).clamp_max(count - 1))
}
