//! Samples, and losses and gradients of a training step, against those of the same network in PyTorch, recorded by
//! `xtask/peers/record.sh`, on every instruction set that the processor has.

use std::path::Path;

use gen_core::data::Dataset;
use gen_core::registry::BuildContext;
use gen_core::testing::assert_recorded_steps;
use gen_gan::penalty::{Penalty, R1};
use gen_gan::{DcganConfig, QUICK_GAN};
use tch::{Device, Kind, Tensor};

/// One test, since the instruction set is that of the whole process.
#[test]
fn dcgan_takes_pytorchs_step_with_and_without_a_penalty() {
    let images = Tensor::zeros([8, 1, 16, 16], (Kind::Uint8, Device::Cpu));
    let data = Dataset::from_tensor("images", images).unwrap().spec;
    let config = DcganConfig { latent_dim: 8, generator_width: 4, discriminator_width: 4, ..QUICK_GAN.config(&data) };
    let penalised =
        DcganConfig { discriminator_batch_norm: false, penalty: Penalty::R1(R1 { gamma: 2.0 }), ..config.clone() };
    for (name, config) in [("dcgan", config), ("dcgan-r1", penalised)] {
        let context = BuildContext { data: data.clone(), device: Device::Cpu, seed: 0 };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/step-{name}.safetensors"));
        assert_recorded_steps(|| QUICK_GAN.build(config.clone(), &context).unwrap(), &file, 1e-4);
    }
}
