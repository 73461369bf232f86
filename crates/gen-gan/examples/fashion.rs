//! Trains a DCGAN on an IDX file of images, such as Fashion-MNIST's, and writes a sheet of samples.
//!
//! ```sh
//! cargo run --release -p gen-gan --example fashion -- train-images-idx3-ubyte 3m samples.pgm
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::Path;

use gen_core::data::{Dataset, signed_to_bytes};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::registry::BuildContext;
use gen_core::tch::{Device, Tensor};
use gen_core::train::{Budget, Trainer};
use gen_core::{Error, Result};
use gen_gan::QUICK_GAN;

/// Samples in a row of the sheet, and rows.
const SHEET: (i64, i64) = (16, 8);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [images, budget, sheet] = arguments.as_slice() else {
        eprintln!("usage: fashion IMAGES-IDX3-UBYTE BUDGET SHEET.pgm");
        std::process::exit(2);
    };
    if let Err(error) = run(images.as_ref(), budget, sheet.as_ref()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(images: &Path, budget: &str, sheet: &Path) -> Result<()> {
    let budget: Budget = budget.parse()?;
    let data = Dataset::from_tensor("images", read_idx(images)?)?;
    let context = BuildContext { data: data.spec.clone(), device: Device::cuda_if_available(), seed: 0 };
    let data = data.to_device(context.device);
    let mut model = QUICK_GAN.build(QUICK_GAN.config(&data.spec), &context)?;

    let mut trainer = Trainer::new(&mut model, &data, QUICK_GAN.training(&data.spec), budget, 0)?;
    while let Some(record) = trainer.advance()? {
        let losses: Vec<_> = record.losses.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        println!("{:6}  {:3.0} %  {}", record.progress.step, 100.0 * record.budget_used, losses.join("  "));
    }
    trainer.finish()?;

    let (columns, rows) = SHEET;
    write_pgm(sheet, &model.sample(&SampleRequest::new((columns * rows) as usize, 1))?)
}

/// An IDX file of bytes in three dimensions: `u8 [n, 1, height, width]`.
fn read_idx(path: &Path) -> Result<Tensor> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let word = |i: usize| bytes.get(4 * i..4 * i + 4).map_or(0, |b| b.iter().fold(0, |n, b| n << 8 | i64::from(*b)));
    let (magic, size) = (word(0), [word(1), 1, word(2), word(3)]);
    if magic != 0x803 || bytes.len() as i128 != 16 + size.iter().copied().map(i128::from).product::<i128>() {
        return Err(Error::format(path, "not a whole IDX file of images (is it still compressed?)"));
    }
    Ok(Tensor::from_slice(&bytes[16..]).view(size))
}

/// The first channel of the images, side by side.
fn write_pgm(path: &Path, images: &Tensor) -> Result<()> {
    let (columns, rows) = SHEET;
    let (height, width) = (images.size()[2], images.size()[3]);
    let grey = signed_to_bytes(&images.select(1, 0)).to_device(Device::Cpu);
    let sheet = grey.view([rows, columns, height, width]).transpose(1, 2).reshape([-1]);
    let mut file = format!("P5 {} {} 255\n", columns * width, rows * height).into_bytes();
    file.extend(Vec::<u8>::try_from(sheet)?);
    fs::write(path, file).map_err(Error::io(path))
}
