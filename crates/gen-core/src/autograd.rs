//! Derivatives besides the gradient of a loss.

use tch::Tensor;

use crate::error::Result;

/// The value of `f` at `primals`, and its derivative there along `tangents`, in one pass forward (forward mode).
///
/// Each tangent has the shape, the kind and the device of its primal. An input that stays constant is captured by `f`.
/// What is detached inside `f` counts as a constant. The cost is that of about two calls of `f`; a gradient would cost
/// about three, and one for each entry of the result.
///
/// The value has its usual graph, so `f` needs no second call for the loss. A loss may also learn through the tangent.
/// libtorch does not support this everywhere: a backward pass through the tangent of a softmax, a layer normalisation
/// or a batch normalisation of libtorch is an error. (Those of [`native::batch_norm`](crate::native::batch_norm) and
/// [`native::group_norm`](crate::native::group_norm) work.)
///
/// # Errors
/// When lists differ in length, a tangent does not fit its primal, `f` fails, or an operation inside `f` has no
/// derivative in forward mode: libtorch's fused attention on a CPU, or an operation whose gradient the caller computes.
/// Attention as two products with a softmax between them has one. Calls inside `f` are refused.
///
/// # Panics
/// When `f` panics for another reason than a missing derivative.
///
/// # Threads
/// Calls of different threads take turns, so `f` must not wait for a thread that calls this function.
///
/// The target of a mean flow (Geng et al. 2025, equations 6 and 9): an average velocity u(z, r, t), and its derivative
/// along the path, du/dt = v ∂u/∂z + ∂u/∂t.
///
/// ```
/// use gen_core::autograd::jvp;
/// use gen_core::nn::Linear;
/// use gen_core::params::Params;
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Float, Device::Cpu);
/// let (hidden, out) = (Linear::new(params.root() / "hidden", 4, 32), Linear::new(params.root() / "out", 32, 2));
/// let u = |x: &[Tensor]| Ok(out.forward(&hidden.forward(&Tensor::cat(x, 1)).silu()));
///
/// let data = Tensor::randn([16, 2], (Kind::Float, Device::Cpu));
/// let noise = data.randn_like();
/// let t = Tensor::rand([16, 1], (Kind::Float, Device::Cpu));
/// let r = &t * 0.5;
/// let (z, v) = ((1.0 - &t) * &data + &t * &noise, noise - data);
///
/// let (average, rate) = jvp(u, &[&z, &r, &t], &[&v, &r.zeros_like(), &t.ones_like()])?;
/// let target = (v - (t - r) * rate).detach();
/// let loss = (average - target).square().mean(Kind::Float);
/// loss.backward();
/// # Ok::<(), gen_core::Error>(())
/// ```
pub fn jvp(
    f: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    primals: &[&Tensor],
    tangents: &[&Tensor],
) -> Result<(Tensor, Tensor)> {
    gen_native::jvp(f, primals, tangents)
}

/// [`jvp`] of a function with several results: their values, and their tangents in the same order.
///
/// # Errors
/// As [`jvp`].
///
/// # Panics
/// As [`jvp`].
pub fn jvp_many(
    f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    primals: &[&Tensor],
    tangents: &[&Tensor],
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    gen_native::jvp_many(f, primals, tangents)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::error::Error;
    use crate::nn::{Conv2d, ConvConfig, GroupNorm};
    use crate::params::Params;
    use crate::testing::assert_close;

    /// A network of maps, with its time as a plane of its own.
    fn network(params: &Params) -> impl Fn(&[Tensor]) -> Result<Tensor> {
        let root = params.root();
        let [first, second] = [("first", 4), ("second", 8)]
            .map(|(name, channels)| Conv2d::new(&root / name, channels, 8, ConvConfig::same(3)));
        let norm = GroupNorm::new(&root / "norm", 2, 8);
        move |x| {
            let time = x[1].expand([-1, 1, x[0].size()[2], x[0].size()[3]], false);
            let h = first.forward(&Tensor::cat(&[&x[0], &time], 1));
            Ok(second.forward(&norm.forward(&h, None).silu()))
        }
    }

    fn inputs(kind: Kind) -> [Tensor; 4] {
        tch::manual_seed(1);
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu)).to_kind(kind);
        [random(&[17, 3, 6, 5]), random(&[17, 1, 1, 1]), random(&[17, 3, 6, 5]), random(&[17, 1, 1, 1])]
    }

    #[test]
    fn networks_of_maps_have_a_derivative_along_a_direction() {
        const H: f64 = 1e-5;
        let params = Params::new(Kind::Double, Device::Cpu);
        let f = network(&params);
        let [x, t, v, w] = inputs(Kind::Double);
        let (value, tangent) = jvp(&f, &[&x, &t], &[&v, &w]).unwrap();
        assert_close(&value, &f(&[x.copy(), t.copy()]).unwrap(), 1e-12, 1e-12);
        let moved = |h: f64| f(&[&x + &v * h, &t + &w * h]).unwrap();
        assert_close(&tangent, &((moved(H) - moved(-H)) / (2.0 * H)), 1e-7, 1e-7);

        // In single precision, where loops take over.
        let singles = Params::new(Kind::Float, Device::Cpu);
        let f = network(&singles);
        tch::no_grad(|| {
            for ((_, mut to), (_, from)) in singles.trainable().into_iter().zip(params.trainable()) {
                to.copy_(&from);
            }
        });
        let [x, t, v, w] = inputs(Kind::Float);
        assert_close(&jvp(&f, &[&x, &t], &[&v, &w]).unwrap().1, &tangent, 1e-4, 1e-4);
    }

    #[test]
    fn errors_of_the_function_are_those_of_the_call() {
        let x = Tensor::from_slice(&[1.0]);
        let found = jvp(|_| Err(Error::invalid("mine")), &[&x], &[&x]);
        assert_eq!(found.unwrap_err().to_string(), "mine");
        let found = jvp_many(|x| Ok(vec![x[0].sin(), x[0].cos()]), &[&x], &[&x]).unwrap();
        assert_close(&found.1[1], &-x.sin(), 1e-12, 0.0);
    }
}
