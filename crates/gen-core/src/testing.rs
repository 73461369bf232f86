//! Assertions for numeric tests of this crate and of those that depend on it.

use std::path::Path;

use gen_native::{has_bfloat16, use_instructions};
use tch::{Kind, Tensor};

use crate::data::Batch;
use crate::model::{GenerativeModel, SampleRequest, Step};
use crate::params::NamedTensors;
use crate::precision::Precision;
use crate::rng::Generator;

/// Asserts that `|actual - expected| <= absolute + relative * |expected|` in every entry.
///
/// # Panics
/// When the shapes or an entry differ; the message has the index of the worst entry, both values and their difference.
#[track_caller]
pub fn assert_close(actual: &Tensor, expected: &Tensor, relative: f64, absolute: f64) {
    assert_eq!(actual.size(), expected.size(), "shapes differ");
    let actual = actual.detach().to_kind(Kind::Double).to_device(tch::Device::Cpu).contiguous();
    let expected = expected.detach().to_kind(Kind::Double).to_device(tch::Device::Cpu).contiguous();
    let shape = actual.size();
    let a = Vec::<f64>::try_from(actual.reshape([-1])).expect("a flat tensor of doubles");
    let e = Vec::<f64>::try_from(expected.reshape([-1])).expect("a flat tensor of doubles");
    assert_close_slices(&a, &e, relative, absolute, |flat| format!("{:?}", unravel(flat, &shape)));
}

/// [`assert_close`] for one number.
#[track_caller]
pub fn assert_close_f64(actual: f64, expected: f64, relative: f64, absolute: f64) {
    assert_close_slices(&[actual], &[expected], relative, absolute, |_| "the value".to_owned());
}

#[track_caller]
fn assert_close_slices(
    actual: &[f64],
    expected: &[f64],
    relative: f64,
    absolute: f64,
    place: impl Fn(usize) -> String,
) {
    let excess = |i: usize| {
        let (a, e) = (actual[i], expected[i]);
        if a == e { 0.0 } else { (a - e).abs() / (absolute + relative * e.abs()) }
    };
    let within = |i: &usize| excess(*i) <= 1.0;
    let wrong = (0..actual.len()).filter(|i| !within(i)).count();
    if wrong == 0 {
        return;
    }
    let worst = (0..actual.len())
        .max_by(|&i, &j| {
            let rank = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
            rank(excess(i)).total_cmp(&rank(excess(j)))
        })
        .unwrap_or(0);
    let (a, e) = (actual[worst], expected[worst]);
    panic!(
        "{wrong} of {} entries differ; worst at {}: actual {a:e}, expected {e:e}, difference {:e} (allowed {:e})",
        actual.len(),
        place(worst),
        (a - e).abs(),
        absolute + relative * e.abs()
    );
}

fn unravel(mut flat: usize, shape: &[i64]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (place, &size) in index.iter_mut().zip(shape).rev() {
        *place = flat % size as usize;
        flat /= size as usize;
    }
    index
}

/// Compares the gradient of the scalar function `f` at `x` with central differences, in f64.
///
/// # Panics
/// When an entry differs by more than `tolerance`, relative to the larger of 1 and its size.
#[track_caller]
pub fn assert_gradient(f: impl Fn(&Tensor) -> Tensor, x: &Tensor, tolerance: f64) {
    const H: f64 = 1e-5;
    let x = x.detach().to_kind(Kind::Double).copy().set_requires_grad(true);
    let analytic = Tensor::run_backward(&[f(&x)], &[&x], false, false).remove(0);
    let x = x.detach();
    let numeric = x.zeros_like();
    for i in 0..x.numel() as i64 {
        let shifted = |h: f64| {
            let moved = x.copy();
            let _ = moved.view([-1]).narrow(0, i, 1).g_add_scalar_(h);
            f(&moved).double_value(&[])
        };
        let slope = (shifted(H) - shifted(-H)) / (2.0 * H);
        let _ = numeric.view([-1]).narrow(0, i, 1).fill_(slope);
    }
    assert_close(&analytic, &numeric, tolerance, tolerance);
}

/// The relative tolerance of a step in bfloat16. Where two sums differ in their last digit, a value may round to either
/// of two neighbours, which differ by 2⁻⁸.
const ROUNDED_TOLERANCE: f64 = 1e-2;

/// [`assert_recorded_step`] of a fresh model with each instruction set of the processor, and with libtorch's own
/// operations; also in bfloat16, where the file has such a step and the processor has the instructions.
///
/// It sets the instruction set of the whole process: no other test may run at the same time.
///
/// # Panics
/// As [`assert_recorded_step`], after naming the instruction set.
#[track_caller]
pub fn assert_recorded_steps<M: GenerativeModel>(build: impl Fn() -> M, file: &Path, tolerance: f64) {
    use gen_native::Instructions::{Avx2, Avx512, Best, Libtorch, Portable};
    for which in [Avx512, Avx2, Portable, Libtorch, Best] {
        if !use_instructions(which).expect("a choice of instructions") {
            continue;
        }
        let check = |precision: Precision, tolerance: f64| {
            let step = std::panic::AssertUnwindSafe(|| {
                let recorded = Recorded::read(file);
                if precision == Precision::F32 || recorded.is_rounded_too() {
                    recorded.check(&mut build(), precision, tolerance);
                }
            });
            let outcome = std::panic::catch_unwind(step);
            assert!(outcome.is_ok(), "{} with {which:?} in {precision}", file.display());
        };
        check(Precision::F32, tolerance);
        if has_bfloat16() {
            check(Precision::Bf16, ROUNDED_TOLERANCE);
        }
    }
}

