//! Losses and gradients of a training step against those of the same network in PyTorch, recorded by
//! `xtask/peers/record.sh`.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use gen_core::data::Dataset;
use gen_core::model::{BuildContext, Buildable};
use gen_core::testing::assert_recorded_step;
use gen_diffusion::network::NetworkConfig;
use gen_diffusion::unet::UNetConfig;
use gen_diffusion::{Ddpm, DdpmConfig};
use tch::{Device, Kind, Tensor};

#[test]
fn ddpm_takes_pytorchs_step() {
    let images = Tensor::zeros([8, 1, 8, 8], (Kind::Uint8, Device::Cpu));
    let data = Dataset::from_tensor("images", images).unwrap().spec;
    let unet = UNetConfig { patch: 1, channels: vec![4, 8], ..UNetConfig::of(8, 8) };
    let config = DdpmConfig { network: NetworkConfig::Unet(unet), ..Ddpm::default_config(&data) };
    let mut model = Ddpm::build(config, &BuildContext { data, device: Device::Cpu, seed: 0 }).unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    assert_recorded_step(&mut model, &vectors.join("step-ddpm.safetensors"), 1e-4);
}
