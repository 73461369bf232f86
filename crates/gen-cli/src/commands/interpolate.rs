use std::path::PathBuf;

use anyhow::{Context, bail};
use gen_core::model::Latent;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use crate::arguments;
use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures::canvas::{Canvas, FAINT, INK, blank, paste};
use crate::pictures::chart::{BELOW, Chart, LEFT, Window, coordinates, in_the_plane};
use crate::pictures::{self, colour};
use crate::progress::Work;
use crate::trained::{OwnData, Trained, TrainedArgs};
use gen_run::{PictureFormat, save_picture};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    #[command(flatten)]
    own: OwnData,

    /// A picture (.png, .jpg or .webp) with a row for each pair of codes, or a .gif that goes from one to the other and back
    #[arg(long)]
    out: PathBuf,

    /// How many pairs of codes, drawn as samples are
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "between")]
    rows: u32,

    /// Pictures in a row, both ends included
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=200))]
    steps: u32,

    /// Two rows of the test set, whose codes to go between, in place of samples; again for another pair
    #[arg(long, value_name = "I,J", value_parser = pair)]
    between: Vec<[usize; 2]>,

    /// The same seed draws the same codes
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,
}

/// `3,17`
fn pair(text: &str) -> Result<[usize; 2], String> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([from, to]) => Ok([*from, *to]),
        _ => Err(format!("two row numbers with a comma between, as 3,17; found `{text}`")),
    }
}

/// Where to go from and to, and the test rows whose codes they are.
struct Ends {
    codes: [Tensor; 2],
    originals: Option<[Tensor; 2]>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let is_animated = output::kind(&args.out, &PICTURES)? == Output::Picture(PictureFormat::Gif);
    let trained = args.trained.load()?;
    let latent = trained.model.latent().with_context(|| {
        format!("`{}` makes its samples of no codes: there is nothing to interpolate", trained.name())
    })?;
    let ends = if args.between.is_empty() { drawn(args, latent)? } else { encoded(args, &trained, latent)? };
    let way = latent.interpolation();
    let mut steps = Vec::new();
    let work = Work::on("interpolations");
    for i in 0..args.steps {
        work.at(i as usize, args.steps as usize);
        let fraction = f64::from(i) / f64::from(args.steps - 1);
        steps.push(latent.decode(&way.between(&ends.codes[0], &ends.codes[1], fraction)?)?);
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
    crate::eprint(&format!(
        "{} interpolations of {} steps in {}",
        ends.codes[0].size()[0],
        args.steps,
        args.out.display()
    ));
    Ok(())
}

/// Pairs of codes from the prior.
fn drawn(args: &Args, latent: &dyn Latent) -> anyhow::Result<Ends> {
    let rows = i64::from(args.rows);
    let codes = latent.prior(2 * rows as usize, args.seed)?;
    Ok(Ends { codes: [codes.narrow(0, 0, rows), codes.narrow(0, rows, rows)], originals: None })
}

/// The codes of test rows.
fn encoded(args: &Args, trained: &Trained, latent: &dyn Latent) -> anyhow::Result<Ends> {
    let data = trained.data(&args.own)?;
    let n = data.test.len();
    if let Some(row) = args.between.iter().flatten().find(|row| **row >= n) {
        bail!("`{}` has {n} test rows, numbered from 0: there is no row {row}", data.spec.name);
    }
    let _work = Work::on("codes");
    let mut ends = Vec::new();
    for end in 0..2 {
        let rows: Vec<i64> = args.between.iter().map(|pair| pair[end] as i64).collect();
        let x = trained.batch(&data, &data.test.select(&rows), args.seed).x;
        let codes = latent.encode(&x, args.seed)?.with_context(|| {
            format!(
                "`{}` has no way from data to codes: without --between, it goes between samples",
                trained.name()
            )
        })?;
        ends.push((codes, x));
    }
    let [(from, first), (to, last)]: [(Tensor, Tensor); 2] =
        ends.try_into().unwrap_or_else(|_| unreachable!("there are two ends"));
    Ok(Ends { codes: [from, to], originals: Some([first, last]) })
}

/// Between the pictures of a row, and between rows.
const GAP: u32 = 2;
/// Between what the model made and the test rows beside it.
const APART: u32 = 10;

/// A row for each pair, a column for each step; test rows that the codes are of stand apart at both ends.
fn image_rows(steps: &[Tensor], originals: Option<&[Tensor; 2]>) -> anyhow::Result<RgbImage> {
    let mut columns: Vec<Vec<RgbImage>> = Vec::new();
    let tests = originals
        .map(|[first, last]| Ok::<_, anyhow::Error>([pictures::tiles(first)?, pictures::tiles(last)?]));
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

/// Paths over samples in grey: all steps of them in one picture, up to each step in the frames of an animation. Those of
/// numbers have places one above the other.
fn point_paths(
    args: &Args,
    trained: &Trained,
    steps: &[Tensor],
    is_animated: bool,
) -> anyhow::Result<Vec<RgbImage>> {
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

/// The frames with their times, those at the ends longer, and then those between the ends in reverse.
fn there_and_back(frames: Vec<RgbImage>) -> Vec<(RgbImage, u32)> {
    let last = frames.len().saturating_sub(1);
    let back: Vec<_> = frames.iter().take(last).skip(1).rev().map(|frame| (frame.clone(), 100)).collect();
    let there =
        frames.into_iter().enumerate().map(|(i, frame)| (frame, if i == 0 || i == last { 800 } else { 100 }));
    there.chain(back).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_two_numbers() {
        assert_eq!(pair("3, 17"), Ok([3, 17]));
        for wrong in ["3", "3,4,5", "-1,2", "a,b", ""] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
