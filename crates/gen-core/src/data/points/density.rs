use std::f64::consts::{LN_2, PI};

use tch::{Device, Kind, Tensor};

use super::sample::{
    CIRCLES, GRID_STD, MOONS_SHIFT, MOONS_STD, PINWHEEL_STD, RING_STD, RINGS, ROLL_STD, SPIRAL_BOX, SPIRAL_STD,
    lower_moon, roll, spiral, squares, upper_moon,
};
use super::set::PointSet;

/// Intervals of Simpson's rule: the nodes are at most 0.3 standard deviations apart on every curve.
const INTERVALS: i64 = 512;
/// Rows in one pass, so that rows times nodes take tens of megabytes at most.
const ROWS: i64 = 2048;

impl PointSet {
    /// The differential entropy in nats, -E[log p]: by quadrature of the density to four digits, in closed form
    /// for `checkerboard` (ln 32) and `25gaussians` (ln 25 plus that of one component: they do not overlap).
    pub fn entropy(self) -> f64 {
        match self {
            PointSet::Moons => 2.3939,
            PointSet::Circles => 3.2681,
            PointSet::Rings => 2.6232,
            PointSet::Swissroll => 2.6696,
            PointSet::EightGaussians => 2.8319,
            PointSet::TwentyFiveGaussians => 25f64.ln() + (2.0 * PI * GRID_STD * GRID_STD).ln() + 1.0,
            PointSet::Pinwheel => 2.3177,
            PointSet::TwoSpirals => 2.6454,
            PointSet::Checkerboard => 32f64.ln(),
        }
    }

    /// log p of each row of `x: [n, 2]`, in nats, `f64 [n]` on the host; minus infinity outside the support.
    ///
    /// Closed form for the Gaussians, rings and squares; Simpson's rule along the curve for `moons`, `swissroll`
    /// and `2spirals`; the change of variables, summed over all preimages, for `pinwheel`.
    pub fn log_prob(self, x: &Tensor) -> Tensor {
        log_prob(self, &x.to_device(Device::Cpu).to_kind(Kind::Double))
    }
}

/// log p of each row of `x: f64 [n, 2]`.
fn log_prob(set: PointSet, x: &Tensor) -> Tensor {
    if x.size()[0] == 0 {
        return x.select(1, 0).copy();
    }
    let mixture = Mixture::of(set);
    let parts: Vec<Tensor> = x
        .split(ROWS, 0)
        .iter()
        .map(|x| match (set, &mixture) {
            (_, Some(mixture)) => mixture.log_prob(x),
            (PointSet::Circles, _) => rings(&(x / 3.0), &CIRCLES) - 2.0 * 3f64.ln(),
            (PointSet::Pinwheel, _) => pinwheel(&(x / 2.0)) - 2.0 * LN_2,
            (PointSet::TwoSpirals, _) => two_spirals(x),
            (PointSet::Checkerboard, _) => checkerboard(x),
            _ => rings(x, &RINGS),
        })
        .collect();
    Tensor::cat(&parts, 0)
}

/// A mixture of isotropic Gaussians of one size: the Gaussian sets, and curves with noise by quadrature.
struct Mixture {
    /// `[k, 2]`.
    centres: Tensor,
    /// `[k]`.
    log_weights: Tensor,
    std: f64,
}

impl Mixture {
    fn of(set: PointSet) -> Option<Mixture> {
        if let Some(modes) = set.modes() {
            let k = modes.centres.size()[0];
            let log_weights = Tensor::full([k], -(k as f64).ln(), (Kind::Double, Device::Cpu));
            return Some(Mixture { centres: modes.centres, log_weights, std: modes.std });
        }
        match set {
            PointSet::Moons => {
                let (angle, weights) = simpson(0.0, PI);
                let arcs = Tensor::cat(&[upper_moon(&angle), lower_moon(&angle)], 0);
                let weights = weights / (2.0 * PI);
                Some(Mixture {
                    centres: arcs * 2.0 + Tensor::from_slice(&MOONS_SHIFT),
                    log_weights: Tensor::cat(&[&weights, &weights], 0).log(),
                    std: 2.0 * MOONS_STD,
                })
            }
            PointSet::Swissroll => {
                let (t, weights) = simpson(1.5 * PI, 4.5 * PI);
                Some(Mixture { centres: roll(&t), log_weights: (weights / (3.0 * PI)).log(), std: ROLL_STD })
            }
            _ => None,
        }
    }

    fn log_prob(&self, x: &Tensor) -> Tensor {
        let variance = self.std * self.std;
        let squared = (x.unsqueeze(1) - &self.centres).square().sum_dim_intlist(-1, false, Kind::Double);
        let log_normal = squared / (-2.0 * variance) - (2.0 * PI * variance).ln();
        (log_normal + &self.log_weights).logsumexp(-1, false)
    }
}

