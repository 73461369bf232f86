//! Checks for the tests of layers: recorded tensors of PyTorch, and derivatives against central differences.

use tch::{Device, Kind, Tensor};

use crate::params::{NamedTensors, Params};
use crate::testing::assert_close;

/// The tensors of one case of `tests/vectors/nn.safetensors`, which `nn.py` beside it writes.
pub(super) struct Golden {
    case: &'static str,
    tensors: Vec<(String, Tensor)>,
}

impl Golden {
    pub(super) fn of(case: &'static str) -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/nn.safetensors");
        let all = Tensor::read_safetensors(file).unwrap();
        let of_case = |(name, tensor): (String, Tensor)| {
            let name = name.strip_prefix(case)?.strip_prefix('/')?.to_owned();
            Some((name, tensor))
        };
        Golden { case, tensors: all.into_iter().filter_map(of_case).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Tensor {
        let found = self.tensors.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no `{name}` in `{}`", self.case), |(_, tensor)| tensor.shallow_clone())
    }

    /// Sets all parameters and buffers to the tensors under `state.`; the names must be the same.
    pub(super) fn load(&self, params: &Params) {
        let state = self.tensors.iter().filter_map(|(name, tensor)| {
            name.strip_prefix("state.").map(|name| (name.to_owned(), tensor.shallow_clone()))
        });
        params.all().assign(&state.collect::<NamedTensors>()).unwrap();
    }

    #[track_caller]
    pub(super) fn check(&self, name: &str, actual: &Tensor) {
        assert_close(actual, &self.get(name), 1e-6, 1e-9);
    }
}

/// A table for parameters in f64, the same at every call.
pub(super) fn doubles() -> Params {
    Params::drawn_from(crate::rng::Generator::seeded(1000), Kind::Double, Device::Cpu)
}

/// Numbers from N(0, 1) in f64 that require a gradient.
pub(super) fn leaf(seed: i64, shape: &[i64]) -> Tensor {
    crate::rng::Generator::seeded(seed).randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
}

/// `x` and the trainable parameters. The parameters get a random shift, since some start at 0.
pub(super) fn leaves(x: &Tensor, params: &Params) -> Vec<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let mut leaves = vec![x.shallow_clone()];
    for (seed, (_, parameter)) in (100..).zip(params.trainable()) {
        let shift = leaf(seed, &parameter.size()) * 0.3;
        leaves.push(parameter.shallow_clone().g_add_(&shift));
    }
    leaves
}

/// Compares the gradient of Σ sin f in each of `leaves` with central differences; `f` reads them.
#[track_caller]
pub(super) fn assert_first_derivatives(leaves: &[Tensor], f: impl Fn() -> Tensor) {
    assert_slopes(leaves, || f().sin().sum(Kind::Double), 1e-7);
}

/// [`assert_first_derivatives`], and the same for the squared norm of the gradient of Σ sin f in the first of `leaves`,
/// as in a gradient penalty.
#[track_caller]
pub(super) fn assert_derivatives(leaves: &[Tensor], f: impl Fn() -> Tensor) {
    assert_first_derivatives(leaves, &f);
    let penalty = || {
        let value = f().sin().sum(Kind::Double);
        Tensor::run_backward(&[value], &leaves[..1], true, true).remove(0).square().sum(Kind::Double)
    };
    assert_slopes(leaves, penalty, 1e-5);
}

#[track_caller]
fn assert_slopes(leaves: &[Tensor], value: impl Fn() -> Tensor, tolerance: f64) {
    const H: f64 = 1e-5;
    // Threads would wait for each other longer than these small tensors take.
    tch::set_num_threads(1);
    let analytic = Tensor::run_backward(&[value()], leaves, false, false);
    for (leaf, analytic) in leaves.iter().zip(&analytic) {
        let entries = leaf.detach().view([-1]);
        let shift = |i: i64, h: f64| tch::no_grad(|| entries.narrow(0, i, 1).g_add_scalar_(h));
        let slopes = (0..entries.numel() as i64).map(|i| {
            let _ = shift(i, H);
            let above = value().double_value(&[]);
            let _ = shift(i, -2.0 * H);
            let below = value().double_value(&[]);
            let _ = shift(i, H);
            (above - below) / (2.0 * H)
        });
        let numeric = Tensor::from_slice(&slopes.collect::<Vec<_>>()).view_as(leaf);
        assert_close(analytic, &numeric, tolerance, tolerance);
    }
}
