//! Operations whose gradient the caller computes.

use std::ffi::c_void;
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
/// input has none. It runs when the backward pass comes to it, perhaps on another thread, once in each such pass; what
/// it needs it has to hold itself, as detached tensors, never `results` as they are returned (the node would keep
/// itself alive). It may run backward passes of its own. Without gradients being kept, or if no input needs one, the
/// results come back as they are.
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
/// When libtorch fails. In a backward pass: when `gradient` fails or panics, or its list is not as long as `inputs`.
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
    std::mem::drop(unsafe { Box::from_raw(data.cast::<Box<Gradient>>()) });
}

extern "C" fn backward(
    data: *mut c_void,
    gradients: *const *mut C_tensor,
    m: usize,
    out: *mut *mut C_tensor,
    n: usize,
) -> bool {
    let run = || {
        // SAFETY: `data` is what `with_gradient` made and is not freed during the call; `gradients` has `m` live
        // tensors, of which these are handles of our own.
        let (gradient, gradients) = unsafe {
            let gradient = &*data.cast::<Box<Gradient>>();
            let list = slice::from_raw_parts(gradients, m);
            (gradient, list.iter().map(|&tensor| Tensor::clone_from_ptr(tensor)).collect::<Vec<_>>())
        };
        gradient(&gradients)
    };
    // No panic may cross into C++.
    let Ok(Ok(found)) = catch_unwind(AssertUnwindSafe(run)) else { return false };
    if found.len() != n {
        return false;
    }
    for (i, gradient) in found.into_iter().enumerate() {
        let Some(mut gradient) = gradient else { continue };
        // SAFETY: `out` has `n` places; C++ owns what is put there. The handle that is left behind is forgotten, so that
        // the tensor has one owner.
        unsafe { *out.add(i) = gradient.as_mut_ptr() };
        std::mem::forget(gradient);
    }
    true
}
