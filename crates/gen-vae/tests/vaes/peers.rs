//! Samples, and losses and gradients of a training step, against those of the same network in PyTorch, recorded by
//! `xtask/peers/record.sh`, on every instruction set that the processor has.

use std::path::Path;

use gen_core::data::{Binarise, DataOptions, DataSpec, Dataset};
use gen_core::registry::BuildContext;
use gen_core::testing::assert_recorded_steps;
use gen_vae::{FlowPrior, NetworkKind, PriorConfig, QUICK_VAE, VaeConfig};
use tch::{Device, Kind, Tensor};

/// One test, since the instruction set is that of the whole process.
#[test]
fn both_networks_take_pytorchs_step() {
    let images = || {
        let images = Tensor::zeros([8, 1, 8, 8], (Kind::Uint8, Device::Cpu));
        Dataset::from_tensor("images", images).unwrap()
    };
    let bytes = images().spec;
    let config = VaeConfig {
        latent_dim: 3,
        widths: vec![4, 6],
        prior: PriorConfig::Flow(FlowPrior { layers: 2 }),
        ..QUICK_VAE.config(&bytes)
    };
    check("vae", config, bytes);

    let options = DataOptions { binarise: Binarise::Static, ..Default::default() };
    let binary = images().with_options(&options).unwrap().spec;
    let config = VaeConfig {
        network: NetworkKind::Mlp,
        latent_dim: 3,
        widths: vec![16, 12],
        prior: PriorConfig::StandardNormal,
        beta: 0.25,
        ..QUICK_VAE.config(&binary)
    };
    check("vae-mlp", config, binary);
}

fn check(name: &str, config: VaeConfig, data: DataSpec) {
    let context = BuildContext { data, device: Device::Cpu, seed: 0 };
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let file = vectors.join(format!("step-{name}.safetensors"));
    assert_recorded_steps(|| QUICK_VAE.build(config.clone(), &context).unwrap(), &file, 1e-4);
}
