use gen_core::config::{not_negative, positive};
use gen_core::data::DataSpec;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::guidance::{Guidance, Weaker};
use crate::model::{Design, FlowSampling, SamplePlan};

/// Sampling options of [`TarFlow`](crate::TarFlow).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TarFlowSampling {
    /// Factor on the standard deviation of the latents, from 0 up.
    pub temperature: f64,
    /// The weight w of guidance, which leads samples away from the prediction without a class, or for data without
    /// classes from the prediction with a blurred attention; from 0 up, and 0 leads nowhere.
    pub guidance: f64,
    /// The temperature of the blurred attention, for data without classes.
    pub guidance_temperature: f64,
    /// Whether samples take the step that removes Gaussian noise. It needs `noise = "gaussian"` in training.
    pub denoise: bool,
}

impl Default for TarFlowSampling {
    /// Those of images.
    fn default() -> Self {
        TarFlowSampling { temperature: 1.0, guidance: 2.0, guidance_temperature: 1.5, denoise: true }
    }
}

impl FlowSampling for TarFlowSampling {
    fn of(data: &DataSpec) -> Self {
        TarFlowSampling { denoise: data.shape.is_image(), ..Self::default() }
    }

    fn plan(&self, design: &Design) -> Result<SamplePlan> {
        let TarFlowSampling { temperature, guidance: weight, guidance_temperature, denoise } = *self;
        not_negative("temperature", temperature)?;
        not_negative("guidance", weight)?;
        positive("guidance_temperature", guidance_temperature)?;
        if denoise && design.dequantiser.sigma().is_none() {
            return Err(Error::invalid(
                "`denoise` removes the Gaussian noise of training, of which there is none: set denoise=false",
            ));
        }
        let weaker = match design.conditions {
            Some(_) => Weaker::WithoutContext,
            None => Weaker::Temperature(guidance_temperature),
        };
        let guidance = (weight > 0.0).then_some(Guidance { weight, weaker });
        Ok(SamplePlan { temperature, guidance, denoises: denoise })
    }
}
