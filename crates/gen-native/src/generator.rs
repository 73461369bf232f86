//! Random tensors from a generator of one's own.

use std::ffi::c_int;
use std::ptr;

use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::{
    GeneratorPtr, check, gn_generator_clone, gn_generator_fill, gn_generator_free, gn_generator_new,
    gn_generator_set_state, gn_generator_state,
};
use crate::{as_convolved, is_batch_innermost};

/// A source of random tensors that nobody else draws from.
///
/// `Tensor::randn` and its like draw from one generator that the whole process shares, so that what comes depends on
/// everything that was drawn before, by whomever. What a `Generator` gives depends on its seed, and on what was drawn from
/// it. The numbers are those that PyTorch has after `torch.manual_seed(seed)`, on every device in a stream of its own.
///
/// Its methods panic where those of [`Tensor`] would: when a shape is negative, or a kind or a device has no such numbers.
/// What they draw does not depend on how a tensor lies that gives the shape. One generator belongs to one thread at a time.
///
/// ```
/// use gen_native::Generator;
/// use tch::{Device, Kind, Tensor};
///
/// let options = (Kind::Float, Device::Cpu);
/// tch::manual_seed(7);
/// let shared = Tensor::randn([3], options);
/// let rng = Generator::seeded(7);
/// let _ = Tensor::rand([100], options); // is nothing to `rng`
/// assert_eq!(rng.randn([3], options), shared);
/// ```
#[derive(Debug)]
pub struct Generator {
    /// Null for libtorch's own.
    raw: *mut GeneratorPtr,
}

// SAFETY: the C++ object belongs to this handle alone and to no thread. (It is not `Sync`: drawing changes it.)
unsafe impl Send for Generator {}

/// What a tensor is filled with, as C++ counts it.
#[derive(Clone, Copy)]
enum Distribution {
    Normal = 0,
    Uniform = 1,
    Integers = 2,
    Bernoulli = 3,
    Permutation = 4,
}

impl Generator {
    /// One that starts from `seed`, as `torch.Generator().manual_seed(seed)` does.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn seeded(seed: i64) -> Self {
        let mut raw = ptr::null_mut();
        // SAFETY: without an error `raw` is a new object, which is ours. PyTorch, too, takes negative seeds as they lie
        // in memory.
        let made = unsafe { check(gn_generator_new(seed.cast_unsigned(), &raw mut raw)) };
        made.expect("memory for a generator");
        Generator { raw }
    }

    /// A handle on the generator that the process shares, which `tch::manual_seed` starts anew.
    pub fn shared() -> Self {
        Generator { raw: ptr::null_mut() }
    }

    /// Numbers from N(0, 1).
    pub fn randn(&self, shape: impl AsRef<[i64]>, options: (Kind, Device)) -> Tensor {
        self.filled(Tensor::empty(shape.as_ref(), options), Distribution::Normal, 0.0, 1.0)
    }

    /// Numbers from N(0, 1) in the shape, the kind and on the device of `x`.
    pub fn randn_like(&self, x: &Tensor) -> Tensor {
        self.filled(like(x), Distribution::Normal, 0.0, 1.0)
    }

    /// Numbers from U(0, 1), 1 excluded.
    pub fn rand(&self, shape: impl AsRef<[i64]>, options: (Kind, Device)) -> Tensor {
        self.filled(Tensor::empty(shape.as_ref(), options), Distribution::Uniform, 0.0, 1.0)
    }

    /// Numbers from U(0, 1), 1 excluded, in the shape, the kind and on the device of `x`.
    pub fn rand_like(&self, x: &Tensor) -> Tensor {
        self.filled(like(x), Distribution::Uniform, 0.0, 1.0)
    }

    /// Whole numbers from `low` up to and without `high`, both within ±2⁵³.
    pub fn randint(&self, low: i64, high: i64, shape: impl AsRef<[i64]>, options: (Kind, Device)) -> Tensor {
        self.filled(Tensor::empty(shape.as_ref(), options), Distribution::Integers, low as f64, high as f64)
    }

    /// 1 with the `probability`, otherwise 0, in the shape, the kind and on the device of `x`.
    pub fn bernoulli_like(&self, x: &Tensor, probability: f64) -> Tensor {
        self.filled(like(x), Distribution::Bernoulli, probability, 0.0)
    }

    /// A random order of `0..n`: `i64 [n]`, on the host.
    pub fn randperm(&self, n: i64) -> Tensor {
        self.filled(Tensor::empty([n], (Kind::Int64, Device::Cpu)), Distribution::Permutation, 0.0, 0.0)
    }

    /// `x` with each value set to 0 with the `probability`, and the others divided by what is left of 1.
    pub fn dropout(&self, x: &Tensor, probability: f64) -> Tensor {
        if probability >= 1.0 {
            return x * 0.0;
        }
        let kept = self.bernoulli_like(x, 1.0 - probability) / (1.0 - probability);
        x * if is_batch_innermost(x) { as_convolved(&kept) } else { kept }
    }

    /// Where the stream of the host stands: `u8 [5056]`, as `torch.Generator.get_state` gives it.
    ///
    /// # Errors
    /// For the [shared](Generator::shared) generator, which is not ours to ask.
    pub fn state(&self) -> Result<Tensor, TchError> {
        self.require_own()?;
        let mut state = ptr::null_mut();
        // SAFETY: the object is live; without an error `state` is a new tensor, which is ours.
        unsafe {
            check(gn_generator_state(self.raw, &raw mut state))?;
            Ok(Tensor::from_ptr(state))
        }
    }

    /// Takes the stream of the host to where [`Generator::state`] was asked. The bytes may lie in any way.
    ///
    /// # Errors
    /// For the [shared](Generator::shared) generator, and when `state` is no such state; then the stream stays where it is.
    pub fn set_state(&self, state: &Tensor) -> Result<(), TchError> {
        self.require_own()?;
        // SAFETY: the object and the tensor are live.
        unsafe { check(gn_generator_set_state(self.raw, state.as_ptr())) }
    }

    fn require_own(&self) -> Result<(), TchError> {
        if self.raw.is_null() {
            return Err(TchError::Torch("the shared generator's state is not ours".to_owned()));
        }
        Ok(())
    }

    fn filled(&self, x: Tensor, distribution: Distribution, a: f64, b: f64) -> Tensor {
        // SAFETY: the tensor is live, and so is the object, or it is null, which stands for libtorch's own.
        let filled = unsafe { check(gn_generator_fill(self.raw, x.as_ptr(), distribution as c_int, a, b)) };
        match filled {
            Ok(()) => x,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A clone stands where the original does, and goes on by itself; that of the shared one is shared too.
impl Clone for Generator {
    fn clone(&self) -> Self {
        let mut raw = ptr::null_mut();
        if !self.raw.is_null() {
            // SAFETY: the object is live; without an error `raw` is a new object, which is ours.
            let made = unsafe { check(gn_generator_clone(self.raw, &raw mut raw)) };
            made.expect("memory for a generator");
        }
        Generator { raw }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and nobody uses it after this; deleting null does nothing.
        unsafe { gn_generator_free(self.raw) };
    }
}

/// Contiguous, however `x` lies: what is drawn must not depend on that.
fn like(x: &Tensor) -> Tensor {
    Tensor::empty(x.size(), (x.kind(), x.device()))
}