/// Takes the training step that `xtask/peers/record.py` recorded of the same model in PyTorch, and compares the samples
/// before it, the losses and the gradients.
///
/// `file` holds the state before the step under `before.`, its `samples`, the `batch` (images as bytes) and the `seed`
/// of the step's generator; then the results: `loss.` by name, and under `moment.` the first moments of a fresh
/// optimizer, which are the gradients after clipping times 1 - β₁. `tolerance` is relative, for gradients to the
/// largest entry of the tensor.
///
/// # Panics
/// When a number differs, or the file belongs to another model.
#[track_caller]
pub fn assert_recorded_step(model: &mut dyn GenerativeModel, file: &Path, tolerance: f64) {
    Recorded::read(file).check(model, Precision::F32, tolerance);
}

/// The tensors of a recorded step.
struct Recorded(Vec<(String, Tensor)>);

impl Recorded {
    fn read(file: &Path) -> Self {
        Recorded(Tensor::read_safetensors(file).expect("a file that record.py wrote"))
    }

    /// Whether the step was also recorded in bfloat16.
    fn is_rounded_too(&self) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with("bf16."))
    }

    fn given(&self, name: &str) -> Tensor {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor.shallow_clone()).unwrap_or_else(|| panic!("no `{name}` in the file"))
    }

    fn part(&self, prefix: &str) -> NamedTensors {
        let named = self.0.iter().filter_map(|(name, tensor)| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.shallow_clone()))
        });
        named.collect()
    }

    /// Sets the weights and the training state to those before the step.
    fn restore(&self, model: &dyn GenerativeModel) {
        let weights = model.weights();
        let recorded = self.part("before.weights.");
        let in_kind_of_ours = recorded.iter().map(|(name, tensor)| {
            let kind = weights.get(name).map_or(tensor.kind(), Tensor::kind);
            (name.to_owned(), tensor.to_kind(kind))
        });
        weights.assign(&in_kind_of_ours.collect()).expect("weights of this model");
        let state = model.training_state();
        for (name, value) in self.part("before.training.").iter() {
            let ours = state.get(name).unwrap_or_else(|| panic!("the model has no `{name}`"));
            ours.shallow_clone().detach().copy_(value);
        }
    }

    #[track_caller]
    fn check(&self, model: &mut dyn GenerativeModel, precision: Precision, tolerance: f64) {
        self.restore(model);
        let _region = precision.region();
        let prefix = match precision {
            Precision::F32 => {
                self.check_samples(model, tolerance);
                ""
            }
            Precision::Bf16 => "bf16.",
        };
        let batch = self.given("batch");
        let batch = if batch.kind() == Kind::Uint8 { batch / 127.5 - 1.0 } else { batch };
        let step = Step { rng: Generator::seeded(self.given("seed").int64_value(&[])), ..Step::new(0) };
        let losses = model.train_step(&Batch::of(&batch), &step).expect("a training step").values();
        let recorded = self.part(&format!("{prefix}loss."));
        assert!(!recorded.is_empty(), "the file holds no losses");
        for (name, value) in recorded.iter() {
            let loss = losses.iter().find(|(known, _)| *known == name);
            let (_, loss) = loss.unwrap_or_else(|| panic!("the model reports no loss `{name}`"));
            assert_close_f64(*loss, value.double_value(&[]), tolerance, 0.0);
        }
        let moments = self.part(&format!("{prefix}moment.training."));
        assert!(!moments.is_empty(), "the file holds no gradients");
        let state = model.training_state();
        let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        let overall = moments.iter().map(|(_, moment)| largest(moment)).fold(0.0, f64::max);
        for (name, moment) in moments.iter() {
            let ours = state.get(name).unwrap_or_else(|| panic!("the model has no `{name}`"));
            // The gradient of a tensor that hardly affects the loss is mostly rounding error.
            let scale = largest(moment).max(1e-4 * overall);
            assert_close(ours, moment, tolerance, tolerance * scale);
        }
    }

    /// Compares the samples of seed 0 with those recorded. Where a model rounds samples to bytes, a value between two
    /// grey levels may round either way.
    #[track_caller]
    fn check_samples(&self, model: &dyn GenerativeModel, tolerance: f64) {
        let expected = self.given("samples");
        let found = model.sample(&SampleRequest::new(expected.size()[0] as usize, 0)).expect("samples");
        // Images are recorded in half precision.
        let tolerance = if expected.kind() == Kind::Half { tolerance.max(1e-3) } else { tolerance };
        let allowed = tolerance * expected.abs().max().double_value(&[]);
        let levels = (&found + 1.0) * 127.5;
        let are_bytes = found.dim() == 4 && levels.round().allclose(&levels, 0.0, 1e-3, false);
        let off = (&found - &expected).abs().gt(allowed).to_kind(Kind::Double).mean(Kind::Double);
        let few_edges = are_bytes && off.double_value(&[]) < 0.01;
        assert_close(&found, &expected, 0.0, if few_edges { 1.01 / 127.5 } else { allowed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "1 of 4 entries differ; worst at [1, 0]: actual 3e0, expected 3.5e0, difference 5e-1")]
    fn the_message_names_the_worst_entry() {
        let a = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0]).view([2, 2]);
        let b = Tensor::from_slice(&[1.0, 2.0, 3.5, 4.0]).view([2, 2]);
        assert_close(&a, &b, 1e-6, 0.0);
    }

    #[test]
    #[should_panic(expected = "differ")]
    fn nan_is_never_close() {
        assert_close_f64(f64::NAN, 1.0, 1.0, 1.0);
    }

    #[test]
    fn gradients_are_compared() {
        let x = Tensor::from_slice(&[0.3, -1.2, 2.0]);
        assert_gradient(|x| (x.sin() * x).sum(Kind::Double), &x, 1e-8);
    }
}
