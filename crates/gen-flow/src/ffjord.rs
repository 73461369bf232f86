//! FFJORD: a continuous flow along a perceptron.

mod config;

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use gen_core::ode::Dopri5;
use gen_core::params::Params;
use gen_core::registry::Capabilities;
use gen_core::train::TrainConfig;

pub use config::FfjordConfig;

use crate::bijection::{Chain, Continuous, PerceptronField};
use crate::model::{Architecture, Design, FLOW, FlowModel};
use crate::rows;
use crate::settings::training;

/// FFJORD (Grathwohl et al. 2019): continuous flows along perceptrons, trained by maximum likelihood through the
/// solver.
///
/// Tabular data are standardised first. Images are dequantised, taken to the real line by a logit, normalised, and
/// flow as rows of pixels. Losses have an `nfe`, the evaluations of the network that the density of a batch took, and
/// a `penalty`, which keeps paths straight and takes off a tenth to a third of these evaluations (Finlay et al.
/// 2020).
///
/// Its likelihood is exact up to the tolerance of the solver, its samples cost a solution each. The training steps of
/// large networks are slow; two hidden layers keep the trace of the Jacobian cheap ([`PerceptronField`]).
pub type Ffjord = FlowModel<FreeForm>;

/// The architecture of [`Ffjord`].
#[derive(Debug)]
pub enum FreeForm {}

impl Architecture for FreeForm {
    type Config = FfjordConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "ffjord";
    const SUMMARY: &'static str =
        "a continuous flow along a perceptron; exact likelihood and samples by an adaptive solver";
    const CITATION: &'static str = "Grathwohl et al. 2019, FFJORD: Free-form Continuous Dynamics \
        for Scalable Reversible Generative Models";
    const CAPABILITIES: Capabilities = FLOW;

    fn default_config(data: &DataSpec) -> FfjordConfig {
        FfjordConfig::of(data)
    }

    fn default_training(data: &DataSpec) -> TrainConfig {
        training(data, 64, 50)
    }

    fn design(config: &FfjordConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let root = params.root();
        let (dequantiser, mut layers) = rows::layers(data, &root)?;
        for i in 0..config.blocks {
            let place = &root / format!("blocks.{i}");
            let field = PerceptronField::new(place, data.shape.dimensions(), 0, &config.hidden);
            let solver = Dopri5::with_tolerance(config.tolerance);
            let flow = Continuous::new(field, config.trace, solver);
            layers.push(Box::new(flow.with_kinetic_penalty(config.kinetic)));
        }
        Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data))
    }
}
