//! The operations.

mod flows;
mod many;
mod maps;
mod points;

use crate::case::Case;
use crate::draw::Draw;

/// An operation, and the random choice of a call.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) draw: fn(&mut Draw) -> Case,
}

const fn row(name: &'static str, draw: fn(&mut Draw) -> Case) -> Operation {
    Operation { name, draw }
}

/// One row for each entry point that takes tensors.
pub(crate) const OPERATIONS: [Operation; 24] = [
    row("conv2d", maps::conv2d_of),
    row("conv2d of rounded operands", maps::rounded_conv2d),
    row("conv_stack", maps::conv_stack_of),
    row("conv_stack of rounded operands", maps::rounded_conv_stack),
    row("batch_norm", maps::batch_norm_of),
    row("group_norm", maps::group_norm_of),
    row("batch_innermost", maps::batch_innermost_of),
    row("as_convolved", maps::as_convolved_of),
    row("affine_coupling", flows::affine_coupling_of),
    row("spline", flows::spline_of),
    row("spline_coupling", flows::spline_coupling_of),
    row("mixing", flows::mixing_of),
    row("split_channels", flows::split_channels_of),
    row("join_channels", flows::join_channels_of),
    row("perceptron", points::perceptron_of),
    row("masked_perceptron", points::masked_perceptron_of),
    row("autoregressive_inverse", points::autoregressive_inverse_of),
    row("discretised_logistic", many::discretised_logistic_of),
    row("adam_step", many::adam_step_of),
    row("global_norm", many::global_norm_of),
    row("lerp", many::lerp_of),
    row("with_gradient", many::with_gradient_of),
    row("Generator", many::generator_of),
    row("Generator::set_state", many::set_state_of),
];
