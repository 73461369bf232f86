//! FFJORD: a continuous flow along a perceptron.

mod config;

use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use gen_core::ode::Dopri5;
use gen_core::params::Params;
use gen_core::registry::{Origin, Preset};

pub use config::FfjordConfig;

use crate::bijection::{Chain, Continuous, PerceptronField};
use crate::conditions::Conditions;
use crate::model::{Architecture, CONDITIONAL, Design, FlowModel, FlowSampling};
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

/// The preset of [`Ffjord`].
pub static FFJORD: Preset<Ffjord> = Preset {
    name: "ffjord",
    summary: "a continuous flow along a perceptron; exact likelihood and samples by an adaptive solver",
    origin: Origin::Paper,
    citation: "Grathwohl et al. 2019, FFJORD: Free-form Continuous Dynamics \
        for Scalable Reversible Generative Models",
    departures: &[
        "The field is a perceptron of tanh units to which the time is added; the paper's networks are gated by it, \
         and images take convolutions there.",
        "Gradients are those of the solver's own steps, not of the adjoint equation; traces are exact by default; \
         and paths pay for their kinetic energy (Finlay et al. 2020).",
        "Sizes, learning rates and batch sizes are for minutes on a processor without a GPU, and an average of the \
         weights makes the samples of images.",
    ],
    capabilities: CONDITIONAL,
    config: FfjordConfig::of,
    training: |data| training(data, 64, 50),
    sampling: FlowSampling::of,
};

/// The architecture of [`Ffjord`].
#[derive(Debug)]
pub enum FreeForm {}

impl Architecture for FreeForm {
    type Config = FfjordConfig;
    type Sampling = OnePass;

    const NAME: &'static str = "ffjord";

    fn design(config: &FfjordConfig, params: &Params, data: &DataSpec) -> Result<Design> {
        config.check()?;
        let root = params.root();
        let conditions = Conditions::shown(params, data, config.condition)?;
        let context = Conditions::width(&conditions);
        let (dequantiser, mut layers) = rows::layers(data, &root)?;
        for i in 0..config.blocks {
            let place = &root / format!("blocks.{i}");
            let field = PerceptronField::new(place, data.shape.dimensions(), context, &config.hidden);
            let solver = Dopri5::with_tolerance(config.tolerance);
            let flow = Continuous::new(field, config.trace, solver);
            layers.push(Box::new(flow.with_kinetic_penalty(config.kinetic)));
        }
        Ok(Design::new(Chain::new(layers), dequantiser, config.optimizer, params, data).given(conditions))
    }
}
