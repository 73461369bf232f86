use std::path::PathBuf;

use anyhow::{Context, bail};
use gen_core::model::{Frame, Trajectory};
use gen_report::svg::Anchor;
use image::RgbImage;
use tch::Tensor;

use crate::message;
use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures::canvas::{Canvas, TEXT_HEIGHT, text_width};
use crate::pictures::chart::{Chart, Window, coordinates, in_the_plane};
use crate::pictures::{self, colour};
use crate::progress::Work;
use crate::trained::{SamplingArgs, TrainedArgs};
use gen_run::{PictureFormat, save_picture};

/// Draw the states of samples between noise and data
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    /// A picture (.png, .jpg or .webp) with a column for each moment, or a .gif
    #[arg(long)]
    out: PathBuf,

    /// The number of moments to show, from noise to sample
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    frames: u32,

    /// The number of samples [default: 8 images or 2000 points]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    n: Option<u32>,

    #[command(flatten)]
    sampling: SamplingArgs,
}

/// The largest number of images in a picture.
const MOST_IMAGES: u32 = 64;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let is_animated = output::kind(&args.out, &PICTURES)? == Output::Picture(PictureFormat::Gif);
    let trained = args.trained.load()?;
    let images = trained.of_images();
    let n = match args.n {
        Some(n) if images && n > MOST_IMAGES => {
            bail!("a trajectory shows up to {MOST_IMAGES} images, found {n}: choose a smaller -n")
        }
        Some(n) => n,
        None if images => 8,
        None => 2000,
    };
    let request = args.sampling.request(trained.model.as_ref(), n as usize)?;
    let work = Work::on("drawing samples");
    let trajectory = trained.model.trajectory(&request, args.frames as usize)?.with_context(|| {
        format!("`{}` makes a sample in one pass: there is nothing between noise and sample to show", trained.name())
    })?;
    work.next("picture");
    let picture = Picture::of(&trajectory, images)?;
    match is_animated {
        false => save_picture(&picture.strip()?, &args.out)?,
        true => pictures::save_gif(picture.animation()?, &args.out)?,
    }
    drop(work);
    message::tell(format!("{n} samples in {} moments in {}", trajectory.frames.len(), args.out.display()));
    Ok(())
}

/// The labels of the rows of a strip.
const STATE: &str = "x_t";
const ESTIMATE: &str = "guess";

/// The moments as tiles: images, or one chart of all points.
struct Picture {
    labels: Vec<String>,
    /// Of each moment the states, and the estimates where the model makes any.
    moments: Vec<(Vec<RgbImage>, Option<Vec<RgbImage>>)>,
}

impl Picture {
    fn of(trajectory: &Trajectory, images: bool) -> anyhow::Result<Self> {
        let frames = &trajectory.frames;
        let window = match frames.last() {
            Some(last) if !images => Some(Window::around(&in_the_plane(&last.state)?)?),
            _ => None,
        };
        let tiles = |x: &Tensor| match window {
            Some(window) => Ok(vec![scatter(&in_the_plane(x)?, window)?]),
            None => pictures::tiles(x),
        };
        let mut moments = Vec::new();
        for Frame { state, estimate, .. } in frames {
            moments.push((tiles(state)?, estimate.as_ref().map(tiles).transpose()?));
        }
        Ok(Picture { labels: frames.iter().map(|frame| frame.label.clone()).collect(), moments })
    }

    /// A column for each moment and a row for each sample; below the states of a sample the estimates.
    fn strip(&self) -> anyhow::Result<RgbImage> {
        const GAP: u32 = 2;
        const BETWEEN_SAMPLES: u32 = 8;
        let (width, height) = self.moments[0].0[0].dimensions();
        let samples = self.moments[0].0.len() as u32;
        let both = self.moments[0].1.is_some();
        let left = if both { text_width(ESTIMATE) + 10 } else { GAP };
        let widest = self.labels.iter().map(|label| text_width(label) + 8).max().unwrap_or(0);
        let column = (width + GAP).max(widest);
        let top = TEXT_HEIGHT + 6;
        let row = if both { 2 * (height + GAP) + BETWEEN_SAMPLES } else { height + GAP };
        let mut canvas = Canvas::new(left + self.moments.len() as u32 * column, top + samples * row);
        for (i, (label, (states, estimates))) in (0..).zip(self.labels.iter().zip(&self.moments)) {
            let middle = left + i * column + column / 2;
            canvas.text(Anchor::Middle, label, middle, 3);
            for (j, state) in (0..).zip(states) {
                canvas.paste(state, middle - width / 2, top + j * row);
            }
            for (j, estimate) in (0..).zip(estimates.iter().flatten()) {
                canvas.paste(estimate, middle - width / 2, top + j * row + height + GAP);
            }
        }
        for j in (0..samples).filter(|_| both) {
            let lines = [(STATE, top + j * row), (ESTIMATE, top + j * row + height + GAP)];
            for (name, y) in lines {
                let y = y + height.saturating_sub(TEXT_HEIGHT) / 2;
                canvas.text(Anchor::End, name, left - 6, y);
            }
        }
        canvas.into_image()
    }

    /// A frame for each moment: its label, the states, and on their right the estimates. The sample stays.
    fn animation(&self) -> anyhow::Result<Vec<(RgbImage, u32)>> {
        const APART: u32 = 12;
        let last = self.moments.len() - 1;
        let frame = |(i, (states, estimates)): (usize, &(Vec<RgbImage>, Option<Vec<RgbImage>>))| {
            let state = pictures::grid(states, 2);
            let estimate = estimates.as_ref().map(|estimates| pictures::grid(estimates, 2));
            let (width, height) = state.dimensions();
            let top = TEXT_HEIGHT + 8;
            let total = if estimate.is_some() { 2 * width + APART } else { width };
            let wide = total.max(self.labels.iter().map(|label| text_width(label)).max().unwrap_or(0) + 8);
            let mut canvas = Canvas::new(wide, top + height);
            canvas.paste(&state, 0, top);
            match estimate {
                Some(estimate) => {
                    canvas.paste(&estimate, width + APART, top);
                    canvas.text(Anchor::Middle, &self.labels[i], width / 2, 4);
                    canvas.text(Anchor::Middle, "estimate", width + APART + width / 2, 4);
                }
                None => canvas.text(Anchor::Middle, &self.labels[i], wide / 2, 4),
            }
            Ok::<_, anyhow::Error>((canvas.into_image()?, if i == last { 1600 } else { 160 }))
        };
        self.moments.iter().enumerate().map(frame).collect()
    }
}

/// All points in one chart.
fn scatter(x: &Tensor, window: Window) -> anyhow::Result<RgbImage> {
    let points = coordinates(x)?;
    let chart = Chart { at: [1, 1], size: [150; 2], window };
    let mut canvas = Canvas::new(152, 152);
    // The more points, the fainter each of them.
    let weight = (600.0 / points.len() as f64).clamp(0.08, 0.8);
    chart.points(&mut canvas, &points, 1.0, weight, |_| colour::of_class(0));
    chart.frame(&mut canvas, "");
    canvas.into_image()
}
