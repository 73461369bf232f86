//! Diffusion models: their pieces against other libraries and closed forms, and the models as their users see them.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod bound;
mod conditions;
mod model;
mod noise;
mod ode;
mod peers;
mod presets;
mod process;
mod processes;
mod reference;
