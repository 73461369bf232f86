use tch::Tensor;

use crate::given::Given;
use crate::guidance::Guidance;

/// How samples of a flow are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplePlan {
    /// Factor on the standard deviation of the latents.
    pub temperature: f64,
    /// The guidance, of flows that are autoregressive transformers.
    pub guidance: Option<Guidance>,
    /// Whether samples take the step that removes Gaussian noise.
    pub denoises: bool,
}

impl SamplePlan {
    /// The condition and the guidance of samples.
    pub(super) fn given<'a>(&'a self, context: Option<&'a Tensor>) -> Given<'a> {
        Given { context, guidance: self.guidance.as_ref(), ..Given::NOTHING }
    }
}
