use std::path::{Path, PathBuf};

use anyhow::bail;
use gen_core::data::{Batch, Dataset};
use gen_core::model::{Density, LikelihoodKind};
use gen_core::number::fixed;
use gen_core::rng::{Purpose, derive};
use gen_data::npy;
use gen_run::save_picture;
use image::{Rgb, RgbImage};
use tch::{Device, Kind, Tensor};

use crate::arguments::Interval;
use crate::given::GivenArgs;
use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures::canvas::{Canvas, TEXT_HEIGHT};
use crate::pictures::chart::{BELOW, Chart, LEFT, Window, colour_bar, coordinates};
use crate::pictures::colour;
use crate::pictures::histogram::histogram_and_curve;
use crate::progress::Work;
use crate::trained::{OwnData, Trained, TrainedArgs};
use crate::{arguments, catalog, files, message};

/// Draw the density that a trained model of numbers or of points in the plane has learned
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    #[command(flatten)]
    own: OwnData,

    /// A picture (.png, .jpg, .webp or .gif) of the density beside the data, or the log-density: an .npy [grid, grid],
    /// with the lowest y and the lowest x first, or a .csv with a row for each point. For data of one column, the
    /// picture is a curve over a histogram, and the .npy is [grid]
    #[arg(long)]
    out: PathBuf,

    /// The number of points on each side of the grid
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=2000))]
    grid: u32,

    /// The ends of both axes, such as -4,4 [default: around the data]
    #[arg(long, value_name = "LOW,HIGH", value_parser = arguments::interval, allow_hyphen_values = true)]
    range: Option<Interval>,

    /// The kind of likelihood, for models that have several: exact, lower-bound, importance-64 or ode [default: the
    /// tightest]
    #[arg(long)]
    kind: Option<LikelihoodKind>,

    /// The seed of likelihoods that are estimates
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    #[command(flatten)]
    given: GivenArgs,
}

/// The largest number of rows that are drawn beside a density.
const DRAWN: usize = 20_000;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let output = output::kind(&args.out, &[&PICTURES[..], &[Output::Array, Output::Table]].concat())?;
    let trained = args.trained.load()?;
    let density = trained.density("there is no density to draw")?;
    let shape = trained.model.card().data.shape;
    if shape.is_image() || shape.dimensions() > 2 {
        bail!(
            "a density is drawn of numbers or of points in the plane, `{}` is a model of {shape:?}",
            trained.folder.name()
        );
    }
    let kind = trained.likelihood(args.kind, tightest(density))?;
    let data = trained.data(&args.own)?;
    catalog::tell_of_discrete_columns(&data)?;
    let window = match args.range {
        Some(Interval { low, high }) => Window::square(low, high),
        None => Window::around(&data.train.x.narrow(0, 0, data.train.len().min(DRAWN) as i64))?,
    };
    let grid = Grid { n: i64::from(args.grid), dimensions: shape.dimensions(), window };
    let nats = grid.evaluate(density, kind, args.seed, &trained, &args.given)?;
    let mass = nats.exp().sum(Kind::Double).double_value(&[]) * grid.cell();
    match output {
        Output::Picture(_) => {
            let title = format!("density of {} ({kind})", trained.name());
            save_picture(&draw(&grid, &nats, &title, &data)?, &args.out)?;
        }
        Output::Table => write_table(&args.out, &grid, &nats)?,
        Output::Array | Output::Folder => {
            files::write_bytes(&args.out, npy::to_bytes(&nats)?)?;
        }
    }
    let points = vec![args.grid.to_string(); shape.dimensions() as usize].join(" x ");
    message::tell(format!(
        "log-density ({kind}) at {points} points in {}; it integrates to {} over the grid",
        args.out.display(),
        fixed(mass, 4)
    ));
    Ok(())
}

/// The first test rows, or the first training rows if there are no test rows.
fn drawn_rows(data: &Dataset) -> Tensor {
    let rows = if data.test.is_empty() { &data.train } else { &data.test };
    rows.x.narrow(0, 0, rows.len().min(DRAWN) as i64)
}

/// The tightest kind of likelihood.
fn tightest(density: &dyn Density) -> Option<LikelihoodKind> {
    let tightness = |kind: &LikelihoodKind| match kind {
        LikelihoodKind::Exact => (3, 0),
        LikelihoodKind::Ode | LikelihoodKind::DequantisedOde => (2, 0),
        LikelihoodKind::Importance(k) | LikelihoodKind::DequantisedImportance(k) => (1, *k),
        LikelihoodKind::LowerBound | LikelihoodKind::Dequantised => (0, 0),
    };
    density.kinds().into_iter().max_by_key(tightness)
}

/// The centres of equal cells of a window.
struct Grid {
    n: i64,
    /// 2, or 1 for a grid along the first axis of the window.
    dimensions: i64,
    window: Window,
}

/// The number of points whose likelihood is computed together, small enough to show progress.
const AT_ONCE: usize = 1000;

impl Grid {
    /// The length or the area of a cell.
    fn cell(&self) -> f64 {
        let sides = self.window.0.map(|[low, high]| (high - low) / self.n as f64);
        sides.iter().take(self.dimensions as usize).product()
    }

