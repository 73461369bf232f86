use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Tensor;

use super::design::Design;
use crate::given::Given;
use crate::guidance::Guidance;

/// The sampling options of a kind of flow.
pub trait FlowSampling: Clone + Serialize + DeserializeOwned {
    /// The options that a flow of this kind of data has when it is built.
    fn of(data: &DataSpec) -> Self;

    /// How a flow of this design draws samples with these options.
    ///
    /// # Errors
    /// When an option is out of range, or the design cannot honour it.
    fn plan(&self, design: &Design) -> Result<SamplePlan>;
}

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

impl FlowSampling for OnePass {
    fn of(_data: &DataSpec) -> Self {
        OnePass::default()
    }

    fn plan(&self, _design: &Design) -> Result<SamplePlan> {
        let OnePass { temperature } = self.checked()?;
        Ok(SamplePlan { temperature, guidance: None, denoises: false })
    }
}
