use tch::Tensor;

use super::block::TransformerBlock;
use super::guidance::Guidance;
use crate::bijection::{Bijection, Chain, Given};

/// The whole map of a [`TarFlow`](crate::TarFlow): data to a sequence, the blocks one after another, and the sequence end
/// to end, `[batch, length values]`.
#[derive(Debug)]
pub(super) struct Transform {
    pub(super) arrange: Chain,
    pub(super) steps: Vec<Rotated>,
    /// The length of the sequence and the values at each position.
    pub(super) size: [i64; 2],
}

/// A block in coordinates of its own: what it gives is turned back, so that the states of a flow stay pictures.
#[derive(Debug)]
pub(super) struct Rotated {
    pub(super) block: TransformerBlock,
    /// The coordinates of the block as rows, orthonormal `[values, values]`; `None` for those of the sequence.
    pub(super) basis: Option<Tensor>,
}

impl Rotated {
    /// What `map` does in the coordinates of the block.
    fn through(&self, x: &Tensor, map: impl FnOnce(&Tensor) -> (Tensor, Tensor)) -> (Tensor, Tensor) {
        let Some(basis) = &self.basis else { return map(x) };
        let (y, log_det) = map(&x.matmul(&basis.tr()));
        (y.matmul(basis), log_det)
    }
}

impl Transform {
    /// f⁻¹(z) with `guidance` and its log-determinant; `visit` is shown the state after each block, as data.
    pub(super) fn inverse_guided(
        &self,
        z: &Tensor,
        context: Option<&Tensor>,
        guidance: Option<&Guidance>,
        visit: &mut dyn FnMut(Tensor),
    ) -> (Tensor, Tensor) {
        let [length, values] = self.size;
        let mut at = z.reshape([-1, length, values]);
        let mut total = Tensor::zeros([z.size()[0]], (z.kind(), z.device()));
        for step in self.steps.iter().rev() {
            let (x, log_det) = step.through(&at, |z| step.block.inverse_guided(z, context, guidance));
            (at, total) = (x, total + log_det);
            visit(self.arrange.inverse(&at, Given::NOTHING).0);
        }
        let (x, log_det) = self.arrange.inverse(&at, Given::NOTHING);
        (x, total + log_det)
    }
}

impl Bijection for Transform {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let (mut at, mut total) = self.arrange.forward(x, Given::NOTHING);
        for step in &self.steps {
            let (z, log_det) = step.through(&at, |x| step.block.forward(x, given));
            (at, total) = (z, total + log_det);
        }
        (at.flatten(1, -1), total)
    }

    fn inverse(&self, z: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.inverse_guided(z, given.context, None, &mut |_| ())
    }

    fn outline(&self, z: &Tensor, _given: Given<'_>) -> Tensor {
        let [length, values] = self.size;
        self.arrange.inverse(&z.reshape([-1, length, values]), Given::NOTHING).0
    }

    fn trace(
        &self,
        z: &Tensor,
        given: Given<'_>,
        finish: &dyn Fn(&Tensor) -> Tensor,
        visit: &mut dyn FnMut(Tensor),
    ) -> Tensor {
        self.inverse_guided(z, given.context, None, &mut |x| visit(finish(&x))).0
    }
}
