//! Samples, and losses and gradients of a training step, against those of the same network in PyTorch, recorded by
//! `xtask/peers/record.sh`, on every instruction set that the processor has.

use std::path::Path;

use gen_core::data::Dataset;
use gen_core::registry::BuildContext;
use gen_core::testing::assert_recorded_steps;
use gen_diffusion::network::NetworkConfig;
use gen_diffusion::unet::UNetConfig;
use gen_diffusion::{DiffusionConfig, QUICK_DIFFUSION};
use tch::{Device, Kind, Tensor};

/// One test, since the instruction set is that of the whole process.
#[test]
fn quick_diffusion_takes_pytorchs_step_on_pixels_and_on_patches() {
    let images = Tensor::zeros([8, 1, 8, 8], (Kind::Uint8, Device::Cpu));
    let data = Dataset::from_tensor("images", images).unwrap().spec;
    let pixels = UNetConfig { patch: 1, channels: vec![4, 8], ..UNetConfig::of(8, 8) };
    let patches = UNetConfig { patch: 2, channels: vec![4, 4], heads: 2, blocks: 2, ..pixels.clone() };
    for (name, unet) in [("ddpm", pixels), ("ddpm-patches", patches)] {
        let config = DiffusionConfig { network: NetworkConfig::Unet(unet), ..QUICK_DIFFUSION.config(&data) };
        let context = BuildContext { data: data.clone(), device: Device::Cpu, seed: 0 };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/step-{name}.safetensors"));
        assert_recorded_steps(|| QUICK_DIFFUSION.build(config.clone(), &context).unwrap(), &file, 1e-4);
    }
}
