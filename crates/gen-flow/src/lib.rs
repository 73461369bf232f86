#![doc = include_str!("../README.md")]

pub mod base;
pub mod bijection;
pub mod conditioner;
mod conditions;
pub mod dequantise;
mod ffjord;
mod flow;
mod flow_plus_plus;
mod given;
mod glow;
mod guidance;
mod images;
mod maf;
mod model;
mod nsf;
mod realnvp;
mod residual_flow;
mod rows;
mod settings;
mod tabular;
pub mod tarflow;
mod tensor;
pub mod univariate;

pub use ffjord::{FFJORD, Ffjord, FfjordConfig, FreeForm};
pub use flow::Flow;
pub use flow_plus_plus::{FLOW_PLUS_PLUS, FlowPlusPlus, FlowPlusPlusConfig, MixtureCouplings};
/// The crate that this one builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::registry::ModelEntry;
pub use given::Given;
pub use glow::{GLOW, Glow, GlowConfig, GlowSteps};
pub use guidance::{Guidance, Weaker};
pub use images::{AffineSteps, Dequantisation, MultiScale, Pixels};
pub use maf::{AffineAutoregressive, IAF, Iaf, InverseAutoregressive, MAF, Maf, MafConfig};
pub use model::{Architecture, Design, FlowModel, FlowSampling, RowsPerPass, SamplePlan};
pub use nsf::{
    NSF, NSF_AR, Nsf, NsfAr, NsfConfig, SplineAutoregressive, SplineConfig, SplineCouplings, SplineImageConfig,
};
pub use realnvp::{
    AffineCouplings, ImageConfig, MaskedConfig, QUICK_FLOW, REALNVP, RealNvp, RealNvpConfig, TabularConfig,
};
pub use residual_flow::{Determinant, RESIDUAL_FLOW, ResidualBlocks, ResidualFlow, ResidualFlowConfig};
pub use tarflow::{TARFLOW, TarFlow, TarFlowConfig, TarFlowSampling, Transformers};

/// The models of this family.
pub static MODELS: &[ModelEntry] = &[
    ModelEntry::of(&QUICK_FLOW),
    ModelEntry::of(&REALNVP),
    ModelEntry::of(&NSF),
    ModelEntry::of(&NSF_AR),
    ModelEntry::of(&MAF),
    ModelEntry::of(&IAF),
    ModelEntry::of(&FFJORD),
    ModelEntry::of(&RESIDUAL_FLOW),
    ModelEntry::of(&GLOW),
    ModelEntry::of(&FLOW_PLUS_PLUS),
    ModelEntry::of(&TARFLOW),
];
