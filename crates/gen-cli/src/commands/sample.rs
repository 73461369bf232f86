use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use gen_core::Precision;
use gen_core::data::{DataSpec, signed_to_bytes};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, derive};
use gen_data::npy;
use gen_run::{grid, write_atomically};
use tch::{Device, Kind, Tensor};

use crate::output::{self, Kind as Output, PICTURES};
use crate::progress::Work;
use crate::trained::{SamplingArgs, Trained, TrainedArgs};
use crate::{files, message, pictures};

/// Draw samples from a trained model
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    /// The number of samples [default: 64, or 8 of each class with --label each]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,

    #[command(flatten)]
    sampling: SamplingArgs,

    /// One picture of all samples (.png, .jpg, .webp or .gif), or an .npy file; also a folder of PNGs for images, or a
    /// .csv table for points
    #[arg(long)]
    out: PathBuf,

    /// The number of images in a row of the picture [default: 8, or as many as there are of a class with --label each]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    columns: Option<u32>,

    /// The precision of convolutions and linear layers: f32, or bf16, which is faster and less exact
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let trained = args.trained.load()?;
    let classes = args.sampling.given.classes(&trained.model.card().data);
    let n = args.n.map_or_else(|| classes.map_or(64, |classes| 8 * classes), |n| n as usize);
    let request = args.sampling.request(trained.model.as_ref(), n)?;
    args.precision.check(trained.device)?;
    let mut accepted = PICTURES.to_vec();
    accepted.push(Output::Array);
    accepted.push(if trained.of_images() { Output::Folder } else { Output::Table });
    let output = output::kind(&args.out, &accepted)?;
    let _region = args.precision.region();
    write(output, args, &trained, &request)?;
    message::tell(format!("{n} samples in {}", args.out.display()));
    Ok(())
}

/// The number of samples that are drawn together. Where the output allows it, only one such part is in memory.
const AT_ONCE: usize = 1000;

/// The samples of a request in parts of [`AT_ONCE`], on the host. The first part has the seed of the request, so that a
/// larger request begins with the samples of a smaller one.
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
        let part = request.part(start, AT_ONCE.min(request.n - start), seed);
        let samples = model.sample(&part)?.to_device(Device::Cpu);
        check_finite(&samples, request)?;
        Ok(model.card().data.on_grids(&samples))
    })
}

/// # Errors
/// When a sample holds infinity or NaN.
fn check_finite(samples: &Tensor, request: &SampleRequest) -> gen_core::Result<()> {
    let rows = samples.isfinite().flatten(1, -1).all_dim(1, false).logical_not();
    let wrong = rows.sum(Kind::Int64).int64_value(&[]);
    if wrong == 0 {
        return Ok(());
    }
    let why = match request.options.get("temperature").and_then(toml::Value::as_float) {
        Some(temperature) if temperature > 1.0 => {
            format!("a temperature of {temperature} leads the model to where it has learned nothing: lower it")
        }
        _ => "the training has probably diverged: look at history.csv, and try `--best`".to_owned(),
    };
    Err(gen_core::Error::invalid(format!("{wrong} of {} samples hold infinity or NaN; {why}", samples.size()[0])))
}

fn write(output: Output, args: &Args, trained: &Trained, request: &SampleRequest) -> anyhow::Result<()> {
    let model = trained.model.as_ref();
    let (shape, out) = (model.card().data.shape, args.out.as_path());
    let size = shape.batch(request.n as i64);
    let work = Work::on("drawing samples");
    match output {
        // One picture of all samples needs all of them in memory.
        Output::Picture(_) => {
            let kind = if shape.is_image() { Kind::Float } else { Kind::Double };
            let samples = Tensor::empty(size.as_slice(), (kind, Device::Cpu));
            for (i, part) in parts(model, request, &work).enumerate() {
                let part = part?;
                samples.narrow(0, (i * AT_ONCE) as i64, part.size()[0]).copy_(&part);
            }
            let title = format!("samples of {}", model.card().name);
            // A row is one class.
            let of_a_class = args.sampling.given.classes(&model.card().data).map(|classes| request.n.div_ceil(classes));
            let columns = args.columns.map_or(of_a_class.unwrap_or(8), |columns| columns as usize);
            pictures::save_samples(&title, &[("samples", &samples)], out, columns)?;
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
        Output::Table => {
            let data = &model.card().data;
            files::write_table(out, &columns(data), rows(data, parts(model, request, &work)))?;
        }
    }
    Ok(())
}

/// The names of the columns of points: those of the data, or `x1`, `x2`, ...
fn columns(data: &DataSpec) -> Vec<String> {
    match data.columns.is_empty() {
        true => (1..=data.shape.dimensions()).map(|column| format!("x{column}")).collect(),
        false => data.columns.clone(),
    }
}

/// Points as rows of a table. Each number has the fewest digits that are read back as the same number.
fn rows(
    data: &DataSpec,
    parts: impl Iterator<Item = gen_core::Result<Tensor>>,
) -> impl Iterator<Item = gen_core::Result<Vec<String>>> {
    let dimension = data.shape.dimensions() as usize;
    parts.flat_map(move |part| -> Vec<gen_core::Result<Vec<String>>> {
        let values = part.and_then(|part| Ok(Vec::<f64>::try_from(part.to_kind(Kind::Double).reshape([-1]))?));
        match values {
            Ok(values) => values
                .chunks_exact(dimension)
                .map(|row| Ok(row.iter().map(|value| format!("{value:?}")).collect()))
                .collect(),
            Err(error) => vec![Err(error)],
        }
    })
}
