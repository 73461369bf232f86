use std::path::PathBuf;

use anyhow::{Context, bail};
use gen_core::model::Latent;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use crate::arguments;
use crate::message;
use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures::canvas::{Canvas, FAINT, INK, blank, paste};
use crate::pictures::chart::{BELOW, Chart, LEFT, Window, coordinates, in_the_plane};
use crate::pictures::{self, colour};
use crate::progress::Work;
use crate::trained::{OwnData, Trained, TrainedArgs};
use gen_run::{PictureFormat, save_picture};

/// Draw the path between two latents of a trained model
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    #[command(flatten)]
    own: OwnData,

    /// A picture (.png, .jpg or .webp) with a row for each pair of latents, or a .gif that goes from one to the other
    /// and back
    #[arg(long)]
    out: PathBuf,

    /// The number of pairs of random latents
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "between")]
    rows: u32,

    /// The number of pictures in a row, with both ends
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=200))]
    steps: u32,

    /// Two test rows whose latents to go between, in place of random ones; may be repeated
    #[arg(long, value_name = "I,J", value_parser = arguments::row_pair)]
    between: Vec<[usize; 2]>,

    /// The seed of the latents
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,
}

/// The ends of the paths, and the test rows whose latents they are.
struct Ends {
    z: [Tensor; 2],
    originals: Option<[Tensor; 2]>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let is_animated = output::kind(&args.out, &PICTURES)? == Output::Picture(PictureFormat::Gif);
    let trained = args.trained.load()?;
    let latent = trained.latent("there is nothing to interpolate")?;
    let ends = if args.between.is_empty() { drawn(args, latent)? } else { encoded(args, &trained, latent)? };
    let path = latent.interpolation();
    let mut steps = Vec::new();
    let work = Work::on("interpolations");
    for i in 0..args.steps {
        work.at(i as usize, args.steps as usize);
        let fraction = f64::from(i) / f64::from(args.steps - 1);
        steps.push(latent.decode(&path.between(&ends.z[0], &ends.z[1], fraction)?)?);
    }
    work.next("picture");
    let frames = match (trained.of_images(), is_animated) {
        (true, false) => vec![image_rows(&steps, ends.originals.as_ref())?],
        (true, true) => steps.iter().map(image_grid).collect::<anyhow::Result<_>>()?,
        (false, _) => point_paths(args, &trained, &steps, is_animated)?,
    };
    match is_animated {
        false => save_picture(&frames[0], &args.out)?,
        true => pictures::save_gif(there_and_back(frames), &args.out)?,
    }
    drop(work);
    message::tell(format!("{} interpolations of {} steps in {}", ends.z[0].size()[0], args.steps, args.out.display()));
    Ok(())
}

/// Pairs of latents from the prior.
fn drawn(args: &Args, latent: &dyn Latent) -> anyhow::Result<Ends> {
    let rows = i64::from(args.rows);
    let z = latent.prior(2 * rows as usize, args.seed)?;
    Ok(Ends { z: [z.narrow(0, 0, rows), z.narrow(0, rows, rows)], originals: None })
}

/// The latents of test rows.
fn encoded(args: &Args, trained: &Trained, latent: &dyn Latent) -> anyhow::Result<Ends> {
    let data = trained.data(&args.own)?;
    let n = data.test.len();
    if let Some(row) = args.between.iter().flatten().find(|row| **row >= n) {
        bail!("`{}` has {n} test rows, numbered from 0: there is no row {row}", data.spec.name);
    }
    let _work = Work::on("latents");
    let mut ends = Vec::new();
    for end in 0..2 {
        let rows: Vec<i64> = args.between.iter().map(|pair| pair[end] as i64).collect();
        let x = trained.batch(&data, &data.test.select(&rows), args.seed).x;
        let z = latent.encode(&x, args.seed)?.with_context(|| {
            format!("`{}` has no encoder: leave out --between to go between random latents", trained.name())
        })?;
        ends.push((z, x));
    }
    let [(from, first), (to, last)]: [(Tensor, Tensor); 2] =
        ends.try_into().unwrap_or_else(|_| unreachable!("there are two ends"));
    Ok(Ends { z: [from, to], originals: Some([first, last]) })
}

/// The gap between pictures of a row, and between rows, in pixels.
const GAP: u32 = 2;
/// The gap between the pictures of the model and the test rows beside them, in pixels.
const APART: u32 = 10;