    /// The centres of the cells on each axis, `f64 [n]`, ascending.
    fn axes(&self) -> [Tensor; 2] {
        self.window.0.map(|[low, high]| {
            let place = (Tensor::arange(self.n, (Kind::Double, Device::Cpu)) + 0.5) / self.n as f64;
            place * (high - low) + low
        })
    }

    /// log p at every point, on the host: `f64 [n]`, or `f64 [n, n]`, y first.
    fn evaluate(
        &self,
        density: &dyn Density,
        kind: LikelihoodKind,
        seed: u64,
        trained: &Trained,
        given: &GivenArgs,
    ) -> anyhow::Result<Tensor> {
        let [x, y] = self.axes();
        let points = match self.dimensions {
            1 => x.unsqueeze(1),
            _ => Tensor::stack(&Tensor::meshgrid_indexing(&[&x, &y], "xy"), 2).view([-1, 2]),
        };
        let condition = given.condition(trained.model.card(), points.size()[0] as usize)?;
        let points = Batch { x: points, condition }.to_device(trained.device);
        let work = Work::on(format!("log-density ({kind})"));
        let mut parts = Vec::new();
        for (i, start) in (0..).zip((0..points.len()).step_by(AT_ONCE)) {
            work.at(start, points.len());
            let part = points.narrow(start as i64, AT_ONCE.min(points.len() - start) as i64);
            let nats = density.log_likelihood(&part, kind, derive(seed, Purpose::Evaluate, i))?;
            parts.push(nats.to_kind(Kind::Double).to_device(Device::Cpu));
        }
        Ok(Tensor::cat(&parts, 0).view(vec![self.n; self.dimensions as usize].as_slice()))
    }
}

fn write_table(out: &Path, grid: &Grid, nats: &Tensor) -> anyhow::Result<()> {
    let [x, y] = grid.axes().map(Vec::<f64>::try_from);
    let (x, y, nats) = (x?, y?, Vec::<f64>::try_from(nats.reshape([-1]))?);
    let axes = ["x", "y"].into_iter().take(grid.dimensions as usize);
    let header: Vec<String> = axes.chain(["log_density_nats"]).map(str::to_owned).collect();
    let rows = nats.iter().enumerate().map(|(i, nats)| {
        let place = [x[i % x.len()], y[(i / x.len()).min(y.len() - 1)]];
        let place = place.into_iter().take(grid.dimensions as usize).map(|value| value.to_string());
        // The log-density is infinite where the density is 0: its cell stays empty.
        let nats = if nats.is_finite() { nats.to_string() } else { String::new() };
        Ok(place.chain([nats]).collect())
    });
    Ok(files::write_table(out, &header, rows)?)
}

fn draw(grid: &Grid, nats: &Tensor, title: &str, data: &Dataset) -> anyhow::Result<RgbImage> {
    if grid.dimensions == 1 {
        let [x, _] = grid.axes();
        let rows = Vec::<f64>::try_from(drawn_rows(data).select(1, 0).to_kind(Kind::Double))?;
        let names = [format!("data: {}", data.spec.name), "model".to_owned()];
        let (x, y) = (Vec::<f64>::try_from(x)?, Vec::<f64>::try_from(nats.exp())?);
        return histogram_and_curve(title, &names, &rows, grid.window.0[0], [&x, &y]);
    }
    draw_plane(nats, grid.window, title, &coordinates(&drawn_rows(data))?, &data.spec.name)
}

/// The density with its colours, and the data in the same window beside it.
fn draw_plane(nats: &Tensor, window: Window, title: &str, data: &[[f64; 2]], name: &str) -> anyhow::Result<RgbImage> {
    const SIDE: u32 = 420;
    const TOP: u32 = TEXT_HEIGHT + 14;
    const BAR: u32 = 16;
    let n = nats.size()[0] as u32;
    let values = Vec::<f64>::try_from(nats.exp().reshape([-1]))?;
    let highest = values.iter().copied().filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    // The lowest y is at the bottom of the picture.
    let heat = RgbImage::from_fn(n, n, |u, v| colour::of_value(values[((n - 1 - v) * n + u) as usize] / highest));

    let model = Chart { at: [LEFT, TOP], size: [SIDE; 2], window };
    let bar = [LEFT + SIDE + 14, TOP, BAR, SIDE];
    let right = bar[0] + BAR + 62 + LEFT;
    let beside = Chart { at: [right, TOP], size: [SIDE; 2], window };
    let mut canvas = Canvas::new(right + SIDE + 14, TOP + SIDE + BELOW);
    model.background(&mut canvas, &heat);
    model.frame(&mut canvas, title);
    model.axes(&mut canvas);
    colour_bar(&mut canvas, bar, highest, colour::of_value);
    beside.points(&mut canvas, data, 0.9, 0.25, |_| Rgb([49, 60, 120]));
    beside.frame(&mut canvas, &format!("data: {name}"));
    beside.axes(&mut canvas);
    canvas.into_image()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_the_centres_of_its_cells() {
        let grid = Grid { n: 4, dimensions: 2, window: Window::square(-4.0, 4.0) };
        assert_eq!(Vec::<f64>::try_from(&grid.axes()[1]).unwrap(), [-3.0, -1.0, 1.0, 3.0]);
        assert_eq!((grid.cell(), Grid { dimensions: 1, ..grid }.cell()), (4.0, 2.0));
    }
}
