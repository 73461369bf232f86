//! A training step and a sampling call of every model with its defaults, on images of 28x28 and on points.
//!
//! `cargo bench --package gen-cli -- vae` runs the benchmarks with `vae` in the name. The data are random, since the
//! time does not depend on their values.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gen_core::data::{Batches, Dataset};
use gen_core::model::{SampleRequest, Step};
use gen_core::optim::Ema;
use gen_core::registry::{BuildContext, ModelEntry};
use tch::{Device, Kind, Tensor};

gen_core::native::mkl_on_amd!();

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of samples in a call.
const SAMPLES: usize = 64;

fn sets() -> [Dataset; 2] {
    tch::manual_seed(0);
    let images = Tensor::randint(256, [2000, 1, 28, 28], (Kind::Uint8, Device::Cpu));
    let points = Tensor::randn([2000, 2], (Kind::Float, Device::Cpu));
    [Dataset::from_tensor("28x28", images).unwrap(), Dataset::from_tensor("points", points).unwrap()]
}

fn model(c: &mut Criterion, entry: &ModelEntry, data: &Dataset) {
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = entry.build(&entry.default_config(&data.spec).unwrap(), &context).unwrap();
    let training = entry.default_training(&data.spec);
    let mut batches = Batches::new(&data.train, &data.spec, training.batch_size, 0);
    let mut ema = Ema::new(model.weights(), 0.999);
    let mut group = c.benchmark_group(format!("{}/{}", entry.name, data.spec.name));
    group.sample_size(20);
    let mut index = 0;
    group.bench_function(format!("train step of {}", training.batch_size), |bencher| {
        bencher.iter_batched(
            || {
                index += 1;
                let step = Step::new(index);
                (batches.get(index, &step.rng), step)
            },
            |(batch, step)| {
                let losses = model.train_step(&batch, &step).unwrap();
                ema.update().unwrap();
                losses.values()
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function(format!("{SAMPLES} samples"), |bencher| {
        bencher.iter(|| model.sample(&SampleRequest::new(SAMPLES, 0)).unwrap());
    });
    group.finish();
}

fn models(c: &mut Criterion) {
    let entries = [gen_gan::MODELS, gen_vae::MODELS, gen_flow::MODELS, gen_diffusion::MODELS].concat();
    for data in sets() {
        for entry in &entries {
            model(c, entry, &data);
        }
    }
}

criterion_group!(benches, models);
criterion_main!(benches);
