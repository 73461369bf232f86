//! A thin native layer: parts of libtorch that `tch` does not expose, and the loops in which models spend their time.
//!
//! It is the only crate of the workspace with `unsafe` code. `native/native.cpp` has one small function for each entry
//! point. Each function catches every C++ exception and returns its message, which becomes an error here. C++ does not
//! keep pointers to tensors beyond a call.

mod autocast;
mod conv;
mod custom;
mod ffi;
mod flow;
mod forward;
mod generator;
mod instructions;
mod layout;
mod likelihood;
pub mod mkl;
mod norm;
mod optim;
mod switches;

pub use autocast::{Autocast, AutocastDevice};
pub use conv::{Direction, Operands, conv_stack, conv2d};
pub use custom::with_gradient;
pub use flow::{
    Coupled, Degrees, Ends, Factors, Knots, Mapped, Mixing, Order, Spline, Univariate, Way, affine_coupling,
    autoregressive_inverse, join_channels, masked_perceptron, mixing, perceptron, spline, spline_coupling,
    split_channels,
};
pub use forward::{jvp, jvp_many};
pub use generator::Generator;
pub use instructions::{Instructions, has_bfloat16, use_instructions};
pub use layout::{as_convolved, batch_innermost, is_batch_innermost, prefers_batch_innermost};
pub use likelihood::discretised_logistic;
pub use norm::{Activation, Statistics, batch_norm, group_norm};
pub use optim::{AdamStep, adam_step, global_norm, lerp};
pub use switches::{
    MatmulPrecision, gradients_enabled, keep_freed_memory, set_flush_denormal, set_matmul_precision, without_numbers,
};
