//! Trains a model of each family on a tensor that the program makes, with only the family crates as dependencies.

use gen_diffusion::QUICK_DIFFUSION;
use gen_flow::QUICK_FLOW;
use gen_flow::gen_core::fit::{Fit, Fitted};
use gen_flow::gen_core::registry::{Buildable, Preset};
use gen_flow::gen_core::tch::{self, Device, Kind, Tensor};
use gen_flow::gen_core::{self, Result};
use gen_gan::QUICK_GAN;
use gen_vae::QUICK_VAE;

// Enables the fast path of MKL on AMD processors, with the line that the README gives.
gen_core::native::mkl_on_amd!();

fn main() -> Result<()> {
    // Such small models are faster on one thread.
    tch::set_num_threads(1);
    // Matrix products are right on every processor.
    assert!(gen_core::native::mkl::check() < 1e-4);
    // A noisy parabola, which no Gaussian fits.
    tch::manual_seed(0);
    let x = Tensor::randn([2000, 1], (Kind::Float, Device::Cpu));
    let table = Tensor::cat(&[&x, &(&x * &x + 0.2 * Tensor::randn_like(&x))], 1);

    let flow = trained(&QUICK_FLOW, &table, "150steps")?;
    let nats = flow.log_prob(&table)?.mean(Kind::Double).double_value(&[]);
    assert!(nats > -2.5, "a Gaussian has -3.1 nats, the flow has {nats}");
    trained(&QUICK_VAE, &table, "20steps")?.log_prob(&table)?;
    trained(&QUICK_DIFFUSION, &table, "20steps")?.log_prob(&table.narrow(0, 0, 10))?;
    trained(&QUICK_GAN, &table, "20steps")?;
    println!("trained a model of each family outside the workspace: the flow has {nats:.3} nats");
    Ok(())
}

/// A trained model whose samples survive a file.
fn trained<M: Buildable>(preset: &'static Preset<M>, table: &Tensor, budget: &str) -> Result<Fitted<M>> {
    let model = Fit::new(preset).budget(budget.parse()?).run(table)?;
    let samples = model.sample(8, 0)?;
    assert_eq!(samples.size(), [8, 2]);
    let file = std::env::temp_dir().join(format!("outside-{}.safetensors", std::process::id()));
    model.save(&file)?;
    assert_eq!(Fitted::load(preset, &file, Device::Cpu)?.sample(8, 0)?, samples);
    std::fs::remove_file(&file).map_err(gen_core::Error::io(&file))?;
    Ok(model)
}
