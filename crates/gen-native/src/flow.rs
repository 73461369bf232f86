//! What normalizing flows do besides convolutions, in few passes over memory and few nodes of autograd's graph.
//!
//! On a processor, in single and in double precision, each of these is one operation, forward and backward; elsewhere
//! it is made of libtorch's. Gradients of any order are those of libtorch's operations. Feature maps may lie in any
//! way, and what is batch-innermost stays so ([`is_batch_innermost`](crate::is_batch_innermost)).
//!
//! Tensors have floating-point numbers and are on one device; those of different kinds are promoted where libtorch's
//! operations promote them. Undefined and sparse tensors are errors. Nothing is changed in place. Any thread may call
//! these functions, and several may go back through one graph that is kept.

use std::ptr;

use tch::{TchError, Tensor};

mod autoregressive;
mod spline;

pub use autoregressive::{Degrees, Univariate, autoregressive_inverse, masked_perceptron};
pub use spline::{Ends, Knots, Mapped, Spline, spline, spline_coupling};

use crate::ffi::{check, gn_affine_coupling, gn_join_channels, gn_mixing, gn_perceptron, gn_split_channels};

/// The first `at` channels of `x: [batch, channels, ...]`, and the others: views.
///
/// Who changes a view or `x` in place after this gets an error in the backward pass.
///
/// # Errors
/// When there are fewer channels.
pub fn split_channels(x: &Tensor, at: i64) -> Result<[Tensor; 2], TchError> {
    let (mut first, mut second) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the tensor is live; without an error both places hold new tensors, which are ours.
    unsafe {
        check(gn_split_channels(x.as_ptr(), at, &raw mut first, &raw mut second))?;
        Ok([Tensor::from_ptr(first), Tensor::from_ptr(second)])
    }
}

/// The channels of `a: [batch, channels, ...]` and those of `b`: what [`split_channels`] takes apart.
///
/// # Errors
/// When the other dimensions differ.
pub fn join_channels(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: the tensors are live; without an error `out` is a new tensor, which is ours.
    unsafe {
        check(gn_join_channels(a.as_ptr(), b.as_ptr(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// Which of two parts of a tensor comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The part that stays the same.
    SameFirst,
    /// The part that is moved.
    MovedFirst,
}

/// Which way an invertible map is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As it is written.
    Forward,
    /// Back.
    Inverse,
}

/// What a coupling gives.
#[derive(Debug)]
pub struct Coupled {
    /// Both parts together: `[batch, channels, ...]`.
    pub values: Tensor,
    /// The log-determinant of each row: `[batch]`.
    pub log_det: Tensor,
}

/// An affine coupling: `same: [batch, kept, ...]` stays, if there is any, and `rest: [batch, n, ...]` becomes `rest
/// exp(s) + t`, or the other way `(rest - t) exp(-s)`, with `parameters: [batch, 2 n, ...]` = (a, t) and s = a, or s
/// = c tanh a for a `bound` c of one number, of any shape. The log-determinant of a row is the sum of its s, or of
/// its -s.
///
/// # Errors
/// When the shapes do not fit.
pub fn affine_coupling(
    same: Option<&Tensor>,
    rest: &Tensor,
    parameters: &Tensor,
    bound: Option<&Tensor>,
    order: Order,
    way: Way,
) -> Result<Coupled, TchError> {
    let (mut values, mut log_det) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the tensors are live; without an error both places hold new tensors, which are ours.
    unsafe {
        check(gn_affine_coupling(
            same.map_or(ptr::null(), Tensor::as_ptr),
            rest.as_ptr(),
            parameters.as_ptr(),
            bound.map_or(ptr::null(), Tensor::as_ptr),
            order == Order::SameFirst,
            way == Way::Inverse,
            &raw mut values,
            &raw mut log_det,
        ))?;
        Ok(Coupled { values: Tensor::from_ptr(values), log_det: Tensor::from_ptr(log_det) })
    }
}

/// The factors of an affine map of channels, y = W (exp(scale) x + shift), W = P L (U + diag(σ exp s)).
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a> {
    /// `[channels]`.
    pub scale: &'a Tensor,
    /// `[channels]`.
    pub shift: &'a Tensor,
    /// L, `[channels, channels]`; what is below the diagonal counts, and the diagonal is 1.
    pub lower: &'a Tensor,
    /// U, `[channels, channels]`; what is above the diagonal counts.
    pub upper: &'a Tensor,
    /// s, `[channels]`.
    pub log_scale: &'a Tensor,
    /// P, `[channels, channels]`; it has no gradient.
    pub permutation: &'a Tensor,
    /// σ, `[channels]`; it has no gradient.
    pub sign: &'a Tensor,
}

/// An affine map of channels, x to `weight` x + `bias`.
#[derive(Debug)]
pub struct Mixing {
    /// `[channels, channels]`.
    pub weight: Tensor,
    /// `[channels]`.
    pub bias: Tensor,
    /// ln|det| of the weight, a scalar.
    pub log_det: Tensor,
}

/// What the `factors` stand for, or the map back.
///
/// # Errors
/// When the shapes do not fit.
pub fn mixing(factors: Factors<'_>, way: Way) -> Result<Mixing, TchError> {
    let Factors { scale, shift, lower, upper, log_scale, permutation, sign } = factors;
    let list = [scale, shift, lower, upper, log_scale, permutation, sign].map(Tensor::as_ptr);
    let mut results = [ptr::null_mut(); 3];
    // SAFETY: the list has seven pointers to live tensors; without an error the three places hold new tensors, which
    // are ours.
    unsafe {
        check(gn_mixing(list.as_ptr(), way == Way::Inverse, results.as_mut_ptr()))?;
        let [weight, bias, log_det] = results.map(|result| Tensor::from_ptr(result));
        Ok(Mixing { weight, bias, log_det })
    }
}

/// Linear layers with max(0, x) between them; `layers` has a weight `[outputs, inputs]` and a bias `[outputs]` for
/// each.
///
/// # Errors
/// When the shapes do not fit, or there is no layer.
pub fn perceptron(x: &Tensor, layers: &[&Tensor]) -> Result<Tensor, TchError> {
    let list: Vec<_> = layers.iter().map(|layer| layer.as_ptr()).collect();
    let mut out = ptr::null_mut();
    // SAFETY: the list has as many pointers to live tensors as it says; without an error `out` is a new tensor, which
    // is ours.
    unsafe {
        check(gn_perceptron(x.as_ptr(), list.as_ptr(), list.len(), &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}
