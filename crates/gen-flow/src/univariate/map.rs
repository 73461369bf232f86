use std::fmt::Debug;

use gen_core::distributions::sum_rows;
use gen_core::native::{self, Order, Way};
use tch::Tensor;

use crate::tensor::join;

/// The two parts of the values that go through a coupling, or all of the values that go through an autoregressive
/// layer.
#[derive(Debug)]
pub struct Partition {
    /// The values that stay: `[batch, kept, ...]`; `None` where all move.
    pub kept: Option<Tensor>,
    /// The values that move: `[batch, size - kept, ...]`.
    pub moving: Tensor,
    /// Which of the two comes first.
    pub order: Order,
}

impl Partition {
    /// All values move.
    pub fn all(x: &Tensor) -> Self {
        Partition { kept: None, moving: x.shallow_clone(), order: Order::SameFirst }
    }

    /// The result of a coupling: the kept values, and those that moved to `moved`.
    pub fn join(&self, moved: &Tensor) -> Tensor {
        match (&self.kept, self.order) {
            (None, _) => moved.shallow_clone(),
            (Some(kept), Order::SameFirst) => join(kept, moved),
            (Some(kept), Order::MovedFirst) => join(moved, kept),
        }
    }
}

/// An increasing map τ of the real line, applied to each value with parameters θ of its own.
///
/// The parameters of `x: [batch, n, ...]` come as `[batch, parameters · n, ...]`: a block of n for the first
/// parameter of each value, then a block for the second, and so on. Both directions return the image and the log of
/// the slope in that direction, each in the shape of `x`.
pub trait Univariate: Debug + Send {
    /// How many numbers describe the map of one value.
    fn parameters(&self) -> i64;

    /// y = τ(x; θ) and ln|dy/dx|.
    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor);

    /// x = τ⁻¹(y; θ) and ln|dx/dy|.
    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor);

    /// τ, or τ⁻¹, of the values that move, joined with the others, and the log-determinant of each row, `[batch]`.
    ///
    /// By default in several passes over memory; a map that can do all of it in one overrides this.
    fn couple(&self, x: &Partition, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        let (moved, log_slope) = match way {
            Way::Forward => self.forward(&x.moving, parameters),
            Way::Inverse => self.inverse(&x.moving, parameters),
        };
        (x.join(&moved), sum_rows(&log_slope))
    }

    /// The same map in the native layer, if it has it: an autoregressive layer can then be inverted in one pass.
    fn native(&self) -> Option<native::Univariate<'_>> {
        None
    }
}
