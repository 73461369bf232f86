use gen_core::rng::Generator;
use tch::Tensor;

use crate::guidance::Guidance;

/// What a pass through a flow is given besides the values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The condition of a conditional flow, a row for each row of values: `[batch, features]`, or another shape that
    /// its conditioners take.
    pub context: Option<&'a Tensor>,
    /// The source of randomness in a training step: estimates of log-determinants draw from it. Without it every map is
    /// deterministic.
    pub rng: Option<&'a Generator>,
    /// How samples are led away from a weaker prediction; [`TransformerBlock`](crate::tarflow::TransformerBlock) alone
    /// uses it, on the way from latents to data.
    pub guidance: Option<&'a Guidance>,
}

impl<'a> Given<'a> {
    /// Nothing: an unconditional flow, outside training.
    pub const NOTHING: Given<'static> = Given { context: None, rng: None, guidance: None };

    /// A context, outside training.
    pub fn context(context: &'a Tensor) -> Self {
        Given { context: Some(context), ..Given::NOTHING }
    }

    /// The context of a layer that was built for one.
    ///
    /// # Panics
    /// When there is none. To ignore that would make a conditional flow an unconditional one in silence.
    #[track_caller]
    pub(crate) fn needed_context(&self) -> &'a Tensor {
        self.context.expect("this layer was built for a context and got none: pass it with `Given::context`")
    }

    /// The same in a training step, whose random parts draw from `rng`.
    #[must_use]
    pub fn training(self, rng: &'a Generator) -> Self {
        Given { rng: Some(rng), ..self }
    }
}
