use std::fmt;

use crate::error::{Error, Result};

/// A distribution on the plane, defined by how its points are drawn.
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

impl PointSet {
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
}

impl fmt::Display for PointSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
