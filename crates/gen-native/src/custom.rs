//! Operations whose gradient the caller computes.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::ffi::{check, gn_with_gradient, pointers};

/// Computes the gradients of the inputs from those of the results.
type Gradient = dyn Fn(&[Tensor]) -> Result<Vec<Option<Tensor>>, TchError> + Send;

/// Makes `results` the outputs of one node of autograd's graph with the inputs `inputs` and the derivative `gradient`.
///
/// `gradient` takes the gradients of all results and returns one gradient for each input in order, or `None` for an
/// input without one. It runs once in each backward pass that reaches the node, perhaps on another thread. If several
/// threads run backward passes through one retained graph, its calls take turns. The closure must hold the tensors that
/// it needs, detached. It must not hold the returned results: the node would keep itself alive, and a closure that asks
/// for the gradient of its own node gets an error. The closure may run backward passes of its own.
///
/// The results are returned as new tensors on the same memory, without any previous graph. If gradients are disabled,
/// or no input needs one, the results are returned unchanged. Inputs and results have any shape, strides and device,
/// and floating-point or complex numbers; the gradient of an input has the shape of the input.
///
/// Only first derivatives in reverse exist: a backward pass that is itself differentiated is refused, and so are
/// tangents of [`jvp`](crate::jvp).
///
/// ```
/// use gen_native::with_gradient;
/// use tch::{Kind, Tensor};
///
/// let x = Tensor::from_slice(&[1.0, 2.0]).set_requires_grad(true);
/// let value = x.detach();
/// let cube = value.pow_tensor_scalar(3);
/// let gradient = move |of_cube: &[Tensor]| Ok(vec![Some(&of_cube[0] * value.square() * 3.0)]);
/// let y = with_gradient(&[&x], vec![cube], gradient)?.remove(0);
/// y.sum(Kind::Double).backward();
/// assert_eq!(x.grad(), Tensor::from_slice(&[3.0, 12.0]));
/// # Ok::<(), tch::TchError>(())
/// ```
///
/// # Errors
/// When a tensor is undefined or sparse, a result has whole numbers, or libtorch fails. A backward pass fails when
/// `gradient` fails or panics (the error has its message), or returns a list of another length than `inputs`.
pub fn with_gradient(
    inputs: &[&Tensor],
    results: Vec<Tensor>,
    gradient: impl Fn(&[Tensor]) -> Result<Vec<Option<Tensor>>, TchError> + Send + 'static,
) -> Result<Vec<Tensor>, TchError> {
    let gradient: Box<Box<Gradient>> = Box::new(Box::new(gradient));
    let inputs: Vec<_> = inputs.iter().map(|input| input.as_ptr()).collect();
    let given = pointers(&results);
    let mut out = vec![ptr::null_mut(); results.len()];
    // SAFETY: the tensors are live and the pointers outlive the call. C++ owns the closure from here on and passes it
    // to `drop` once. Without an error, every place of `out` holds a new tensor that we own.
    unsafe {
        check(gn_with_gradient(
            inputs.as_ptr().cast(),
            inputs.len(),
            given.as_ptr(),
            given.len(),
            backward,
            drop,
            Box::into_raw(gradient).cast(),
            out.as_mut_ptr(),
        ))?;
        Ok(out.into_iter().map(|tensor| Tensor::from_ptr(tensor)).collect())
    }
}

extern "C" fn drop(data: *mut c_void) {
    // SAFETY: `with_gradient` made the pointer, and C++ does not use it after this call.
    let gradient = unsafe { Box::from_raw(data.cast::<Box<Gradient>>()) };
    // No panic may cross into C++, and a destructor cannot return an error.
    let _ = catch_unwind(AssertUnwindSafe(|| std::mem::drop(gradient)));
}

extern "C" fn backward(
    data: *mut c_void,
    gradients: *const *mut C_tensor,
    m: usize,
    out: *mut *mut C_tensor,
    n: usize,
    message: *mut c_char,
    room: usize,
) -> bool {
    let run = || {
        // SAFETY: `with_gradient` made `data`. It is not freed during the call, and no other thread uses it meanwhile.
        // `gradients` has `m` live tensors, and we make handles of our own.
        let (gradient, gradients) = unsafe {
            let gradient = &*data.cast::<Box<Gradient>>();
            let list = if m == 0 { &[] } else { slice::from_raw_parts(gradients, m) };
            (gradient, list.iter().map(|&tensor| Tensor::clone_from_ptr(tensor)).collect::<Vec<_>>())
        };
        let found = gradient(&gradients).map_err(|error| error.to_string())?;
        if found.len() != n {
            return Err(format!("{} gradients for {n} input{}", found.len(), if n == 1 { "" } else { "s" }));
        }
        Ok(found)
    };
    // No panic may cross into C++.
    let found = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(message_of(panic)));
    let found = match found {
        Ok(found) => found,
        Err(reason) => {
            let length = reason.len().min(room);
            // SAFETY: `message` has `room` bytes, and C++ has set it and the byte behind it to zero.
            unsafe { ptr::copy_nonoverlapping(reason.as_ptr(), message.cast::<u8>(), length) };
            return false;
        }
    };
    for (i, gradient) in found.into_iter().enumerate() {
        let Some(mut gradient) = gradient else { continue };
        // SAFETY: `out` has `n` places, and C++ owns the tensors that are put there. Our handle is forgotten, so that
        // the tensor has one owner.
        unsafe { *out.add(i) = gradient.as_mut_ptr() };
        std::mem::forget(gradient);
    }
    true
}

/// The message of a panic.
fn message_of(panic: Box<dyn Any + Send>) -> String {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(other) => {
                // Dropping the payload could panic again.
                std::mem::forget(other);
                "no message".to_owned()
            }
        },
    };
    format!("it panicked: {text}")
}
