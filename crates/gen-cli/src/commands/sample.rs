use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use gen_core::Precision;
use gen_core::data::{DataSpec, signed_to_bytes};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, derive};
use gen_data::npy;
use gen_run::{RunFolder, grid, write_atomically};
use tch::{Device, Kind, Tensor};

use crate::device::Compute;
use crate::output::{self, Kind as Output, PICTURES};
use crate::progress::Work;
use crate::{arguments, checkpoint, pictures, registry};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of a trained run
    run: PathBuf,

    /// How many samples
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,

    /// The same seed gives the same samples
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    /// One picture of all (.png, .jpg, .webp or .gif), an .npy file; a folder of PNGs, or of points a .csv table
    #[arg(long)]
    out: PathBuf,

    /// Images in a row of the grid
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    columns: u32,

    /// Factor on the spread of the latent noise
    #[arg(long, value_parser = arguments::temperature)]
    temperature: Option<f64>,

    /// Sampler by name, for models that have several
    #[arg(long)]
    sampler: Option<String>,

    /// Steps of an iterative sampler
    #[arg(long, value_parser = arguments::count)]
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
    let mut accepted = PICTURES.to_vec();
    accepted.push(Output::Array);
    accepted.push(if model.card().data.shape.is_image() { Output::Folder } else { Output::Table });
    let output = output::kind(&args.out, &accepted)?;
    let _region = args.precision.region();
    write(output, args, model.as_ref(), &request)?;
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
    work: &'a Work,
) -> impl Iterator<Item = gen_core::Result<Tensor>> + 'a {
    (0..request.n).step_by(AT_ONCE).map(move |start| {
        work.at(start, request.n);
        let seed = match start {
            0 => request.seed,
            _ => derive(request.seed, Purpose::Sample, start as u64),
        };
        let part = request.part(AT_ONCE.min(request.n - start), seed);
        let samples = model.sample(&part)?.to_device(Device::Cpu);
        check_finite(&samples, request)?;
        Ok(model.card().data.on_grids(&samples))
    })
}

/// # Errors
/// When a sample holds infinity or what is no number: that is not a sample.
fn check_finite(samples: &Tensor, request: &SampleRequest) -> gen_core::Result<()> {
    let rows = samples.isfinite().flatten(1, -1).all_dim(1, false).logical_not();
    let wrong = rows.sum(Kind::Int64).int64_value(&[]);
    if wrong == 0 {
        return Ok(());
    }
    let why = match request.temperature {
        Some(temperature) if temperature > 1.0 => {
            format!(
                "a temperature of {temperature} leads the model to where it has learned nothing: lower it"
            )
        }
        _ => "the weights are not those of a model that has learned: look at history.csv, and try `--best`"
            .to_owned(),
    };
    Err(gen_core::Error::invalid(format!(
        "{wrong} of {} samples hold infinity or what is not a number; {why}",
        samples.size()[0]
    )))
}

fn write(
    output: Output,
    args: &Args,
    model: &dyn GenerativeModel,
    request: &SampleRequest,
) -> anyhow::Result<()> {
    let (shape, out) = (model.card().data.shape, args.out.as_path());
    let size = shape.batch(request.n as i64);
    let work = Work::on("drawing samples");
    match output {
        // One picture of all of them: they are in memory once, whatever it costs.
        Output::Picture(_) => {
            let kind = if shape.is_image() { Kind::Float } else { Kind::Double };
            let samples = Tensor::empty(size.as_slice(), (kind, Device::Cpu));
            for (i, part) in parts(model, request, &work).enumerate() {
                let part = part?;
                samples.narrow(0, (i * AT_ONCE) as i64, part.size()[0]).copy_(&part);
            }
            let title = format!("samples of {}", model.card().name);
            pictures::save_samples(&title, &[("samples", &samples)], out, args.columns as usize)?;
        }
        // Images as bytes, points as 64-bit floats.
        Output::Array => write_atomically(out, |temporary| {
            let file = File::create(temporary).map_err(gen_core::Error::io(out))?;
            let mut file = BufWriter::new(file);
            let parts = parts(model, request, &work);
            match shape.is_image() {
                true => {
                    let bytes = parts.map(|part| Ok(signed_to_bytes(&part?)));
                    npy::write(&mut file, out, Kind::Uint8, &size, bytes)?;
                }
                false => npy::write(&mut file, out, Kind::Double, &size, parts)?,
            }
            file.flush().map_err(gen_core::Error::io(out))
        })?,
        Output::Folder => {
            std::fs::create_dir_all(out).map_err(gen_core::Error::io(out))?;
            for (i, part) in parts(model, request, &work).enumerate() {
                grid::save_each(&part?, out, i * AT_ONCE, request.n)?;
            }
        }
        Output::Table => write_atomically(out, |temporary| {
            let file = File::create(temporary).map_err(gen_core::Error::io(out))?;
            write_table(BufWriter::new(file), out, &model.card().data, parts(model, request, &work))
        })?,
    }
    Ok(())
}

/// Points as a table, under the names of the data's own columns or `x1`, `x2`, ...: each number in the fewest digits that
/// are read again as the same. `path` is for the messages.
fn write_table(
    out: impl Write,
    path: &Path,
    data: &DataSpec,
    parts: impl Iterator<Item = gen_core::Result<Tensor>>,
) -> gen_core::Result<()> {
    let failed = |error: csv::Error| gen_core::Error::file(path)(error);
    let dimension = data.shape.dimensions();
    let mut writer = csv::Writer::from_writer(out);
    match data.columns.is_empty() {
        true => writer.write_record((1..=dimension).map(|column| format!("x{column}"))).map_err(failed)?,
        false => writer.write_record(&data.columns).map_err(failed)?,
    }
    for part in parts {
        let values = Vec::<f64>::try_from(part?.to_kind(Kind::Double).reshape([-1]))?;
        for row in values.chunks_exact(dimension as usize) {
            writer.write_record(row.iter().map(|value| format!("{value:?}"))).map_err(failed)?;
        }
    }
    writer.flush().map_err(gen_core::Error::io(path))
}
