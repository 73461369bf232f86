//! The kernels of the native layer beside the same functions of `tch`, and a matrix product with MKL's fast path.
//!
//! `GEN_MKL_ON_AMD=0 cargo bench --package gen-native -- product` measures the slow path.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gen_native::{
    AdamStep, Coupled, Degrees, Direction, Ends, Instructions, Knots, Operands, Order, Spline, Univariate, Way,
    adam_step, affine_coupling, as_convolved, autoregressive_inverse, conv2d, global_norm, lerp, masked_perceptron,
    perceptron, spline_coupling, use_instructions,
};
use tch::nn::OptimizerConfig;
use tch::{Device, Kind, Tensor};

gen_native::mkl_on_amd!();

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The number of tensors of a small network, about a million entries in all.
fn tensors() -> Vec<Tensor> {
    (0..100).map(|i| Tensor::randn([64, 16 * (1 + i % 20)], OPTIONS)).collect()
}

fn optimizer(c: &mut Criterion) {
    let mut group = c.benchmark_group("adam");
    let (p, g) = (tensors(), tensors());
    let moments = || -> Vec<Tensor> { p.iter().map(Tensor::zeros_like).collect() };
    let (m, v) = (moments(), moments());
    let (step, norm) = (Tensor::ones([], OPTIONS), Tensor::ones([], OPTIONS));
    let settings = AdamStep { learning_rate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    group.bench_function("fused", |b| {
        b.iter(|| adam_step(&p, &g, &m, &v, &step, Some(&norm), settings).unwrap());
    });
    let store = tch::nn::VarStore::new(Device::Cpu);
    let variables: Vec<Tensor> =
        p.iter().enumerate().map(|(i, p)| store.root().var_copy(&format!("p{i}"), p)).collect();
    let mut theirs = tch::nn::Adam::default().build(&store, 1e-6).unwrap();
    let loss: Tensor = variables.iter().map(|p| p.sum(Kind::Float)).sum();
    theirs.zero_grad();
    loss.backward();
    group.bench_function("tch", |b| b.iter(|| theirs.step()));
    group.finish();
    c.bench_function("norm of 100 tensors", |b| b.iter(|| global_norm(&g).unwrap()));
    c.bench_function("average of 100 tensors", |b| b.iter(|| lerp(&m, &p, 1e-3).unwrap()));
}

fn product(c: &mut Criterion) {
    let mut group = c.benchmark_group("product");
    for n in [128, 512, 2048] {
        let (a, b) = (Tensor::randn([n, n], OPTIONS), Tensor::randn([n, n], OPTIONS));
        group.throughput(Throughput::Elements(2 * (n * n * n) as u64));
        group.bench_function(format!("{n}"), |bencher| bencher.iter(|| a.matmul(&b)));
    }
    group.finish();
}

/// Convolutions of our models by libtorch and by our loops: forward, and both gradients.
fn convolution(c: &mut Criterion) {
    // Batch, channels of both maps, side of the large one, kernel, stride, padding.
    let cases = [
        (32, [32, 32], 14, 3, 1, 1),
        (32, [64, 64], 7, 3, 1, 1),
        (64, [32, 64], 14, 4, 2, 1),
        (128, [1, 16], 28, 4, 2, 1),
    ];
    for (batch, [inputs, outputs], side, kernel, stride, padding) in cases {
        let x = Tensor::randn([batch, inputs, side, side], OPTIONS).set_requires_grad(true);
        let weight = Tensor::randn([outputs, inputs, kernel, kernel], OPTIONS).set_requires_grad(true);
        let y = x.conv2d(&weight, None::<&Tensor>, stride, padding, 1, 1);
        let products = y.numel() as i64 * inputs * kernel * kernel;
        let mut group = c.benchmark_group(format!("conv {inputs} to {outputs}, {side} x {side}, stride {stride}"));
        group.throughput(Throughput::Elements(6 * products as u64));
        for which in [Instructions::Best, Instructions::Libtorch] {
            group.bench_function(format!("{which:?}"), |bencher| {
                use_instructions(which).unwrap();
                let ours = |t: &Tensor| if which == Instructions::Best { as_convolved(t) } else { t.copy() };
                let (x, slope) = (ours(&x).detach().set_requires_grad(true), ours(&y.detach()));
                bencher.iter(|| {
                    let y = conv2d(&x, &weight, None, stride, padding, Direction::Down, Operands::Exact).unwrap();
                    Tensor::run_backward(&[(y * &slope).sum(Kind::Float)], &[&x, &weight], false, false)
                });
            });
        }
        group.finish();
    }
    use_instructions(Instructions::Best).unwrap();
}

/// Weights and biases of a perceptron.
fn layers(sizes: &[i64]) -> Vec<Tensor> {
    let leaf = |x: Tensor| x.set_requires_grad(true);
    let layer = |pair: &[i64]| {
        let weight = Tensor::randn([pair[1], pair[0]], OPTIONS) / (pair[0] as f64).sqrt() * 0.5;
        [leaf(weight), leaf(Tensor::randn([pair[1]], OPTIONS) * 0.1)]
    };
    sizes.windows(2).flat_map(layer).collect()
}

/// A training step and the inverse of one layer of a flow of 256 points in the plane.
fn points(c: &mut Criterion) {
    const BATCH: i64 = 256;
    let knots = Knots::SoftClip { slope: 1e-3 };
    let spline = Spline { bins: 8, low: -5.0, high: 5.0, knots, ends: Ends::Unit };
    // Batch-innermost.
    let x = Tensor::randn([2, BATCH], OPTIONS).tr();
    let leaf = |x: &Tensor| x.detach().set_requires_grad(true);
    let hidden: Vec<Vec<i64>> = vec![(0..64).map(|i| i % 2).collect(); 2];
    let degrees = Degrees { inputs: &[1, 2], hidden: &hidden };
    let mut group = c.benchmark_group("points");
    for (name, parameters) in [("affine", 2), ("spline", spline.parameters())] {
        let layers = layers(&[2, 64, 64, 2 * parameters]);
        let list: Vec<_> = layers.iter().collect();
        let of = if name == "affine" { Univariate::Affine { bound: None } } else { Univariate::Spline(&spline) };
        group.bench_function(format!("inverse of an autoregressive {name}"), |b| {
            b.iter(|| autoregressive_inverse(&x, None, &list, degrees, of).unwrap());
        });
        let masks: Vec<Tensor> = layers.iter().step_by(2).map(Tensor::ones_like).collect();
        let masks: Vec<_> = masks.iter().collect();
        let couple = |same: Option<&Tensor>, rest: &Tensor, numbers: &Tensor| {
            let coupled = if name == "affine" {
                affine_coupling(same, rest, numbers, None, Order::SameFirst, Way::Forward)
            } else {
                spline_coupling(same, rest, numbers, &spline, Order::SameFirst, Way::Forward)
            };
            let Coupled { values, log_det } = coupled.unwrap();
            values.sum(Kind::Float) + log_det.sum(Kind::Float)
        };
        group.bench_function(format!("step of an autoregressive {name}"), |b| {
            b.iter(|| {
                let x = leaf(&x);
                let score = couple(None, &x, &masked_perceptron(&x, &list, &masks).unwrap());
                let inputs: Vec<_> = list.iter().copied().chain([&x]).collect();
                Tensor::run_backward(&[score], &inputs, false, false)
            });
        });
        let layers = self::layers(&[1, 64, 64, parameters]);
        let list: Vec<_> = layers.iter().collect();
        group.bench_function(format!("step of a coupling of {name}"), |b| {
            b.iter(|| {
                let x = leaf(&x);
                let (same, rest) = (x.narrow(1, 0, 1), x.narrow(1, 1, 1));
                let score = couple(Some(&same), &rest, &perceptron(&same, &list).unwrap());
                let inputs: Vec<_> = list.iter().copied().chain([&x]).collect();
                Tensor::run_backward(&[score], &inputs, false, false)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, optimizer, product, convolution, points);
criterion_main!(benches);
