mod contraction;
mod log_det;

use gen_core::rng::Generator;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

pub use contraction::Contraction;
use contraction::Linearised;

use super::{Bijection, Given};

/// How ln det(I + J) is found, J being the Jacobian of the contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDet {
    /// From the Jacobian itself, of which every column costs a pass.
    Exact,
    /// Σ (-1)ᵏ⁺¹ tr(Jᵏ) / k over this many terms, with exact traces (Behrmann et al. 2019, equation 4). In d dimensions
    /// it is off by at most d Σ cᵏ/k over the terms that are left out, c being the Lipschitz constant.
    Truncated(usize),
    /// In training an unbiased estimate of all terms: these many, and a random number of further ones that makes up for
    /// those that are left out, with one random probe for each row, and gradients by the Neumann series (Chen et al.
    /// 2019, equations 6 and 8). Exact where nothing is random, so that a likelihood is always exact.
    Roulette(usize),
}

/// An invertible residual block,
///
/// > y = x + g(x), Lip(g) < 1, log|det| = ln det(I + ∂g/∂x)
///
/// Behrmann et al. 2019 (i-ResNet), theorem 1; Chen et al. 2019 (Residual Flows).
///
/// The inverse is found by Newton's method, a step of which is kept where it does at least as well as a step of the
/// fixed-point iteration x ← y - g(x) is bound to; otherwise that one is taken. It therefore always converges, mostly in
/// a few steps, to rounding. Each row has a Jacobian of its own, so dimensions should be dozens rather than thousands.
///
/// In a pass with a random source the spectral norms of the weights follow them by power iteration; elsewhere they
/// are computed anew ([`Contraction`]).
///
/// ```
/// use gen_core::params::Params;
/// use gen_flow::bijection::{Bijection, Contraction, Given, LogDet, Residual};
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let block = Residual::new(Contraction::new(params.root(), 2, 0, &[16, 16], 0.97), LogDet::Exact);
/// let x = Tensor::randn([5, 2], (Kind::Double, Device::Cpu));
/// let (y, log_det) = block.forward(&x, Given::NOTHING);
/// assert_eq!(log_det.size(), [5]);
/// assert!(block.inverse(&y, Given::NOTHING).0.allclose(&x, 1e-9, 1e-9, false));
/// ```
#[derive(Debug)]
pub struct Residual {
    contraction: Contraction,
    log_det: LogDet,
}

/// Newton steps after which what is there is taken: the iteration gains a digit in 76 steps at worst, at a constant of
/// 0.97.
const MAX_STEPS: usize = 2000;

impl Residual {
    /// The block x + g(x).
    pub fn new(contraction: Contraction, log_det: LogDet) -> Self {
        Residual { contraction, log_det }
    }

    fn log_det(&self, at: &Linearised<'_>, rng: Option<&Generator>) -> Tensor {
        match (self.log_det, rng) {
            (LogDet::Truncated(terms), _) => log_det::truncated(&at.jacobian(), terms),
            (LogDet::Roulette(terms), Some(rng)) => log_det::roulette(at, terms, rng),
            (LogDet::Exact | LogDet::Roulette(_), _) => log_det::exact(&at.jacobian()),
        }
    }

    /// x of x + g(x) = y, without gradients.
    fn solve(&self, linearise: &dyn Fn(&Tensor) -> (Tensor, Tensor), y: &Tensor) -> Tensor {
        let length = |x: &Tensor| x.norm_scalaropt_dim(2.0, [1], true);
        let epsilon = if y.kind() == Kind::Double { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let allowed = (length(y) + 1.0) * (4.0 * epsilon);
        let mut x = y.shallow_clone();
        let (mut residual, mut jacobian) = linearise(&x);
        residual = &x + residual - y;
        let mut active = length(&residual).gt_tensor(&allowed);
        for _ in 0..MAX_STEPS {
            if active.any().int64_value(&[]) == 0 {
                break;
            }
            let mut next = &x - newton(&jacobian, &residual);
            let (value, of_next) = linearise(&next);
            let (mut residual_of_next, mut jacobian_of_next) = (&next + value - y, of_next);
            // Not so where a step led to what is no number.
            let kept =
                length(&residual_of_next).le_tensor(&(length(&residual) * self.contraction.constant()));
            let simple = active.logical_and(&kept.logical_not());
            if simple.any().int64_value(&[]) == 1 {
                next = next.where_self(&kept, &(&x - &residual));
                let (value, of_next) = linearise(&next);
                (residual_of_next, jacobian_of_next) = (&next + value - y, of_next);
            }
            // What does not get nearer any more has come to rounding errors.
            let nearer = active.logical_and(&length(&residual_of_next).lt_tensor(&length(&residual)));
            x = next.where_self(&nearer, &x);
            residual = residual_of_next.where_self(&nearer, &residual);
            jacobian = jacobian_of_next.where_self(&nearer.unsqueeze(2), &jacobian);
            active = nearer.logical_and(&length(&residual).gt_tensor(&allowed));
        }
        x
    }
}

/// (I + J)⁻¹ r of each row.
fn newton(jacobian: &Tensor, residual: &Tensor) -> Tensor {
    let identity = Tensor::eye(jacobian.size()[1], (jacobian.kind(), jacobian.device()));
    Tensor::linalg_solve(&(jacobian + identity), &residual.unsqueeze(2), true).squeeze_dim(2)
}

impl Bijection for Residual {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let weights = self.contraction.weights(given);
        let at = weights.linearised(x);
        (x + &at.value, self.log_det(&at, given.rng))
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let weights = self.contraction.weights(given);
        let (x, jacobian) = tch::no_grad(|| {
            let linearise = |x: &Tensor| {
                let at = weights.linearised(x);
                (at.value.shallow_clone(), at.jacobian())
            };
            let x = self.solve(&linearise, &y.detach());
            let jacobian = linearise(&x).1;
            (x, jacobian)
        });
        // One more step of Newton's, whose derivative is that of the inverse: ∂x/∂y = (I + J)⁻¹.
        let residual = &x + weights.linearised(&x).value - y;
        let x = &x - newton(&jacobian, &residual);
        let log_det = -self.log_det(&weights.linearised(&x), given.rng);
        (x, log_det)
    }

    fn is_step(&self) -> bool {
        true
    }
}
