//! The kernels of the native layer beside what `tch` offers for the same, and a matrix product with MKL's fast path.
//!
//! `GEN_MKL_ON_AMD=0 cargo bench --package gen-native -- product` measures the slow one.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gen_native::{
    AdamStep, Direction, Instructions, Operands, adam_step, as_convolved, conv2d, global_norm, lerp,
    use_instructions,
};
use tch::nn::OptimizerConfig;
use tch::{Device, Kind, Tensor};

gen_native::mkl_on_amd!();

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// As many tensors as a small network has, about a million entries in all.
fn tensors() -> Vec<Tensor> {
    (0..100).map(|i| Tensor::randn([64, 16 * (1 + i % 20)], OPTIONS)).collect()
}

fn optimizer(c: &mut Criterion) {
    let mut group = c.benchmark_group("adam");
    let (p, g) = (tensors(), tensors());
    let moments = || -> Vec<Tensor> { p.iter().map(Tensor::zeros_like).collect() };
    let (m, v) = (moments(), moments());
    let (step, norm) = (Tensor::ones([], OPTIONS), Tensor::ones([], OPTIONS));
    let settings =
        AdamStep { learning_rate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
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

/// Convolutions of our models, as libtorch does them and with the batch innermost: forward, and the two gradients.
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
        let mut group =
            c.benchmark_group(format!("conv {inputs} to {outputs}, {side} x {side}, stride {stride}"));
        group.throughput(Throughput::Elements(6 * products as u64));
        for which in [Instructions::Best, Instructions::Libtorch] {
            group.bench_function(format!("{which:?}"), |bencher| {
                use_instructions(which).unwrap();
                let ours = |t: &Tensor| if which == Instructions::Best { as_convolved(t) } else { t.copy() };
                let (x, slope) = (ours(&x).detach().set_requires_grad(true), ours(&y.detach()));
                bencher.iter(|| {
                    let y =
                        conv2d(&x, &weight, None, stride, padding, Direction::Down, Operands::Exact).unwrap();
                    Tensor::run_backward(&[(y * &slope).sum(Kind::Float)], &[&x, &weight], false, false)
                });
            });
        }
        group.finish();
    }
    use_instructions(Instructions::Best).unwrap();
}

criterion_group!(benches, optimizer, product, convolution);
criterion_main!(benches);
