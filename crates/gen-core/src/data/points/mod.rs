//! The nine 2-D point sets that the flow literature draws, with their true densities and entropies.
//!
//! A model's negative log-likelihood on such a set can be compared with the best possible one: `nll - entropy` is
//! a Kullback-Leibler divergence in nats, which no honest model makes negative.
//!
//! ```
//! use gen_core::data::PointSet;
//!
//! let moons = PointSet::named("moons").unwrap();
//! let x = moons.sample(20_000, 0);
//! let nll = -moons.log_prob(&x).mean(tch::Kind::Double).double_value(&[]);
//! assert!((nll - moons.entropy()).abs() < 0.03);
//! ```

mod density;
mod sample;

use std::f64::consts::PI;
use std::fmt;

use tch::{Device, Kind, Tensor};

use super::{Dataset, Split, Splits};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};

/// A distribution on the plane, defined by how it is drawn.
///
/// Below, U is uniform on [0, 1) and n standard normal; all draws are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointSet {
    /// Angle a = pi U; (cos a, sin a) or (1 - cos a, 0.5 - sin a), half each; plus 0.1 n; times 2; plus
    /// (-1, -0.2).
    Moons,
    /// Radius 1 or 0.5, half each, angle 2 pi U; plus 0.08 n; times 3.
    Circles,
    /// Radius 3, 2.25, 1.5 or 0.75, a quarter each, angle 2 pi U; plus 0.08 n.
    Rings,
    /// t = 1.5 pi (1 + 2 U); (t cos t, t sin t) / 5; plus 0.2 n.
    Swissroll,
    /// Centres at radius 4 and angles k pi / 4; plus 0.5 n; divided by 1.414.
    EightGaussians,
    /// Centres (i, j) with i, j in -4, -2, 0, 2, 4; plus 0.05 n.
    TwentyFiveGaussians,
    /// f = (1 + 0.3 n1, 0.1 n2) turned clockwise by 2 pi k / 5 + 0.25 exp(f1), k uniform in 0..5; times 2.
    Pinwheel,
    /// t = 3 pi sqrt(U); (-t cos t + 0.5 U', t sin t + 0.5 U'') / 3, the sign flipped for half; plus 0.1 n.
    TwoSpirals,
    /// x1 = 4 U - 2; x2 = U' - 2 B + (floor(x1) mod 2), B a fair coin; times 2: uniform on 8 squares of side 2.
    Checkerboard,
}

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

    /// All of them, in the order in which they are listed.
    pub const ALL: [PointSet; 9] = [
        PointSet::Moons,
        PointSet::Circles,
        PointSet::EightGaussians,
        PointSet::TwentyFiveGaussians,
        PointSet::Checkerboard,
        PointSet::Pinwheel,
        PointSet::TwoSpirals,
        PointSet::Rings,
        PointSet::Swissroll,
    ];

    /// The set of this name.
    ///
    /// # Errors
    /// When there is none; the nearest is suggested.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|set| set.name() == name);
        found.ok_or_else(|| Error::unknown("point set", name, Self::ALL.map(PointSet::name)))
    }

    /// The name that a data set of it has.
    pub fn name(self) -> &'static str {
        match self {
            PointSet::Moons => "moons",
            PointSet::Circles => "circles",
            PointSet::Rings => "rings",
            PointSet::Swissroll => "swissroll",
            PointSet::EightGaussians => "8gaussians",
            PointSet::TwentyFiveGaussians => "25gaussians",
            PointSet::Pinwheel => "pinwheel",
            PointSet::TwoSpirals => "2spirals",
            PointSet::Checkerboard => "checkerboard",
        }
    }

    /// The differential entropy in nats, -E[log p]: by quadrature of the density to four digits, in closed form
    /// for `checkerboard` (ln 32) and `25gaussians` (ln 25 plus that of one component: they do not overlap).
    pub fn entropy(self) -> f64 {
        match self {
            PointSet::Moons => 2.3939,
            PointSet::Circles => 3.2681,
            PointSet::Rings => 2.6232,
            PointSet::Swissroll => 2.6696,
            PointSet::EightGaussians => 2.8319,
            PointSet::TwentyFiveGaussians => {
                25f64.ln() + (2.0 * PI * sample::GRID_STD * sample::GRID_STD).ln() + 1.0
            }
            PointSet::Pinwheel => 2.3177,
            PointSet::TwoSpirals => 2.6454,
            PointSet::Checkerboard => 32f64.ln(),
        }
    }

    /// The components, for the two sets that are mixtures of Gaussians.
    pub fn modes(self) -> Option<Modes> {
        match self {
            PointSet::EightGaussians => Some(Modes {
                centres: sample::octagon() / sample::OCTAGON_SCALE,
                std: sample::OCTAGON_STD / sample::OCTAGON_SCALE,
            }),
            PointSet::TwentyFiveGaussians => Some(Modes { centres: sample::grid(), std: sample::GRID_STD }),
            _ => None,
        }
    }

    /// `n` independent points, `f64 [n, 2]`.
    pub fn sample(self, n: usize, seed: u64) -> Tensor {
        self.part(n, seed, 0)
    }

    /// log p of each row of `x: [n, 2]`, in nats, `f64 [n]` on the host; minus infinity outside the support.
    ///
    /// Closed form for the Gaussians, rings and squares; Simpson's rule along the curve for `moons`, `swissroll`
    /// and `2spirals`; the change of variables, summed over all preimages, for `pinwheel`.
    pub fn log_prob(self, x: &Tensor) -> Tensor {
        density::log_prob(self, &x.to_device(Device::Cpu).to_kind(Kind::Double))
    }

    /// A data set of [`PointSet::SPLITS`] points, always the same ones.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn dataset(self) -> Result<Dataset> {
        let part = |n, index| Split::unlabelled(self.part(n, 0, index));
        let Splits { train, validation, test } = Self::SPLITS;
        Dataset::from_splits(
            self.name(),
            part(train, 1),
            Some(part(validation, 2)),
            Some(part(test, 3)),
            Vec::new(),
        )
    }

    fn part(self, n: usize, seed: u64, index: u64) -> Tensor {
        sample::draw(self, n as i64, &stream(seed, Purpose::Data, index))
    }
}

impl fmt::Display for PointSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
