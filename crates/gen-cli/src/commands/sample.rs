use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::data::{npy, signed_to_bytes};
use gen_core::model::SampleRequest;
use gen_core::run::{RunFolder, grid, write_atomically};
use tch::{Device, Tensor};

use crate::device::Compute;
use crate::{checkpoint, registry};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of a trained run
    run: PathBuf,

    /// How many samples
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,

    /// The same seed gives the same samples
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// A PNG grid, an .npy file, or a folder of PNGs
    #[arg(long)]
    out: PathBuf,

    /// Images in a row of the grid
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    columns: u32,

    /// Factor on the spread of the latent noise
    #[arg(long)]
    temperature: Option<f64>,

    /// Sampler by name, for models that have several
    #[arg(long)]
    sampler: Option<String>,

    /// Steps of an iterative sampler
    #[arg(long)]
    steps: Option<usize>,

    /// With the weights of the best validation, instead of the latest
    #[arg(long)]
    best: bool,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.compute.start()?;
    let folder = RunFolder::open(&args.run)?;
    let model = folder.build(&registry::models(), device)?;
    let checkpoint = checkpoint::chosen(&folder, args.best)?;
    model
        .weights()
        .assign(&checkpoint.sampling_weights())
        .context("the checkpoint does not fit the model")?;
    let request = SampleRequest {
        temperature: args.temperature,
        sampler: args.sampler.clone(),
        steps: args.steps,
        ..SampleRequest::new(args.n as usize, args.seed)
    };
    let samples = model.sample(&request)?.to_device(Device::Cpu);
    write(&samples, &args.out, args.columns as usize)?;
    crate::eprint(&format!("{} samples in {}", args.n, args.out.display()));
    Ok(())
}

/// The kind of output follows from the name: `.png`, `.npy`, or a folder.
fn write(samples: &Tensor, out: &Path, columns: usize) -> anyhow::Result<()> {
    match out.extension().and_then(|extension| extension.to_str()) {
        Some("png") => grid::save_grid(samples, out, columns)?,
        Some("npy") => write_npy(samples, out)?,
        Some(other) => bail!("--out takes a .png, an .npy or a folder, found .{other}"),
        None if samples.dim() == 4 => grid::save_each(samples, out)?,
        None => bail!("points go into a .png (scatter plot) or an .npy, not into a folder of pictures"),
    }
    Ok(())
}

/// Images as bytes, points as 32-bit floats.
fn write_npy(samples: &Tensor, out: &Path) -> anyhow::Result<()> {
    let bytes =
        if samples.dim() == 4 { npy::to_bytes(&signed_to_bytes(samples)) } else { npy::to_bytes(samples) }?;
    write_atomically(out, |temporary| {
        std::fs::write(temporary, &bytes).map_err(gen_core::Error::io(temporary))
    })?;
    Ok(())
}