/// A row for each pair and a column for each step, with the test rows at both ends.
fn image_rows(steps: &[Tensor], originals: Option<&[Tensor; 2]>) -> anyhow::Result<RgbImage> {
    let mut columns: Vec<Vec<RgbImage>> = Vec::new();
    let tests =
        originals.map(|[first, last]| Ok::<_, anyhow::Error>([pictures::tiles(first)?, pictures::tiles(last)?]));
    let tests = tests.transpose()?;
    for step in steps {
        columns.push(pictures::tiles(step)?);
    }
    let (width, height) = columns[0][0].dimensions();
    let beside = if tests.is_some() { width + APART } else { 0 };
    let rows = columns[0].len() as u32;
    let middle = columns.len() as u32 * (width + GAP) + GAP;
    let mut picture = blank(middle + 2 * beside, rows * (height + GAP) + GAP);
    for (i, column) in (0..).zip(&columns) {
        for (j, tile) in (0..).zip(column) {
            paste(&mut picture, tile, beside + GAP + i * (width + GAP), GAP + j * (height + GAP));
        }
    }
    if let Some([first, last]) = &tests {
        for (j, (first, last)) in (0..).zip(first.iter().zip(last)) {
            let y = GAP + j * (height + GAP);
            paste(&mut picture, first, GAP, y);
            paste(&mut picture, last, beside + middle + APART - GAP, y);
        }
    }
    Ok(picture)
}

/// All pairs at one step.
fn image_grid(step: &Tensor) -> anyhow::Result<RgbImage> {
    let tiles = pictures::tiles(step)?;
    Ok(pictures::grid(&tiles, GAP))
}

/// Paths over samples in grey: all steps in one picture, or the steps up to each one in the frames of an animation.
/// Paths of one-dimensional data lie above each other.
fn point_paths(args: &Args, trained: &Trained, steps: &[Tensor], is_animated: bool) -> anyhow::Result<Vec<RgbImage>> {
    let samples = in_the_plane(&trained.points(2000, args.seed)?)?;
    let chart = Chart { at: [LEFT, 12], size: [480; 2], window: Window::around(&samples)? };
    let samples = coordinates(&samples)?;
    let of_numbers = steps.iter().any(|step| step.size()[1] == 1);
    let Window([_, [bottom, top]]) = chart.window;
    let at = |step: &Tensor| -> anyhow::Result<Vec<[f64; 2]>> {
        if !of_numbers {
            return coordinates(step);
        }
        let values = Vec::<f64>::try_from(step.select(1, 0).to_kind(Kind::Double).to_device(Device::Cpu))?;
        let places = (0..).map(|row| bottom + (f64::from(row) + 0.5) / values.len() as f64 * (top - bottom));
        Ok(values.iter().zip(places).map(|(x, y)| [*x, y]).collect())
    };
    let paths: Vec<Vec<[f64; 2]>> = steps.iter().map(at).collect::<anyhow::Result<_>>()?;
    let draw = |until: usize| {
        let mut canvas = Canvas::new(LEFT + 480 + 12, 12 + 480 + BELOW);
        chart.points(&mut canvas, &samples, 1.0, 1.0, |_| FAINT);
        chart.frame(&mut canvas, "");
        chart.axes(&mut canvas);
        for row in 0..paths[0].len() {
            let path: Vec<[f64; 2]> = paths[..=until].iter().map(|step| step[row]).collect();
            let line: Vec<_> = path.iter().map(|point| chart.place(*point)).collect();
            canvas.drawing.path(&line, 1.2, colour::of_class(row).0);
            chart.points(&mut canvas, &path, 3.0, 1.0, |_| colour::of_class(row));
            chart.points(&mut canvas, &path[..1], 5.5, 1.0, |_| INK);
            chart.points(&mut canvas, &path[..1], 4.0, 1.0, |_| colour::of_class(row));
        }
        canvas.into_image()
    };
    let last = steps.len() - 1;
    let first = if is_animated { 0 } else { last };
    (first..=last).map(draw).collect()
}

/// The frames with their times in milliseconds, longer at the ends, followed by the frames between the ends in reverse.
fn there_and_back(frames: Vec<RgbImage>) -> Vec<(RgbImage, u32)> {
    let last = frames.len().saturating_sub(1);
    let back: Vec<_> = frames.iter().take(last).skip(1).rev().map(|frame| (frame.clone(), 100)).collect();
    let there = frames.into_iter().enumerate().map(|(i, frame)| (frame, if i == 0 || i == last { 800 } else { 100 }));
    there.chain(back).collect()
}
