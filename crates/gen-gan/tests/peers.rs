//! Losses and gradients of a training step against those of the same network in PyTorch, recorded by
//! `xtask/peers/record.sh`.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use gen_core::data::Dataset;
use gen_core::model::{BuildContext, Buildable};
use gen_core::testing::assert_recorded_step;
use gen_gan::{Dcgan, DcganConfig};
use tch::{Device, Kind, Tensor};

#[test]
fn dcgan_takes_pytorchs_step() {
    let images = Tensor::zeros([8, 1, 8, 8], (Kind::Uint8, Device::Cpu));
    let data = Dataset::from_tensor("images", images).unwrap().spec;
    let config =
        DcganConfig { latent: 8, generator_width: 4, discriminator_width: 4, ..Dcgan::default_config(&data) };
    let mut model = Dcgan::build(config, &BuildContext { data, device: Device::Cpu, seed: 0 }).unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    assert_recorded_step(&mut model, &vectors.join("step-dcgan.safetensors"), 1e-4);
}
