use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use gen_core::data::{Dataset, signed_to_bytes};
use gen_core::model::SampleRequest;
use gen_core::number::fixed;
use gen_report::svg::Anchor;
use gen_run::{save_picture, write_atomically};
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use crate::arguments;
use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures;
use crate::pictures::canvas::{Canvas, TEXT_HEIGHT, text_width};
use crate::progress::Work;
use crate::spaces::{self, Choices};
use crate::trained::{OwnData, TrainedArgs};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    /// A picture (.png, .jpg, .webp or .gif) with each sample, framed, and its nearest training images beside it, or a .csv
    /// of the distances
    #[arg(long)]
    out: PathBuf,

    /// The data set whose training images are looked through: the run's own, where it lies now, or another of images of the
    /// same size
    #[arg(long)]
    data: Option<String>,

    /// How many samples
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    n: u32,

    /// How many training images beside each sample
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=32))]
    k: u32,

    /// What near means: in pixels, or in a space of `gen evaluate --features`: auto (the features of the data set's
    /// classifier, if the program has one), random, pca, or the file of a classifier
    #[arg(long, default_value = "auto")]
    features: String,

    /// The same seed gives the same samples
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    /// Sampler by name, for models that have several
    #[arg(long)]
    sampler: Option<String>,

    /// Steps of an iterative sampler
    #[arg(long, value_parser = arguments::count)]
    steps: Option<usize>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let output = output::kind(&args.out, &[&PICTURES[..], &[Output::Table]].concat())?;
    let trained = args.trained.load()?;
    if !trained.of_images() {
        bail!("`{}` is a model of points: nearest images are shown of images", trained.folder.name());
    }
    let data = match &args.data {
        None => trained.data(&OwnData::default())?,
        Some(name) => trained.data_like_its_own(name)?,
    };
    let request = SampleRequest {
        sampler: args.sampler.clone(),
        steps: args.steps,
        ..SampleRequest::new(args.n as usize, args.seed)
    };
    let work = Work::on("drawing samples");
    let samples = trained.model.sample(&request)?.to_device(Device::Cpu);
    work.next("features of training images");
    let (space, embed) = space(&args.features, &data)?;
    let mut observe = |done, total| work.at(done, total);
    let train = embed(&data.train.x, &mut observe)?;
    let samples_there = embed(&signed_to_bytes(&samples), &mut |_, _| ())?;
    work.next("nearest training images");
    let nearest =
        Nearest::find(&samples_there, &train, args.k.into(), &mut |done, total| work.at(done, total))?;
    drop(work);
    match output {
        Output::Table => nearest.write(&args.out, &space)?,
        _ => {
            save_picture(&nearest.draw(&samples, &data)?, &args.out)?;
            nearest.print(&space)?;
        }
    }
    crate::eprint(&format!(
        "{} samples and the nearest of {} training images by {space} in {}",
        args.n,
        data.train.len(),
        args.out.display()
    ));
    Ok(())
}

/// Is told how much is done, and of how much.
type Observe<'o> = &'o mut dyn FnMut(usize, usize);

