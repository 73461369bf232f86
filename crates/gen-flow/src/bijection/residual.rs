mod contraction;
mod log_det;

use std::cell::Cell;

use gen_core::rng::Generator;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

pub use contraction::Contraction;
use contraction::{Linearised, Weights};

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// How ln det(I + J) is found, J being the Jacobian of the contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDet {
    /// From a matrix as large as the narrowest layer of the contraction is wide, or from J itself: whatever the
    /// dimension, a contraction with few units in one of its layers has a determinant that costs little.
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
/// fixed-point iteration x ← y - g(x) is bound to; otherwise that one is taken. It therefore always converges, mostly
/// in a few steps, to rounding. Each row has linear equations of its own, as many as the narrowest layer of the
/// contraction has units, or as there are dimensions.
///
/// In a pass with a random source the spectral norms of the weights follow them by power iteration; elsewhere they
/// are computed anew ([`Contraction`]).
///
/// ```
/// use gen_core::params::Params;
/// use gen_flow::Given;
/// use gen_flow::bijection::{Bijection, Contraction, LogDet, Residual};
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
    evaluations: Cell<usize>,
}

/// The most Newton steps: the iteration gains a digit in 76 steps at worst, at a constant of 0.97.
const MAX_STEPS: usize = 2000;

impl Residual {
    /// The block x + g(x).
    pub fn new(contraction: Contraction, log_det: LogDet) -> Self {
        Residual { contraction, log_det, evaluations: Cell::new(0) }
    }

    fn log_det(&self, at: &Linearised<'_>, rng: Option<&Generator>) -> Tensor {
        match (self.log_det, rng) {
            (LogDet::Truncated(terms), _) => log_det::truncated(&at.core(), terms),
            (LogDet::Roulette(terms), Some(rng)) => log_det::roulette(at, terms, rng),
            (LogDet::Exact | LogDet::Roulette(_), _) => log_det::exact(&at.core()),
        }
    }

    /// x of x + g(x) = y.
    fn solve(&self, weights: &Weights, y: &Tensor) -> Tensor {
        let length = |x: &Tensor| x.norm_scalaropt_dim(2.0, [1], true);
        let epsilon = if y.kind() == Kind::Double { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let allowed = (length(y) + 1.0) * (4.0 * epsilon);
        let residual_at = |x: &Tensor| {
            self.evaluations.set(self.evaluations.get() + 1);
            let at = weights.linearised(x);
            (x + &at.value - y, at)
        };
        let mut x = y.shallow_clone();
        let (mut residual, mut at) = residual_at(&x);
        let mut active = length(&residual).gt_tensor(&allowed);
        for _ in 0..MAX_STEPS {
            if active.any().int64_value(&[]) == 0 {
                break;
            }
            let mut next = &x - at.solved(&at.core(), &residual);
            let (mut of_next, mut at_next) = residual_at(&next);
            // False where a step led to no number.
            let kept = length(&of_next).le_tensor(&(length(&residual) * self.contraction.constant()));
            if active.logical_and(&kept.logical_not()).any().int64_value(&[]) == 1 {
                next = next.where_self(&kept, &(&x - &residual));
                (of_next, at_next) = residual_at(&next);
            }
            // A row that gets no nearer has reached rounding errors, and stays.
            active = active.logical_and(&length(&of_next).lt_tensor(&length(&residual)));
            x = next.where_self(&active, &x);
            residual = of_next.where_self(&active, &residual);
            at = at_next;
            active = active.logical_and(&length(&residual).gt_tensor(&allowed));
        }
        x
    }
}

impl Bijection for Residual {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let weights = self.contraction.weights(given);
        let at = weights.linearised(x);
        self.evaluations.set(1);
        (x + &at.value, self.log_det(&at, given.rng))
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let weights = self.contraction.weights(given);
        let constant = weights.detached();
        self.evaluations.set(0);
        let x = tch::no_grad(|| self.solve(&constant, &y.detach()));
        let at = constant.linearised(&x);
        // One more Newton step, whose derivative is that of the inverse: ∂x/∂y = (I + J)⁻¹.
        let residual = &x + weights.linearised(&x).value - y;
        let x = &x - at.solved(&at.core(), &residual);
        let log_det = -self.log_det(&weights.linearised(&x), given.rng);
        // At the solution, for one more step, and after it.
        self.evaluations.set(self.evaluations.get() + 3);
        (x, log_det)
    }
}

impl Layer for Residual {
    fn evaluations(&self) -> Option<usize> {
        Some(self.evaluations.get())
    }

    fn is_step(&self) -> bool {
        true
    }
}
