//! Samples, and losses and gradients of a training step, against those of the same network in PyTorch, recorded by
//! `xtask/peers/record.sh`, on every instruction set that the processor has.

use std::path::Path;

use gen_core::data::{DataSpec, Dataset};
use gen_core::registry::{BuildContext, Buildable, Preset};
use gen_core::testing::assert_recorded_steps;
use gen_flow::{
    AffineSteps, ImageConfig, MAF, MafConfig, NSF, NSF_AR, NsfConfig, QUICK_FLOW, RealNvpConfig, SplineConfig,
    TabularConfig,
};
use tch::{Device, Kind, Tensor};

/// One test, since the instruction set is that of the whole process.
#[test]
fn images_and_tables_take_pytorchs_step() {
    let images = Tensor::zeros([8, 1, 8, 8], (Kind::Uint8, Device::Cpu));
    let images = Dataset::from_tensor("images", images).unwrap().spec;
    let config = match QUICK_FLOW.config(&images) {
        RealNvpConfig::Images(config) => {
            let steps = AffineSteps { couplings: 2, width: 4, blocks: 1, dense_couplings: 2, dense_width: 8 };
            ImageConfig { steps, ..config }
        }
        RealNvpConfig::Tabular(_) | RealNvpConfig::Masked(_) => unreachable!("images have a configuration for images"),
    };
    check(&QUICK_FLOW, "realnvp", RealNvpConfig::Images(config), &images);

    let points = Tensor::eye(2, (Kind::Float, Device::Cpu));
    let points = Dataset::from_tensor("points", points).unwrap().spec;
    let config = TabularConfig { couplings: 3, hidden: vec![8, 8], ..Default::default() };
    check(&QUICK_FLOW, "realnvp-moons", RealNvpConfig::Tabular(config), &points);
    let maf = MafConfig { transforms: 3, hidden: vec![8, 8], ..Default::default() };
    check(&MAF, "maf", maf, &points);
    let splines = SplineConfig { transforms: 3, hidden: vec![8, 8], bins: 4, ..Default::default() };
    check(&NSF, "nsf", NsfConfig::Tabular(splines.clone()), &points);
    check(&NSF_AR, "nsf-ar", splines, &points);
}

fn check<M: Buildable>(preset: &Preset<M>, name: &str, config: M::Config, data: &DataSpec)
where
    M::Config: Clone,
{
    let context = BuildContext { data: data.clone(), device: Device::Cpu, seed: 0 };
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let file = vectors.join(format!("step-{name}.safetensors"));
    assert_recorded_steps(|| preset.build(config.clone(), &context).unwrap(), &file, 1e-4);
}