/// Images `u8 [n, channels, height, width]` to the vectors `f64 [n, features]` whose distances count.
type Embed = Box<dyn Fn(&Tensor, Observe<'_>) -> gen_core::Result<Tensor>>;

/// The space of this name, and what it is called in full.
fn space(name: &str, data: &Dataset) -> anyhow::Result<(String, Embed)> {
    if name == "pixels" {
        // In grey levels from 0 to 1.
        return Ok((
            "pixels".to_owned(),
            Box::new(|x, _| Ok(x.flatten(1, -1).to_kind(Kind::Double) / 255.0)),
        ));
    }
    let choices: Choices = name.parse()?;
    let Some(space) = spaces::of(data, &choices)?.into_iter().next() else {
        bail!("--features names no space")
    };
    Ok((space.name(), Box::new(move |x, observe| Ok(space.embed(x, observe)?.features))))
}

/// The nearest training rows of each sample, the nearest first.
struct Nearest {
    rows: Vec<Vec<i64>>,
    distances: Vec<Vec<f64>>,
}

impl Nearest {
    fn find(samples: &Tensor, train: &Tensor, k: i64, observe: Observe<'_>) -> anyhow::Result<Self> {
        let n = train.size()[0];
        if n < k {
            bail!("there are {n} training images, fewer than the {k} that --k asks for");
        }
        let (distances, rows) = gen_eval::nearest(samples, train, k, false, observe)?;
        let m = samples.size()[0];
        let lines = |i| (distances.get(i), rows.get(i));
        let mut found = Nearest { rows: Vec::new(), distances: Vec::new() };
        for (distances, rows) in (0..m).map(lines) {
            found.distances.push(Vec::try_from(distances)?);
            found.rows.push(Vec::try_from(rows)?);
        }
        Ok(found)
    }

    /// Each sample in a frame, its nearest training images beside it with their distances; long lists in two columns.
    fn draw(&self, samples: &Tensor, data: &Dataset) -> anyhow::Result<RgbImage> {
        const GAP: u32 = 4;
        const APART: u32 = 12;
        let samples = pictures::tiles(samples)?;
        let mut neighbours = Vec::new();
        for rows in &self.rows {
            let x = gen_core::data::bytes_to_signed(&data.train.select(rows).x);
            neighbours.push(pictures::tiles(&x)?);
        }
        let (tile_width, tile_height) = samples[0].dimensions();
        let label = |distance: f64| fixed(distance, 2);
        let widest = self.distances.iter().flatten().map(|distance| text_width(&label(*distance))).max();
        let cell = tile_width.max(widest.unwrap_or(0)) + GAP;
        let line = tile_height + TEXT_HEIGHT + GAP;
        let columns = if samples.len() > 8 { 2 } else { 1 };
        let lines = samples.len().div_ceil(columns);
        let block = APART + tile_width + APART + self.rows[0].len() as u32 * cell;
        let mut canvas = Canvas::new(columns as u32 * block + APART, APART + lines as u32 * line);
        for (i, sample) in samples.iter().enumerate() {
            let (left, top) = ((i / lines) as u32 * block + APART, APART + (i % lines) as u32 * line);
            canvas.frame([left, top, tile_width, tile_height], 3, pictures::colour::of_class(7));
            canvas.paste(sample, left, top);
            let start = left + tile_width + APART;
            for (j, (tile, distance)) in (0..).zip(neighbours[i].iter().zip(&self.distances[i])) {
                let middle = start + j * cell + cell / 2;
                canvas.paste(tile, middle - tile_width / 2, top);
                canvas.text(Anchor::Middle, &label(*distance), middle, top + tile_height);
            }
        }
        canvas.into_image()
    }

    /// A line for each sample, on standard output.
    fn print(&self, space: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{:>6}  training row: distance ({space}), nearest first", "sample")?;
        for (i, (rows, distances)) in self.rows.iter().zip(&self.distances).enumerate() {
            let cells: Vec<String> = rows
                .iter()
                .zip(distances)
                .map(|(row, distance)| format!("{row:>7}: {:<7}", fixed(*distance, 3)))
                .collect();
            writeln!(out, "{i:>6}  {}", cells.join(" ").trim_end())?;
        }
        Ok(())
    }

    /// A row for each pair.
    fn write(&self, out: &std::path::Path, space: &str) -> anyhow::Result<()> {
        write_atomically(out, |temporary| {
            let failed = |error: csv::Error| gen_core::Error::file(out)(error);
            let mut writer = csv::Writer::from_path(temporary).map_err(failed)?;
            writer.write_record(["sample", "rank", "train_index", "distance", "space"]).map_err(failed)?;
            for (i, (rows, distances)) in self.rows.iter().zip(&self.distances).enumerate() {
                for (j, (row, distance)) in rows.iter().zip(distances).enumerate() {
                    let record = [
                        i.to_string(),
                        (j + 1).to_string(),
                        row.to_string(),
                        distance.to_string(),
                        space.to_owned(),
                    ];
                    writer.write_record(record).map_err(failed)?;
                }
            }
            writer.flush().map_err(gen_core::Error::io(out))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_found_across_parts() {
        let train = Tensor::arange(25_000, (Kind::Double, Device::Cpu)).unsqueeze(1);
        let samples = Tensor::from_slice(&[9_999.6, 24_999.0, -3.0]).unsqueeze(1);
        let found = Nearest::find(&samples, &train, 2, &mut |_, _| ()).unwrap();
        assert_eq!(found.rows, [[10_000, 9_999], [24_999, 24_998], [0, 1]]);
        assert!((found.distances[0][0] - 0.4).abs() < 1e-9 && found.distances[1][0] == 0.0);
        assert!(Nearest::find(&samples, &train.narrow(0, 0, 1), 2, &mut |_, _| ()).is_err());
    }
}
