//! Networks whose outputs depend on some inputs each, and the inverse of the maps that they describe.

use std::ptr;

use tch::{TchError, Tensor};

use super::{Coupled, Spline};
use crate::ffi::{check, gn_autoregressive_inverse, gn_masked_perceptron};

/// A [`perceptron`](crate::perceptron) each of whose weights is multiplied by a mask of its shape. Masks have no
/// gradient.
///
/// Germain et al. 2015, section 4.
///
/// # Errors
/// When the shapes do not fit, or there is no layer.
pub fn masked_perceptron(x: &Tensor, layers: &[&Tensor], masks: &[&Tensor]) -> Result<Tensor, TchError> {
    let list: Vec<_> = layers.iter().map(|layer| layer.as_ptr()).collect();
    let masks: Vec<_> = masks.iter().map(|mask| mask.as_ptr()).collect();
    let mut out = ptr::null_mut();
    // SAFETY: both lists have as many pointers to live tensors as they say; without an error `out` is a new tensor,
    // which is ours.
    unsafe {
        check(gn_masked_perceptron(x.as_ptr(), list.as_ptr(), list.len(), masks.as_ptr(), masks.len(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// The map of one value, τ.
#[derive(Debug, Clone, Copy)]
pub enum Univariate<'a> {
    /// y = x exp(s) + t with two parameters (a, t), as in [`affine_coupling`](crate::affine_coupling).
    Affine {
        /// c of s = c tanh a; s = a without.
        bound: Option<&'a Tensor>,
    },
    /// A spline.
    Spline(&'a Spline),
}

/// The degrees of an autoregressive network, which say who sees whom.
///
/// A hidden unit of degree d sees inputs and hidden units of degrees up to d; the parameters of a value of degree d
/// depend on hidden units of degrees below d. Context has degree 0.
///
/// Germain et al. 2015, section 4.
#[derive(Debug, Clone, Copy)]
pub struct Degrees<'a> {
    /// Of each of D values: 1, ..., D in some order.
    pub inputs: &'a [i64],
    /// Of each unit of each hidden layer, from 0 to D - 1.
    pub hidden: &'a [Vec<i64>],
}

/// x with y = τ(x; network(x)) for `y: [batch, D]`, and the log-determinant of this map from y to x, without gradients.
///
/// The network is a [`masked_perceptron`] of `[context, x]`, whose masks follow from the `degrees`; `layers` are its
/// weights and biases, without masks. It gives `[batch, P D]`: for each of P parameters a block of D. Values are
/// found in the order of their degrees, and each hidden unit is computed once, as soon as what it sees is known: all
/// of it costs about one pass of the network (Papamakarios et al. 2017, section 3.1, take one for each value).
///
/// `None` unless all tensors are on a processor, of one kind, `f32` or `f64`, and without tangents of
/// [`jvp`](crate::jvp): then the caller takes a pass for each value.
///
/// # Errors
/// When shapes or degrees do not fit.
pub fn autoregressive_inverse(
    y: &Tensor,
    context: Option<&Tensor>,
    layers: &[&Tensor],
    degrees: Degrees<'_>,
    univariate: Univariate<'_>,
) -> Result<Option<Coupled>, TchError> {
    let (bound, shape) = match univariate {
        Univariate::Affine { bound } => (bound, None),
        Univariate::Spline(spline) => (None, Some(spline.shape())),
    };
    let list: Vec<_> = layers.iter().map(|layer| layer.as_ptr()).collect();
    let all = || std::iter::once(degrees.inputs).chain(degrees.hidden.iter().map(Vec::as_slice));
    let (lists, widths): (Vec<_>, Vec<_>) = all().map(|list| (list.as_ptr(), list.len())).unzip();
    let (mut values, mut log_det) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: tensors, lists and shape are live and have as many entries as they say; without an error both places hold
    // new tensors, which are ours, or both are null.
    unsafe {
        check(gn_autoregressive_inverse(
            y.as_ptr(),
            context.map_or(ptr::null(), Tensor::as_ptr),
            list.as_ptr(),
            list.len(),
            lists.as_ptr(),
            widths.as_ptr(),
            degrees.hidden.len(),
            bound.map_or(ptr::null(), Tensor::as_ptr),
            shape.as_ref().map_or(ptr::null(), ptr::from_ref),
            &raw mut values,
            &raw mut log_det,
        ))?;
        Ok((!values.is_null())
            .then(|| Coupled { values: Tensor::from_ptr(values), log_det: Tensor::from_ptr(log_det) }))
    }
}
