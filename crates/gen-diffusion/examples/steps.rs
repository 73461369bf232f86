//! The worth of a step: eight Gaussians on a circle, sampled in more and more steps by both samplers.
//!
//! `cargo run --release -p gen-diffusion --example steps`

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use std::time::Instant;

use gen_core::data::Dataset;
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::registry::BuildContext;
use gen_core::tch::{Device, Kind, Tensor};
use gen_core::train::{Budget, Trainer};
use gen_diffusion::QUICK_DIFFUSION;

const STD: f64 = 0.1;

fn main() -> gen_core::Result<()> {
    gen_core::tch::manual_seed(0);
    let options = (Kind::Float, Device::Cpu);
    let angle = Tensor::arange(8, options) * (std::f64::consts::TAU / 8.0);
    let modes = Tensor::stack(&[angle.cos(), angle.sin()], 1) * 2.0;
    let mode = Tensor::randint(8, [20_000], (Kind::Int64, Device::Cpu));
    let points = modes.index_select(0, &mode) + Tensor::randn([20_000, 2], options) * STD;

    let data = Dataset::from_tensor("eight", points)?;
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = QUICK_DIFFUSION.build(QUICK_DIFFUSION.config(&data.spec), &context)?;
    let settings = QUICK_DIFFUSION.training(&data.spec);
    let mut trainer = Trainer::new(&mut model, &data, settings, Budget::Steps(1500), 0)?;
    while let Some(record) = trainer.advance()? {
        if record.progress.step.is_multiple_of(250) {
            println!("step {:4}: {:?}", record.progress.step, record.losses[0]);
        }
    }
    trainer.finish()?;

    println!("\n{:>10} {:>6} {:>22} {:>8}", "sampler", "steps", "within 3 sigma of one", "seconds");
    for (sampler, steps) in
        [("ddim", 2), ("ddim", 5), ("ddim", 25), ("ddim", 100), ("ancestral", 25), ("ancestral", 1000)]
    {
        let request = SampleRequest::new(1000, 0).with("sampler", sampler).with("sampler.steps", steps);
        let start = Instant::now();
        let x = model.sample(&request)?;
        let distance = (x.unsqueeze(1) - &modes).square().sum_dim_intlist(2, false, Kind::Float).sqrt();
        let near = distance.amin([1], false).lt(3.0 * STD).to_kind(Kind::Float).mean(Kind::Float);
        let seconds = start.elapsed().as_secs_f64();
        println!("{sampler:>10} {steps:>6} {:>22.3} {seconds:>8.2}", near.double_value(&[]));
    }
    Ok(())
}
