use tch::Tensor;

use super::block::TransformerBlock;
use super::guidance::Guidance;
use crate::bijection::{Bijection, Chain, Given};

/// The whole map of a [`TarFlow`](crate::TarFlow): data to a sequence, the blocks one after another, and the sequence end
/// to end, `[batch, length values]`.
#[derive(Debug)]
pub(super) struct Transform {
    pub(super) arrange: Chain,
    pub(super) blocks: Vec<TransformerBlock>,
    /// The length of the sequence and the values at each position.
    pub(super) size: [i64; 2],
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
        for block in self.blocks.iter().rev() {
            let (x, log_det) = block.inverse_guided(&at, context, guidance);
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
        for block in &self.blocks {
            let (z, log_det) = block.forward(&at, given);
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
