//! The kernels of the native layer beside what `tch` offers for the same, and a matrix product with MKL's fast path.
//!
//! `GEN_MKL_ON_AMD=0 cargo bench --package gen-native -- product` measures the slow one.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gen_native::{AdamStep, adam_step, global_norm, lerp};
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

criterion_group!(benches, optimizer, product);
criterion_main!(benches);
