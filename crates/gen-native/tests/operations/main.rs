//! Operations beside the same by libtorch's, and what holds for all of them.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod autoregressive;
mod conv;
mod custom;
mod flow;
mod forward;
mod generator;
mod instructions;
mod likelihood;
mod native;
mod norm;
mod penalties;
#[path = "../shared/mod.rs"]
mod shared;
mod spline;

gen_native::mkl_on_amd!();