/// Nodes and weights of the composite Simpson rule on [a, b].
fn simpson(a: f64, b: f64) -> (Tensor, Tensor) {
    let h = (b - a) / INTERVALS as f64;
    let weight = |i| match i {
        0 | INTERVALS => 1.0,
        i if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let nodes: Vec<f64> = (0..=INTERVALS).map(|i| a + h * i as f64).collect();
    let weights: Vec<f64> = (0..=INTERVALS).map(|i| weight(i) * h / 3.0).collect();
    (Tensor::from_slice(&nodes), Tensor::from_slice(&weights))
}

/// A circle of radius r with Gaussian noise: the mean of the Gaussian over the angle is a Bessel function,
/// `N(rho - r) exp(-z) I0(z)` with `z = rho r / std^2`.
fn rings(x: &Tensor, radii: &[f64]) -> Tensor {
    let variance = RING_STD * RING_STD;
    let rho = x.square().sum_dim_intlist(-1, true, Kind::Double).sqrt();
    let radii_row = Tensor::from_slice(radii);
    let z = &rho * &radii_row / variance;
    let log_ring = (rho - radii_row).square() / (-2.0 * variance) + z.special_i0e().log();
    log_ring.logsumexp(-1, false) - (2.0 * PI * variance * radii.len() as f64).ln()
}

/// t has the density 2 t / (3 pi)^2; given t, each coordinate is a uniform plus a normal number.
fn two_spirals(x: &Tensor) -> Tensor {
    let (t, weights) = simpson(0.0, 3.0 * PI);
    let log_weights = (weights * &t / (9.0 * PI * PI)).log();
    let curve = spiral(&t);
    let arms = [1.0, -1.0].map(|sign| {
        let offset = x.unsqueeze(1) * sign - &curve;
        log_uniform_plus_normal(&offset, SPIRAL_BOX, SPIRAL_STD).sum_dim_intlist(-1, false, Kind::Double) + &log_weights
    });
    Tensor::cat(&arms, 1).logsumexp(-1, false)
}

/// log density of `width U + std n`: a difference of normal distribution functions.
pub(super) fn log_uniform_plus_normal(u: &Tensor, width: f64, std: f64) -> Tensor {
    // Mirrored into the lower half, where both distribution functions are small and keep their digits.
    let u = width / 2.0 - (u - width / 2.0).abs();
    let upper = (&u / std).special_log_ndtr();
    let lower = ((u - width) / std).special_log_ndtr();
    let ratio = (lower - &upper).exp();
    upper + (-ratio).log1p() - width.ln()
}

/// log p of `y = R(-2 pi k / 5 - 0.25 exp(f1)) f`, summed over the preimages f. The rotation R keeps the radius, so f
/// is
/// `rho (cos a, sin a)`, where `a - 0.25 exp(rho cos a)` is the polar angle of y up to fifths of a turn: five times
/// their difference is a multiple of 2 pi at a preimage. Its derivative in a gives the Jacobian, 1 + 0.25 exp(f1) f2.
fn pinwheel(y: &Tensor) -> Tensor {
    const CELLS: i64 = 1024;
    const BISECTIONS: usize = 40;
    let rho = y.square().sum_dim_intlist(-1, true, Kind::Double).sqrt();
    let phi = y.select(1, 1).atan2(&y.select(1, 0)).unsqueeze(1);
    let turns = |a: &Tensor, rho: &Tensor, phi: &Tensor| (a - (rho * a.cos()).exp() * 0.25 - phi) * (5.0 / (2.0 * PI));

    // A preimage is where the number of whole fifths changes between two nodes of a grid over the circle.
    let nodes = Tensor::linspace(-PI, PI, CELLS + 1, (Kind::Double, Device::Cpu));
    let whole = turns(&nodes, &rho, &phi).floor();
    let (left, right) = (whole.narrow(1, 0, CELLS), whole.narrow(1, 1, CELLS));
    let crossings = left.ne_tensor(&right).nonzero();
    let (row, cell) = (crossings.select(1, 0), crossings.select(1, 1));
    let rho = rho.squeeze_dim(1).index_select(0, &row);
    let phi = phi.squeeze_dim(1).index_select(0, &row);
    let level = left.maximum(&right).reshape([-1]).index_select(0, &(&row * CELLS + &cell));
    let mut low = nodes.index_select(0, &cell);
    let mut high = nodes.index_select(0, &(cell + 1));
    let low_is_under = turns(&low, &rho, &phi).lt_tensor(&level);
    for _ in 0..BISECTIONS {
        let middle = (&low + &high) / 2.0;
        let same_side = turns(&middle, &rho, &phi).lt_tensor(&level).eq_tensor(&low_is_under);
        low = middle.where_self(&same_side, &low);
        high = high.where_self(&same_side, &middle);
    }

    let (f1, f2) = (&rho * low.cos(), rho * low.sin());
    let [f1_std, f2_std] = PINWHEEL_STD;
    let log_normal =
        ((&f1 - 1.0) / f1_std).square() / -2.0 + (&f2 / f2_std).square() / -2.0 - (2.0 * PI * f1_std * f2_std).ln();
    let jacobian: Tensor = 1.0 + f1.exp() * 0.25 * f2;
    let density = log_normal.exp() / jacobian.abs() / 5.0;
    let total = Tensor::zeros([y.size()[0]], (Kind::Double, Device::Cpu));
    total.index_add(0, &row, &density).log()
}

/// Uniform on eight squares of side 2, widened by the rounding error of points in f32.
fn checkerboard(x: &Tensor) -> Tensor {
    const ROUNDING: f64 = 1e-6;
    let distance = (x.unsqueeze(1) - squares()).abs().amax(-1, false).amin(-1, false);
    let log_density = distance.full_like(-32f64.ln());
    log_density.where_self(&distance.le(1.0 + ROUNDING), &distance.full_like(f64::NEG_INFINITY))
}
