use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::Precision;
use gen_core::data::{DataSpec, npy, signed_to_bytes};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, derive};
use gen_core::run::{RunFolder, grid, write_atomically};
use tch::{Device, Kind, Tensor};

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

    /// A PNG grid, an .npy file, a folder of PNGs, or of points a .csv table
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

    /// What convolutions and linear layers multiply in: f32, or bf16, which is faster and a little less exact
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,

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
    args.precision.check(device)?;
    let output = Output::of(&args.out, model.card().data.shape.is_image())?;
    let _region = args.precision.region();
    output.write(args, model.as_ref(), &request)?;
    crate::eprint(&format!("{} samples in {}", args.n, args.out.display()));
    Ok(())
}

/// Samples that are drawn together. One such part is held at a time, where the output allows it.
const AT_ONCE: usize = 1000;

/// The samples of a request part by part, on the host; the first part is what a request for no more than
/// [`AT_ONCE`] gives.
fn parts<'a>(
    model: &'a dyn GenerativeModel,
    request: &'a SampleRequest,
) -> impl Iterator<Item = gen_core::Result<Tensor>> + 'a {
    (0..request.n).step_by(AT_ONCE).map(move |start| {
        let seed = match start {
            0 => request.seed,
            _ => derive(request.seed, Purpose::Sample, start as u64),
        };
        let part = request.part(AT_ONCE.min(request.n - start), seed);
        let samples = model.sample(&part)?.to_device(Device::Cpu);
        Ok(model.card().data.on_grids(&samples))
    })
}

/// The kind of output, which follows from the name: `.png`, `.npy`, `.csv`, or a folder.
enum Output {
    Grid,
    Array,
    Table,
    Folder,
}

impl Output {
    fn of(out: &Path, images: bool) -> anyhow::Result<Self> {
        match out.extension().and_then(|extension| extension.to_str()) {
            Some("png") => Ok(Output::Grid),
            Some("npy") => Ok(Output::Array),
            Some("csv") if images => bail!("images go into a .png, an .npy or a folder, not into a table"),
            Some("csv") => Ok(Output::Table),
            Some(other) => bail!("--out takes a .png, an .npy, a .csv or a folder, found .{other}"),
            None if images => Ok(Output::Folder),
            None => bail!(
                "points go into a .png (scatter plot), a .csv or an .npy, not into a folder of pictures"
            ),
        }
    }

    fn write(self, args: &Args, model: &dyn GenerativeModel, request: &SampleRequest) -> anyhow::Result<()> {
        let (shape, out) = (model.card().data.shape, args.out.as_path());
        let size = shape.batch(request.n as i64);
        match self {
            // One picture of all of them: they are in memory once, whatever it costs.
            Output::Grid => {
                let kind = if shape.is_image() { Kind::Float } else { Kind::Double };
                let samples = Tensor::empty(size.as_slice(), (kind, Device::Cpu));
                for (i, part) in parts(model, request).enumerate() {
                    let part = part?;
                    samples.narrow(0, (i * AT_ONCE) as i64, part.size()[0]).copy_(&part);
                }
                grid::save_grid(&samples, out, args.columns as usize)?;
            }
            // Images as bytes, points as 64-bit floats.
            Output::Array => write_atomically(out, |temporary| {
                let file = File::create(temporary).map_err(gen_core::Error::io(temporary))?;
                let mut file = BufWriter::new(file);
                match shape.is_image() {
                    true => {
                        let bytes = parts(model, request).map(|part| Ok(signed_to_bytes(&part?)));
                        npy::write(&mut file, Kind::Uint8, &size, bytes)?;
                    }
                    false => npy::write(&mut file, Kind::Double, &size, parts(model, request))?,
                }
                file.flush().map_err(gen_core::Error::io(temporary))
            })?,
            Output::Table => write_atomically(out, |temporary| {
                let file = File::create(temporary).map_err(gen_core::Error::io(temporary))?;
                write_table(BufWriter::new(file), &model.card().data, parts(model, request))
                    .map_err(|error| gen_core::Error::format(out, error.to_string()))
            })?,
            Output::Folder => {
                std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
                for (i, part) in parts(model, request).enumerate() {
                    grid::save_each(&part?, out, i * AT_ONCE, request.n)?;
                }
            }
        }
        Ok(())
    }
}

/// Points as a table, under the names of the data's own columns or `x1`, `x2`, ...: each number in the fewest digits that
/// are read again as the same.
fn write_table(
    out: impl Write,
    data: &DataSpec,
    parts: impl Iterator<Item = gen_core::Result<Tensor>>,
) -> anyhow::Result<()> {
    let dimension = data.shape.dimensions();
    let mut writer = csv::Writer::from_writer(out);
    match data.columns.is_empty() {
        true => writer.write_record((1..=dimension).map(|column| format!("x{column}")))?,
        false => writer.write_record(&data.columns)?,
    }
    for part in parts {
        let values = Vec::<f64>::try_from(part?.to_kind(Kind::Double).reshape([-1]))?;
        for row in values.chunks_exact(dimension as usize) {
            writer.write_record(row.iter().map(|value| format!("{value:?}")))?;
        }
    }
    Ok(writer.flush()?)
}
