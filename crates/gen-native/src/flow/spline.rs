//! Splines: increasing maps of single numbers.

use std::ptr;

use tch::{TchError, Tensor};

use super::{Coupled, Order, Way};
use crate::ffi::{SplineShape, check, gn_spline};

/// How numbers from a network become bins and slopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Knots {
    /// The softmax of r / (1 + |2 r / ln ε|) for widths and heights, the exponential of r / (1 + |r / ln ε|) for
    /// slopes: slopes, and ratios of sizes, are between ε and 1 / ε.
    ///
    /// As in the library zuko.
    SoftClip {
        /// ε, from 1e-5 to below 1.
        slope: f64,
    },
    /// A least size m of K bins, as parts of the interval: m + (1 - m K) softmax r; and a least slope: m + softplus r.
    ///
    /// As in the code of Durkan et al. 2019, the library nflows.
    Floor {
        /// The least width, from 1e-5 to below 1 / K.
        width: f64,
        /// The least height, likewise.
        height: f64,
        /// The least slope, from 1e-5 to below 1.
        slope: f64,
    },
}

/// What a spline does at the ends of its interval and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// The slope is 1 at both ends, and outside it is the identity: K - 1 raw slopes.
    Unit,
    /// The slopes at the ends are parameters too, and the map goes on straight: K + 1 raw slopes.
    Free,
}

/// A monotone rational-quadratic spline of [low, high] onto itself.
///
/// Durkan et al. 2019, section 3.1. On the CPU values and logs of slopes are found in double also for tensors of
/// floats, and then rounded: in a narrow bin single precision leaves the slope no more than four digits. With a
/// tensor in half precision, all is computed in single precision and the results are rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spline {
    /// K, from 1 to [`Spline::MOST_BINS`].
    pub bins: i64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// How raw numbers become bins and slopes.
    pub knots: Knots,
    /// What happens at the ends.
    pub ends: Ends,
}

impl Spline {
    /// The most bins that a spline may have.
    pub const MOST_BINS: i64 = 64;

    /// How many numbers describe the map of one value: K widths, K heights, and the slopes, in this order.
    ///
    /// ```
    /// use gen_native::{Ends, Knots, Spline};
    ///
    /// let knots = Knots::SoftClip { slope: 1e-3 };
    /// let spline = Spline { bins: 8, low: -5.0, high: 5.0, knots, ends: Ends::Unit };
    /// assert_eq!(spline.parameters(), 23);
    /// ```
    pub fn parameters(&self) -> i64 {
        match self.ends {
            Ends::Unit => 3 * self.bins - 1,
            Ends::Free => 3 * self.bins + 1,
        }
    }

    /// What C++ takes.
    pub(super) fn shape(&self) -> SplineShape {
        let Spline { bins, low, high, knots, ends } = *self;
        let (soft, width, height, slope) = match knots {
            Knots::SoftClip { slope } => (true, 0.0, 0.0, slope),
            Knots::Floor { width, height, slope } => (false, width, height, slope),
        };
        SplineShape { bins, low, high, soft, width, height, slope, free: ends == Ends::Free }
    }
}

/// Values that a map of single numbers gave.
#[derive(Debug)]
pub struct Mapped {
    /// The images, in the shape of the input.
    pub values: Tensor,
    /// The logs of the slopes there, likewise.
    pub log_slope: Tensor,
}

/// Each value of `x: [batch, n, ...]` by a spline of its own, and the log of the slope of the way that is gone.
///
/// `parameters: [batch, P n, ...]` has P = [`Spline::parameters`] blocks of n: the first width of every value, and so
/// on. Inputs and parameters may be large: nothing overflows for inputs up to 1e20 and raw numbers up to 1e4, nor do
/// the gradients.
///
/// # Errors
/// When the shapes do not fit, or numbers of `spline` are out of range.
pub fn spline(x: &Tensor, parameters: &Tensor, spline: &Spline, way: Way) -> Result<Mapped, TchError> {
    let (values, log_slope) = call(None, x, parameters, spline, Order::SameFirst, way, false)?;
    Ok(Mapped { values, log_slope })
}

/// A coupling by splines: `same: [batch, kept, ...]` stays, if there is any, and the values of `rest: [batch, n,
/// ...]` are moved as [`spline()`] moves them. The log-determinant of a row is the sum of its logs of slopes.
///
/// # Errors
/// When the shapes do not fit, or numbers of `spline` are out of range.
pub fn spline_coupling(
    same: Option<&Tensor>,
    rest: &Tensor,
    parameters: &Tensor,
    spline: &Spline,
    order: Order,
    way: Way,
) -> Result<Coupled, TchError> {
    let (values, log_det) = call(same, rest, parameters, spline, order, way, true)?;
    Ok(Coupled { values, log_det })
}

fn call(
    same: Option<&Tensor>,
    rest: &Tensor,
    parameters: &Tensor,
    spline: &Spline,
    order: Order,
    way: Way,
    summed: bool,
) -> Result<(Tensor, Tensor), TchError> {
    let shape = spline.shape();
    let (mut values, mut logs) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the tensors and the shape are live; without an error both places hold new tensors, which are ours.
    unsafe {
        check(gn_spline(
            same.map_or(ptr::null(), Tensor::as_ptr),
            rest.as_ptr(),
            parameters.as_ptr(),
            &raw const shape,
            order == Order::SameFirst,
            way == Way::Inverse,
            summed,
            &raw mut values,
            &raw mut logs,
        ))?;
        Ok((Tensor::from_ptr(values), Tensor::from_ptr(logs)))
    }
}
