use tch::Tensor;

/// Guidance of samples: the (α, μ) of each position are led away from those of a weaker prediction (Zhai et al. 2024,
/// section 2.6),
///
/// > α + w_i (α - α'), μ + w_i (μ - μ')
///
/// with weights w_i that grow evenly over the sequence, to `weight` at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// The weight w at the end of the sequence, above 0.
    pub weight: f64,
    /// The weaker prediction.
    pub weaker: Weaker,
}

/// The prediction that [`Guidance`] leads away from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weaker {
    /// That without the context, for a flow that was trained with and without it.
    WithoutContext,
    /// That of an attention whose logits are divided by this temperature.
    Temperature(f64),
}

/// Both predictions go through a block in one batch: the good one in the first half of the rows, the weaker in the
/// second.
impl Guidance {
    /// The contexts of both halves.
    pub(crate) fn contexts(&self, context: Option<&Tensor>) -> Option<Tensor> {
        let context = context?;
        Some(match self.weaker {
            Weaker::WithoutContext => Tensor::cat(&[context, &context.zeros_like()], 0),
            Weaker::Temperature(_) => Tensor::cat(&[context, context], 0),
        })
    }

    /// Factors on the logits of the attention of both halves, of latents `z: [batch, ...]`.
    pub(crate) fn sharpness(&self, z: &Tensor) -> Option<Tensor> {
        let Weaker::Temperature(temperature) = self.weaker else { return None };
        let ones = Tensor::ones([z.size()[0], 1, 1, 1], (z.kind(), z.device()));
        Some(Tensor::cat(&[&ones, &(&ones / temperature)], 0))
    }

    /// The parameters of the first half of `both`, led away from those of the second with the part `fraction` of the
    /// weight.
    pub(crate) fn guided(&self, both: &Tensor, fraction: f64) -> Tensor {
        let halves = both.chunk(2, 0);
        &halves[0] + (&halves[0] - &halves[1]) * (self.weight * fraction)
    }
}
