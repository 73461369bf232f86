//! Helpers for numeric tests, here and in crates that build on this one.

use std::path::Path;

use tch::{Kind, Tensor};

use crate::data::Batch;
use crate::model::{GenerativeModel, Step};
use crate::params::NamedTensors;
use crate::rng::Generator;

/// Asserts that `|actual - expected| <= absolute + relative * |expected|` in every entry.
///
/// # Panics
/// When a shape or an entry differs; the message has the worst entry's index, both values and their difference.
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

/// Takes the training step that `xtask/peers/record.py` recorded of the same model in PyTorch, and compares losses
/// and gradients.
///
/// `file` holds the state before the step under `before.`, the `batch` and the `seed` of its generator, and what
/// came of it: `loss.` by name, and under `moment.` the first moments of a fresh optimizer, which are the gradients
/// after clipping times 1 - β₁. `tolerance` is relative; for gradients to the largest entry of the tensor.
///
/// # Panics
/// When a number differs, or the file is not of this model.
#[track_caller]
pub fn assert_recorded_step(model: &mut dyn GenerativeModel, file: &Path, tolerance: f64) {
    let recorded = Tensor::read_safetensors(file).expect("a file that record.py wrote");
    let part = |prefix: &str| -> NamedTensors {
        let named = recorded.iter().filter_map(|(name, tensor)| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.shallow_clone()))
        });
        named.collect()
    };
    let given = |name: &str| {
        let found = recorded.iter().find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor.shallow_clone()).unwrap_or_else(|| panic!("no `{name}` in the file"))
    };
    // The statistics of points are f64 here, and of one kind with the weights there.
    let weights = model.weights();
    let before = part("before.weights.").into_iter().map(|(name, recorded)| {
        let kind = weights.get(&name).map_or(recorded.kind(), Tensor::kind);
        (name, recorded.to_kind(kind))
    });
    weights.assign(&before.collect()).expect("weights of this model");
    let state = model.training_state();
    let ours = |name: &str| state.get(name).unwrap_or_else(|| panic!("the model has no `{name}`"));
    for (name, value) in part("before.training.").iter() {
        ours(name).shallow_clone().detach().copy_(value);
    }

    let step = Step { rng: Generator::seeded(given("seed").int64_value(&[])), ..Step::new(0) };
    let batch = Batch::unlabelled(given("batch"));
    let losses = model.train_step(&batch, &step).expect("a training step").values();
    for (name, value) in part("loss.").iter() {
        let loss = losses.iter().find(|(known, _)| *known == name);
        let (_, loss) = loss.unwrap_or_else(|| panic!("the model reports no loss `{name}`"));
        assert_close_f64(*loss, value.double_value(&[]), tolerance, 0.0);
    }
    let moments = part("moment.training.");
    assert!(!moments.is_empty(), "{} holds no gradients", file.display());
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    let overall = moments.iter().map(|(_, moment)| largest(moment)).fold(0.0, f64::max);
    for (name, moment) in moments.iter() {
        // A tensor of which the loss hardly depends has nothing but rounding errors for a gradient.
        let scale = largest(moment).max(1e-4 * overall);
        assert_close(ours(name), moment, tolerance, tolerance * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(
        expected = "1 of 4 entries differ; worst at [1, 0]: actual 3e0, expected 3.5e0, difference 5e-1"
    )]
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
