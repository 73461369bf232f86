//! Trains `vae` and `ae` on images made by formula and shows samples of each.
//!
//!     cargo run --release -p gen-vae --example shapes

#![allow(clippy::print_stdout)]

use gen_core::Result;
use gen_core::data::{Batch, Dataset};
use gen_core::model::{Density, GenerativeModel, SampleRequest};
use gen_core::registry::{BuildContext, Buildable, Preset};
use gen_core::train::{Budget, Trainer};
use gen_vae::{AE, QUICK_VAE};
use tch::{Device, Kind, Tensor};

const SIDE: i64 = 16;

fn main() -> Result<()> {
    tch::manual_seed(0);
    let held_out = discs(500);
    let data = Dataset::from_tensor("discs", discs(4000))?;

    let vae = train(&QUICK_VAE, &data)?;
    println!("vae samples:\n{}", pictures(&vae.sample(&SampleRequest::new(5, 1))?));
    let x = gen_core::data::bytes_to_signed(&held_out);
    for kind in vae.kinds() {
        let nats = vae.log_likelihood(&Batch::of(&x), kind, 0)?.mean(Kind::Double).double_value(&[]);
        let bits = data.spec.values.bits_per_dim(nats, data.spec.shape.dimensions());
        println!("held-out bits per dimension, {kind}: {bits:.3}");
    }

    let ae = train(&AE, &data)?;
    println!("\nae, decoding noise:\n{}", pictures(&ae.sample(&SampleRequest::new(5, 1))?));
    Ok(())
}

fn train<M: Buildable>(preset: &Preset<M>, data: &Dataset) -> Result<M> {
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = preset.build(preset.config(&data.spec), &context)?;
    let settings = preset.training(&data.spec);
    let mut trainer = Trainer::new(&mut model, data, settings, Budget::Steps(400), 0)?;
    while let Some(record) = trainer.advance()? {
        if record.progress.step.is_multiple_of(100) {
            println!("{} step {}: {:.1?}", preset.name, record.progress.step, record.losses);
        }
    }
    trainer.finish()?;
    Ok(model)
}

/// White discs of random place and radius on black: `u8 [n, 1, 16, 16]`.
fn discs(n: i64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let uniform = |low: f64, high: f64| Tensor::rand([n, 1, 1, 1], options) * (high - low) + low;
    let radius = uniform(2.0, 5.0);
    let place = Tensor::arange(SIDE, options) + 0.5;
    let across = place.view([1, 1, 1, SIDE]) - uniform(5.0, 11.0);
    let down = place.view([1, 1, SIDE, 1]) - uniform(5.0, 11.0);
    let distance = (across.square() + down.square()).sqrt();
    ((radius - distance + 0.5).clamp(0.0, 1.0) * 255.0).round().to_kind(Kind::Uint8)
}

/// Images side by side, a character a pixel.
fn pictures(x: &Tensor) -> String {
    let shades: Vec<char> = " .:-=+*#%@".chars().collect();
    let shade = |value: f64| shades[((value + 1.0) * 4.99) as usize];
    let mut text = String::new();
    for row in 0..SIDE {
        for image in 0..x.size()[0] {
            text.extend((0..SIDE).map(|column| shade(x.double_value(&[image, 0, row, column]))));
            text.push_str(" | ");
        }
        text.push('\n');
    }
    text
}
