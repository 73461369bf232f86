//! Random tensors from a generator of the caller's own.

use std::ffi::c_int;
use std::ptr;

use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::{
    GeneratorPtr, check, gn_generator_clone, gn_generator_fill, gn_generator_free, gn_generator_new,
    gn_generator_set_state, gn_generator_state, tensor_of,
};
use crate::{as_convolved, is_batch_innermost};

/// A private source of random tensors.
///
/// `Tensor::randn` and its like draw from one generator that the whole process shares, so their numbers depend on every
/// earlier draw of any code. The numbers of a `Generator` depend only on its seed and on earlier draws from it. They
/// equal those of PyTorch after `torch.manual_seed(seed)`. Each device has a stream of its own.
///
/// The methods panic where those of [`Tensor`] do: for a negative shape, or a kind or device without such numbers. The
/// strides of a tensor that gives the shape do not change the numbers. A generator belongs to one thread at a time.
///
/// ```
/// use gen_native::Generator;
/// use tch::{Device, Kind, Tensor};
///
/// let options = (Kind::Float, Device::Cpu);
/// tch::manual_seed(7);
/// let shared = Tensor::randn([3], options);
/// let rng = Generator::seeded(7);
/// let _ = Tensor::rand([100], options); // does not change `rng`
/// assert_eq!(rng.randn([3], options), shared);
/// ```
#[derive(Debug)]
pub struct Generator {
    /// Null for the generator that the process shares.
    raw: *mut GeneratorPtr,
}

// SAFETY: the C++ object belongs to this handle alone and to no thread. (It is not `Sync`: drawing changes it.)
unsafe impl Send for Generator {}

/// A distribution, with the number that C++ has for it.
#[derive(Clone, Copy)]
enum Distribution {
    Normal = 0,
    Uniform = 1,
    Integers = 2,
    Bernoulli = 3,
    Permutation = 4,
}

impl Generator {
    /// A generator that starts from `seed`, as `torch.Generator().manual_seed(seed)` does.
    ///
    /// # Panics
    /// When memory runs out.
    pub fn seeded(seed: i64) -> Self {
        let mut raw = ptr::null_mut();
        // SAFETY: without an error, `raw` is a new object that we own. PyTorch reinterprets negative seeds too.
        let made = unsafe { check(gn_generator_new(seed.cast_unsigned(), &raw mut raw)) };
        made.expect("memory for a generator");
        Generator { raw }
    }

    /// A handle on the generator that the process shares, which `tch::manual_seed` seeds.
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

    /// Whole numbers in `low..high`; both ends are within ±2⁵³.
    pub fn randint(&self, low: i64, high: i64, shape: impl AsRef<[i64]>, options: (Kind, Device)) -> Tensor {
        self.filled(Tensor::empty(shape.as_ref(), options), Distribution::Integers, low as f64, high as f64)
    }

    /// Draws that are 1 with `probability` and otherwise 0, in the shape, the kind and on the device of `x`.
    pub fn bernoulli_like(&self, x: &Tensor, probability: f64) -> Tensor {
        self.filled(like(x), Distribution::Bernoulli, probability, 0.0)
    }

    /// A random order of `0..n`: `i64 [n]`, on the host.
    pub fn randperm(&self, n: i64) -> Tensor {
        self.filled(Tensor::empty([n], (Kind::Int64, Device::Cpu)), Distribution::Permutation, 0.0, 0.0)
    }

    /// `x` with each value set to 0 with `probability`, and all others divided by `1 - probability`.
    pub fn dropout(&self, x: &Tensor, probability: f64) -> Tensor {
        if probability >= 1.0 {
            return x * 0.0;
        }
        let kept = self.bernoulli_like(x, 1.0 - probability) / (1.0 - probability);
        x * if is_batch_innermost(x) { as_convolved(&kept) } else { kept }
    }

    /// The state of the host's stream: `u8 [5056]`, as from `torch.Generator.get_state`.
    ///
    /// # Errors
    /// For the [shared](Generator::shared) generator.
    pub fn state(&self) -> Result<Tensor, TchError> {
        self.require_own()?;
        // SAFETY: the object is live.
        unsafe { tensor_of(|state| gn_generator_state(self.raw, state)) }
    }

    /// Sets the host's stream to a state from [`Generator::state`], of any strides.
    ///
    /// # Errors
    /// For the [shared](Generator::shared) generator, and when `state` is not a state; the stream is then unchanged.
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
        // SAFETY: the tensor is live; the object is live, or null for the shared generator.
        let filled = unsafe { check(gn_generator_fill(self.raw, x.as_ptr(), distribution as c_int, a, b)) };
        match filled {
            Ok(()) => x,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A clone continues from the state of the original, independently. A clone of the shared generator is shared too.
impl Clone for Generator {
    fn clone(&self) -> Self {
        let mut raw = ptr::null_mut();
        if !self.raw.is_null() {
            // SAFETY: the object is live; without an error, `raw` is a new object that we own.
            let made = unsafe { check(gn_generator_clone(self.raw, &raw mut raw)) };
            made.expect("memory for a generator");
        }
        Generator { raw }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: we own the object, and this is its last use; deleting null does nothing.
        unsafe { gn_generator_free(self.raw) };
    }
}

/// An empty contiguous tensor of the shape of `x`: the numbers drawn must not depend on the strides of `x`.
fn like(x: &Tensor) -> Tensor {
    Tensor::empty(x.size(), (x.kind(), x.device()))
}
