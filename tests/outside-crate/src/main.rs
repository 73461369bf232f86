//! Trains a flow on a tensor that the program makes, with only `gen-flow` as a dependency.

use gen_flow::RealNvp;
use gen_flow::gen_core::Result;
use gen_flow::gen_core::data::Dataset;
use gen_flow::gen_core::model::{GenerativeModel, SampleRequest};
use gen_flow::gen_core::registry::{BuildContext, Buildable};
use gen_flow::gen_core::tch::{self, Device, Kind, Tensor};
use gen_flow::gen_core::train::{Budget, Trainer};

// Enables the fast path of MKL on AMD processors, with the line that the README gives.
gen_flow::gen_core::native::mkl_on_amd!();

fn main() -> Result<()> {
    // Such a small model is faster on one thread.
    tch::set_num_threads(1);
    // A noisy parabola, which no Gaussian fits.
    tch::manual_seed(0);
    let x = Tensor::randn([2000, 1], (Kind::Float, Device::Cpu));
    let y = &x * &x + 0.2 * Tensor::randn_like(&x);
    let data = Dataset::from_tensor("parabola", Tensor::cat(&[x, y], 1))?;

    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = RealNvp::build(RealNvp::default_config(&data.spec), &context)?;
    let training = RealNvp::default_training(&data.spec);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(150), 0)?;
    let mut losses = Vec::new();
    while let Some(record) = trainer.advance()? {
        losses.push(record.losses[0].1);
    }
    trainer.finish()?;

    // Matrix products are right on every processor.
    assert!(gen_flow::gen_core::native::mkl::check() < 1e-4);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < first - 0.3, "the loss went from {first} to {last}");
    let samples = model.sample(&SampleRequest::new(8, 0))?;
    assert_eq!(samples.size(), [8, 2]);
    println!("trained outside the workspace: the loss fell from {first:.3} to {last:.3}");
    Ok(())
}
