//! Comparisons of functions of tensors and their gradients.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod reference;

use gen_native::{Instructions, batch_innermost, use_instructions};
use tch::{Device, Kind, Tensor};

pub(crate) const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

pub(crate) type Function<'a> = &'a dyn Fn(&[Tensor]) -> Vec<Tensor>;

/// Numbers without a pattern, the same at every call.
pub(crate) fn weights(x: &Tensor) -> Tensor {
    (Tensor::arange(x.numel() as i64, DOUBLE) * 0.37 + 1.0).sin().view(&x.size()[..]).to_kind(x.kind())
}

/// A sum of all results with different weights.
pub(crate) fn score(results: &[Tensor]) -> Tensor {
    results.iter().map(|result| (result * weights(result)).sum(result.kind())).sum()
}

/// Copies that need gradients, in the layouts of `inputs`.
pub(crate) fn leaves(inputs: &[Tensor], kind: Kind) -> Vec<Tensor> {
    inputs.iter().map(|input| input.detach().to_kind(kind).copy().set_requires_grad(true)).collect()
}

/// The results, and the gradients of their score.
pub(crate) fn run(f: Function<'_>, inputs: &[Tensor], kind: Kind) -> Vec<Tensor> {
    let inputs = leaves(inputs, kind);
    let mut results = f(&inputs);
    let gradients = Tensor::run_backward(&[score(&results)], &inputs, false, false);
    results.extend(gradients);
    results.iter().map(Tensor::detach).collect()
}

/// The gradients of a score of the gradients.
pub(crate) fn twice(f: Function<'_>, inputs: &[Tensor]) -> Vec<Tensor> {
    let inputs = leaves(inputs, Kind::Double);
    let gradients = Tensor::run_backward(&[score(&f(&inputs))], &inputs, true, true);
    Tensor::run_backward(&[score(&gradients)], &inputs, false, false)
}

#[track_caller]
pub(crate) fn assert_close(actual: &[Tensor], expected: &[Tensor], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(a.size(), b.size(), "of result {i}");
        if a.numel() == 0 {
            continue;
        }
        let scale = b.abs().max().double_value(&[]).max(1.0);
        let difference = (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[]);
        assert!(difference <= tolerance * scale, "result {i} differs by {difference} of {scale}");
    }
}

/// Results and gradients in both precisions, and gradients of gradients, beside those of `reference`.
#[track_caller]
pub(crate) fn check(f: Function<'_>, reference: Function<'_>, inputs: &[Tensor]) {
    check_to([1e-12, 3e-6, 1e-11], f, reference, inputs);
}

/// As [`check`] with other tolerances: in double and single precision, and of gradients of gradients.
#[track_caller]
pub(crate) fn check_to(tolerances: [f64; 3], f: Function<'_>, reference: Function<'_>, inputs: &[Tensor]) {
    for which in [Instructions::Avx512, Instructions::Avx2, Instructions::Portable, Instructions::Best] {
        if !use_instructions(which).unwrap() {
            continue;
        }
        let expected = run(reference, inputs, Kind::Double);
        assert_close(&run(f, inputs, Kind::Double), &expected, tolerances[0]);
        assert_close(&run(f, inputs, Kind::Float), &expected, tolerances[1]);
        assert_close(&twice(f, inputs), &twice(reference, inputs), tolerances[2]);
    }
}

/// Gradients beside central differences.
#[track_caller]
pub(crate) fn check_by_differences(f: Function<'_>, inputs: &[Tensor]) {
    let of = |inputs: &[Tensor]| score(&f(inputs)).double_value(&[]);
    let leaves = leaves(inputs, Kind::Double);
    let gradients = Tensor::run_backward(&[score(&f(&leaves))], &leaves, false, false);
    for (i, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.contiguous().view([-1]);
        for k in 0..gradient.size()[0] {
            let moved = |by: f64| {
                let mut inputs: Vec<Tensor> = inputs.iter().map(Tensor::copy).collect();
                let step = Tensor::zeros([gradient.size()[0]], DOUBLE);
                let _ = step.get(k).fill_(by);
                inputs[i] = &inputs[i] + step.view(&inputs[i].size()[..]);
                of(&inputs)
            };
            let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let found = gradient.double_value(&[k]);
            assert!((difference - found).abs() < 1e-6 * (1.0 + found.abs()), "{i}, {k}: {found}, {difference}");
        }
    }
}

/// Layouts that a feature map may have: contiguous, batch-innermost, some channels of a wider one, [C, H, W, N].
pub(crate) fn layouts(x: &Tensor) -> Vec<Tensor> {
    if x.dim() == 2 {
        return vec![x.shallow_clone(), x.tr().contiguous().tr()];
    }
    let wide = batch_innermost(&Tensor::cat(&[x, x], 1)).unwrap();
    let channels_out = x.permute([1, 2, 3, 0]).contiguous().permute([3, 0, 1, 2]);
    vec![
        x.shallow_clone(),
        batch_innermost(x).unwrap(),
        wide.narrow(1, x.size()[1], x.size()[1]),
        channels_out,
        x.to_kind(Kind::Double).transpose(2, 3).contiguous().transpose(2, 3),
    ]
}
