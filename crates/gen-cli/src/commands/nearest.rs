use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use gen_core::data::{Dataset, signed_to_bytes};
use gen_core::number::fixed;
use gen_report::aligned;
use gen_report::svg::Anchor;
use gen_run::save_picture;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures;
use crate::pictures::canvas::{Canvas, TEXT_HEIGHT, text_width};
use crate::progress::Work;
use crate::spaces::{self, Choices};
use crate::trained::{OwnData, SamplingArgs, TrainedArgs};
use crate::{files, message};

/// Draw samples beside the training images that are nearest to them
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    /// A picture (.png, .jpg, .webp or .gif) with each sample, framed, and its nearest training images beside it, or a
    /// .csv of the distances
    #[arg(long)]
    out: PathBuf,

    /// The data set whose training images are searched, if not the run's own: its new place, or another data set of
    /// images of the same size
    #[arg(long)]
    data: Option<String>,

    /// The number of samples
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    n: u32,

    /// The number of training images beside each sample
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=32))]
    k: u32,

    /// The space of the distances: pixels, or a space of `gen evaluate --features`, such as auto (the built-in
    /// classifier of the data set, if there is one), random, pca, or the file of a feature network
    #[arg(long, default_value = "auto")]
    features: String,

    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let output = output::kind(&args.out, &[&PICTURES[..], &[Output::Table]].concat())?;
    let trained = args.trained.load()?;
    if !trained.of_images() {
        bail!("`{}` is a model of points: nearest training images need a model of images", trained.folder.name());
    }
    let data = match &args.data {
        None => trained.data(&OwnData::default())?,
        Some(name) => trained.data_like_its_own(name)?,
    };
    let work = Work::on("drawing samples");
    let request = args.sampling.request(trained.model.as_ref(), args.n as usize)?;
    let samples = trained.model.sample(&request)?.to_device(Device::Cpu);
    work.next("features of training images");
    let (space, embed) = space(&args.features, &data)?;
    let mut observe = |done, total| work.at(done, total);
    let train = embed(&data.train.x, &mut observe)?;
    let samples_there = embed(&signed_to_bytes(&samples), &mut |_, _| ())?;
    work.next("nearest training images");
    let nearest = Nearest::find(&samples_there, &train, args.k.into(), &mut |done, total| work.at(done, total))?;
    drop(work);
    match output {
        Output::Table => nearest.write(&args.out, &space)?,
        _ => {
            save_picture(&nearest.draw(&samples, &data)?, &args.out)?;
            nearest.print(&space)?;
        }
    }
    message::tell(format!(
        "{} samples and the nearest of {} training images by {space} in {}",
        args.n,
        data.train.len(),
        args.out.display()
    ));
    Ok(())
}

/// Receives how much is done, and how much there is to do.
type Observe<'o> = &'o mut dyn FnMut(usize, usize);

/// Maps images `u8 [n, channels, height, width]` to vectors `f64 [n, features]` whose distances are compared.
type Embed = Box<dyn Fn(&Tensor, Observe<'_>) -> gen_core::Result<Tensor>>;

/// The space of this name, and its full name.
fn space(name: &str, data: &Dataset) -> anyhow::Result<(String, Embed)> {
    if name == "pixels" {
        // Grey levels from 0 to 1.
        return Ok(("pixels".to_owned(), Box::new(|x, _| Ok(x.flatten(1, -1).to_kind(Kind::Double) / 255.0))));
    }
    let choices: Choices = name.parse()?;
    let Some(space) = spaces::of(data, &choices)?.into_iter().next() else { bail!("--features names no space") };
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

    /// Prints a line for each sample.
    fn print(&self, space: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "sample  training row: distance ({space}), nearest first")?;
        let lines = self.rows.iter().zip(&self.distances).enumerate().map(|(i, (rows, distances))| {
            let cells = rows.iter().zip(distances).map(|(row, distance)| format!("{row}: {}", fixed(*distance, 3)));
            std::iter::once(i.to_string()).chain(cells).collect::<Vec<_>>()
        });
        Ok(out.write_all(aligned(lines, |_| true).as_bytes())?)
    }

    /// Writes a row for each pair of a sample and a training row.
    fn write(&self, out: &std::path::Path, space: &str) -> anyhow::Result<()> {
        let header = ["sample", "rank", "train_index", "distance", "space"].map(str::to_owned);
        let rows = self.rows.iter().zip(&self.distances).enumerate().flat_map(|(i, (rows, distances))| {
            rows.iter().zip(distances).zip(1usize..).map(move |((row, distance), rank)| {
                Ok(vec![i.to_string(), rank.to_string(), row.to_string(), distance.to_string(), space.to_owned()])
            })
        });
        Ok(files::write_table(out, &header, rows)?)
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
