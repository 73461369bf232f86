//! RealNVP on the two moons for a minute: the gap between its test loss and the entropy, which no model can beat.
//!
//! `cargo run --release -p gen-flow --example moons [seconds]`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use gen_core::data::{Batch, Dataset};
use gen_core::model::{Density, LikelihoodKind};
use gen_core::registry::BuildContext;
use gen_core::rng::{Purpose, torch_seed};
use gen_core::train::{Budget, Trainer};
use gen_flow::QUICK_FLOW;
use tch::{Device, Kind, Tensor};

/// The differential entropy of the moons in nats, by quadrature of their exact density.
const ENTROPY: f64 = 2.3939;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(60.0), |text| text.parse())?;
    // The network is so small that a second thread costs more than it gives.
    tch::set_num_threads(1);

    tch::manual_seed(torch_seed(0, Purpose::Data, 0));
    let data = Dataset::from_tensor("moons", moons(100_000))?;
    let test = moons(100_000);

    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = QUICK_FLOW.build(QUICK_FLOW.config(&data.spec), &context)?;
    let config = QUICK_FLOW.training(&data.spec);
    let mut trainer = Trainer::new(&mut model, &data, config, Budget::Seconds(seconds), 0)?;
    while let Some(record) = trainer.advance()? {
        if record.progress.step.is_multiple_of(1000) {
            println!("step {:6}  {:5.1} s  {:?}", record.progress.step, record.progress.seconds, record.losses);
        }
    }
    let progress = trainer.progress();
    trainer.finish()?;

    let mean = |x: &Tensor| x.mean(Kind::Double).double_value(&[]);
    let nll = -mean(&model.log_likelihood(&Batch::of(&test), LikelihoodKind::Exact, 0)?);
    println!("{} steps, {:.0} a second", progress.step, progress.step as f64 / progress.seconds);
    println!("test {nll:.4} nats, {:.4} above the entropy", nll - ENTROPY);

    let (grid, cell) = grid(801, 7.0);
    let log_prob = model.log_likelihood(&Batch::of(&grid), LikelihoodKind::Exact, 0)?;
    println!("integral of the density {:.4}", log_prob.exp().sum(Kind::Double).double_value(&[]) * cell);
    Ok(())
}

/// Two half circles, one up and one down, with noise: `[n, 2]`.
fn moons(n: i64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let angle = Tensor::rand([n], options) * std::f64::consts::PI;
    let upper = Tensor::rand([n], options).lt(0.5);
    let x = angle.cos().where_self(&upper, &(1f64 - angle.cos()));
    let y = angle.sin().where_self(&upper, &(0.5f64 - angle.sin()));
    let clean = Tensor::stack(&[x, y], 1);
    (clean + Tensor::randn([n, 2], options) * 0.1) * 2.0 + Tensor::from_slice(&[-1f32, -0.2])
}

/// The points of a square grid over [-radius, radius]², and the area of a cell.
fn grid(side: i64, radius: f64) -> (Tensor, f64) {
    let axis = Tensor::linspace(-radius, radius, side, (Kind::Float, Device::Cpu));
    let (x, y) = (axis.repeat([side]), axis.repeat_interleave_self_int(side, 0, None));
    (Tensor::stack(&[x, y], 1), (2.0 * radius / (side - 1) as f64).powi(2))
}
