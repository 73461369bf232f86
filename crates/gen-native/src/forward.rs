//! Derivatives along a direction, in forward mode.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{TchError, Tensor};

use crate::ffi::{check, gn_enter_level, gn_leave_level, gn_value_and_tangent, gn_with_tangent, tensor_of};

/// The value of `f` at `primals`, and its derivative there along `tangents`: the product of the Jacobian and a vector,
/// in one pass forward.
///
/// Each tangent has the shape, the kind and the device of its primal. An input that stays constant is captured by `f`.
/// Where the value does not depend on the primals, the tangent is 0. Cost and memory are about those of two calls of
/// `f`. The function runs once, in this thread.
///
/// [`Tensor::detach`] drops the tangent of a tensor, so what is detached inside `f` counts as a constant. The
/// operations of this crate carry tangents of all kinds and layouts; in place of a fused loop, most of them take
/// libtorch's operations.
///
/// Value and tangent are differentiable in reverse, so that a loss may contain a derivative. A backward pass through
/// the tangent of libtorch's softmax, layer or batch normalisation is an error: libtorch's gradient fails for the
/// first, and would be wrong for the others. The normalisations of this crate have the right one.
///
/// # Errors
/// When lists differ in length, a tangent does not fit its primal, `f` fails, or an operation inside `f` has no
/// derivative in forward mode, such as libtorch's fused attention on a CPU or
/// [`with_gradient`](crate::with_gradient). The latter is an error also where `f` panics with libtorch's message, as
/// `tch`'s operations do. Calls inside `f` are refused: libtorch has one level of forward mode.
///
/// # Panics
/// When `f` panics otherwise.
///
/// # Threads
/// libtorch's level belongs to the process, so calls of different threads take turns. `f` must not wait for a thread
/// that calls this function.
///
/// ```
/// use gen_native::jvp;
/// use tch::{Kind, TchError, Tensor};
///
/// // d/dt sin(x + t v) = v cos x.
/// let (x, v) = (Tensor::from_slice(&[0.0, 1.0]), Tensor::from_slice(&[1.0, 2.0]));
/// let (value, tangent) = jvp(|x| x[0].f_sin(), &[&x], &[&v])?;
/// assert!(value.allclose(&x.sin(), 1e-12, 0.0, false));
/// assert!(tangent.allclose(&(v * x.cos()), 1e-12, 0.0, false));
/// # Ok::<(), TchError>(())
/// ```
pub fn jvp<E: From<TchError>>(
    f: impl FnOnce(&[Tensor]) -> Result<Tensor, E>,
    primals: &[&Tensor],
    tangents: &[&Tensor],
) -> Result<(Tensor, Tensor), E> {
    let (mut values, mut tangents) = jvp_many(|x| f(x).map(|y| vec![y]), primals, tangents)?;
    match (values.pop(), tangents.pop()) {
        (Some(value), Some(tangent)) => Ok((value, tangent)),
        _ => Err(error("no value was returned").into()),
    }
}

/// [`jvp`] of a function with several results: their values, and their tangents in the same order.
///
/// # Errors
/// As [`jvp`].
///
/// # Panics
/// As [`jvp`].
pub fn jvp_many<E: From<TchError>>(
    f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, E>,
    primals: &[&Tensor],
    tangents: &[&Tensor],
) -> Result<(Vec<Tensor>, Vec<Tensor>), E> {
    if primals.len() != tangents.len() {
        return Err(error(&format!("{} tangents for {} primals", tangents.len(), primals.len())).into());
    }
    let level = Level::enter()?;
    let inputs: Vec<Tensor> = primals
        .iter()
        .zip(tangents)
        .map(|(primal, tangent)| level.with_tangent(primal, tangent))
        .collect::<Result<_, TchError>>()?;
    let results = match catch_unwind(AssertUnwindSafe(|| f(&inputs))) {
        Ok(results) => results?,
        Err(panic) => match missing_derivative(panic.as_ref()) {
            Some(message) => return Err(error(&message).into()),
            None => {
                drop(level);
                resume_unwind(panic)
            }
        },
    };
    let apart = results.iter().map(|result| level.value_and_tangent(result));
    Ok(apart.collect::<Result<Vec<_>, TchError>>()?.into_iter().unzip())
}

fn error(message: &str) -> TchError {
    TchError::Torch(message.to_owned())
}

/// Parts of the messages of libtorch and of this crate for an operation without a derivative in forward mode.
const MISSING: [&str; 4] =
    ["Trying to use forward AD with ", "has no forward-mode derivative", "jvp is not implemented", NESTED];
const NESTED: &str = "derivatives in forward mode cannot contain each other";

/// The message of a panic that a missing derivative caused: `tch`'s operations panic with libtorch's errors.
fn missing_derivative(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied())?;
    if !MISSING.iter().any(|part| text.contains(part)) {
        return None;
    }
    // `unwrap` writes `Torch("message\nC++ stack")`.
    let message = text.split_once("Torch(\"").map_or(text, |(_, message)| message.trim_end_matches("\")"));
    Some(message.split("\\n").next().unwrap_or(message).to_owned())
}

/// One thread at a time uses the level of the process.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this thread has a level, so that a nested call fails where it would wait for itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A guard: while it lives, tensors of the process have tangents.
struct Level {
    index: u64,
    /// Released after the level.
    _turn: MutexGuard<'static, ()>,
}

impl Level {
    fn enter() -> Result<Self, TchError> {
        if INSIDE.get() {
            return Err(error(NESTED));
        }
        // The lock has no data that a panic could leave half changed.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = 0;
        // SAFETY: the place outlives the call.
        unsafe { check(gn_enter_level(&raw mut index))? };
        INSIDE.set(true);
        Ok(Level { index, _turn: turn })
    }

    fn with_tangent(&self, primal: &Tensor, tangent: &Tensor) -> Result<Tensor, TchError> {
        // SAFETY: the tensors are live.
        unsafe { tensor_of(|out| gn_with_tangent(primal.as_ptr(), tangent.as_ptr(), self.index, out)) }
    }

    fn value_and_tangent(&self, x: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let (mut value, mut tangent) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the tensor is live; without an error both places hold new tensors that we own.
        unsafe {
            check(gn_value_and_tangent(x.as_ptr(), self.index, &raw mut value, &raw mut tangent))?;
            Ok((Tensor::from_ptr(value), Tensor::from_ptr(tangent)))
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        INSIDE.set(false);
        // SAFETY: the argument is a plain number that `gn_enter_level` gave. A destructor cannot return an error, and
        // there is none for the level that was opened last.
        let _ = unsafe { check(gn_leave_level(self.index)) };
    }
}
