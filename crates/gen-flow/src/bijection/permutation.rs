use gen_core::params::Scope;
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::volume_preserving;

/// A fixed order of coordinates or channels: y\[:, i\] = x\[:, order\[i\]\], log|det| = 0.
///
/// The order and its inverse are buffers, saved with the parameters.
#[derive(Debug)]
pub struct Permutation {
    order: Tensor,
    inverse: Tensor,
}

impl Permutation {
    /// The given order, which has each of `0..order.len()` once.
    ///
    /// # Panics
    /// When it has not.
    pub fn new(scope: Scope<'_>, order: &[i64]) -> Self {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..order.len() as i64), "{order:?} is not a permutation");
        let order = Tensor::from_slice(order);
        let inverse = order.argsort(0, false);
        Permutation { order: scope.buffer("order", order), inverse: scope.buffer("inverse", inverse) }
    }

    /// Last to first.
    pub fn reverse(scope: Scope<'_>, size: i64) -> Self {
        let order: Vec<i64> = (0..size).rev().collect();
        Self::new(scope, &order)
    }

    /// A random order, drawn as initial parameters are.
    pub fn random(scope: Scope<'_>, size: i64) -> Self {
        let order = scope.rng().randperm(size);
        let order: Vec<i64> = (0..size).map(|i| order.int64_value(&[i])).collect();
        Self::new(scope, &order)
    }
}

impl Bijection for Permutation {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (x.index_select(1, &self.order), volume_preserving(x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (y.index_select(1, &self.inverse), volume_preserving(y))
    }
}

impl Layer for Permutation {}
