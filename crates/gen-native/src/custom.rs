//! Operations whose gradient the caller computes.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::ffi::{check, gn_with_gradient, pointers};

/// The gradients of the inputs, from those of the results.
type Gradient = dyn Fn(&[Tensor]) -> Result<Vec<Option<Tensor>>, TchError> + Send;

/// `results` as those of one operation on `inputs`, whose gradient is `gradient`: a node of autograd's graph.
///
/// `gradient` is given the gradients of all results and returns one for each input, in their order, or `None` where an
/// input has none. It runs when the backward pass comes to it, once in each such pass, perhaps on another thread; passes
/// of several threads through a graph that is kept take their turns. What it needs it has to hold itself, as detached
/// tensors, never `results` as they are returned (the node would keep itself alive; a closure that asks for its own node's
/// gradient gets an error). It may run backward passes of its own.
///
/// The results come back as new tensors on the same memory, without the graphs that they may have had; without gradients
/// being kept, or if no input needs one, they come back as they are. Inputs and results have any shape, strides and
/// device, and floating-point or complex numbers; the gradient of an input has its shape.
///
/// It is a first derivative: a backward pass that is itself to be differentiated is refused.
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
/// When a tensor is undefined or sparse, a result has whole numbers, or libtorch fails. In a backward pass: when `gradient` fails or
/// panics, which the error repeats, or its list is not as long as `inputs`.
pub fn with_gradient(
    inputs: &[&Tensor],
    results: Vec<Tensor>,
    gradient: impl Fn(&[Tensor]) -> Result<Vec<Option<Tensor>>, TchError> + Send + 'static,
) -> Result<Vec<Tensor>, TchError> {
    let gradient: Box<Box<Gradient>> = Box::new(Box::new(gradient));
    let inputs: Vec<_> = inputs.iter().map(|input| input.as_ptr()).collect();
    let given = pointers(&results);
    let mut out = vec![ptr::null_mut(); results.len()];
    // SAFETY: the tensors are live and the places outlive the call. C++ owns the closure from here on and gives it back
    // to `drop` once. Without an error every place holds a new tensor, which is ours.
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
    // SAFETY: it is what `with_gradient` made, and nobody uses it afterwards.
    let gradient = unsafe { Box::from_raw(data.cast::<Box<Gradient>>()) };
    // No panic may cross into C++, and there is nobody to tell.
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
        // SAFETY: `data` is what `with_gradient` made, is not freed during the call, and no other thread has it
        // meanwhile; `gradients` has `m` live tensors, of which these are handles of our own.
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
    let found = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(said_by(panic)));
    let found = match found {
        Ok(found) => found,
        Err(reason) => {
            let length = reason.len().min(room);
            // SAFETY: there is room for so many bytes, and what follows them is zero.
            unsafe { ptr::copy_nonoverlapping(reason.as_ptr(), message.cast::<u8>(), length) };
            return false;
        }
    };
    for (i, gradient) in found.into_iter().enumerate() {
        let Some(mut gradient) = gradient else { continue };
        // SAFETY: `out` has `n` places; C++ owns what is put there. The handle that is left behind is forgotten, so that
        // the tensor has one owner.
        unsafe { *out.add(i) = gradient.as_mut_ptr() };
        std::mem::forget(gradient);
    }
    true
}

/// What a panic says.
fn said_by(panic: Box<dyn Any + Send>) -> String {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(other) => {
                // It may panic once more when it is dropped.
                std::mem::forget(other);
                "no message".to_owned()
            }
        },
    };
    format!("it panicked: {text}")
}
