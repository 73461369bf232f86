use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::data::npy;
use gen_core::model::{Density, LikelihoodKind};
use gen_core::rng::{Purpose, derive};
use gen_core::run::write_atomically;
use image::{Rgb, RgbImage};
use tch::{Device, Kind, Tensor};

use crate::pictures::canvas::{Canvas, TEXT_HEIGHT};
use crate::pictures::chart::{BELOW, Chart, LEFT, Window, colour_bar, coordinates};
use crate::pictures::{self, colour};
use crate::trained::{Trained, TrainedArgs};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    /// A .png with the density beside the data, or the log-density itself: an .npy [grid, grid], the lowest y and the
    /// lowest x first, or a .csv with a row for each point
    #[arg(long)]
    out: PathBuf,

    /// Points on each side of the grid
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=2000))]
    grid: u32,

    /// The ends of both axes, as -4,4; around the data if not given
    #[arg(long, value_name = "LOW,HIGH", value_parser = range, allow_hyphen_values = true)]
    range: Option<Window>,

    /// Which likelihood, for models that have several: exact, lower-bound, importance-64 or ode; the tightest if not
    /// given
    #[arg(long)]
    kind: Option<LikelihoodKind>,

    /// The seed of likelihoods that are estimates
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// `-4,4`
fn range(text: &str) -> Result<Window, String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([low, high]) if low < high && low.is_finite() && high.is_finite() => {
            Ok(Window::square(*low, *high))
        }
        _ => Err(format!("two numbers, the lower first, with a comma between, as -4,4; found `{text}`")),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let output = Output::of(&args.out)?;
    let trained = args.trained.load()?;
    let density = trained.model.density().with_context(|| {
        format!("`{}` gives no likelihood to data: there is no density to draw", trained.name())
    })?;
    let shape = trained.model.card().data.shape;
    if shape.is_image() || shape.dimensions() != 2 {
        bail!(
            "a density is drawn of points in the plane, `{}` is a model of {shape:?}",
            trained.folder.name()
        );
    }
    let kind = kind(args, density, &trained)?;
    let data = trained.data()?;
    let window = match args.range {
        Some(window) => window,
        None => Window::around(&data.train.x.narrow(0, 0, data.train.len().min(20_000) as i64))?,
    };
    let grid = Grid::new(i64::from(args.grid), window);
    let nats = grid.evaluate(density, kind, args.seed, trained.device)?;
    let mass = nats.exp().sum(Kind::Double).double_value(&[]) * grid.cell();
    match output {
        Output::Picture => {
            let rows = if data.test.is_empty() { &data.train } else { &data.test };
            let points = coordinates(&rows.x.narrow(0, 0, rows.len().min(20_000) as i64))?;
            let title = format!("density of {} ({kind})", trained.name());
            pictures::save_png(&draw(&nats, window, &title, &points, &data.spec.name)?, &args.out)?;
        }
        Output::Array => {
            let bytes = npy::to_bytes(&nats)?;
            write_atomically(&args.out, |temporary| {
                std::fs::write(temporary, &bytes).map_err(gen_core::Error::io(temporary))
            })?;
        }
        Output::Table => write_table(&args.out, &grid, &nats)?,
    }
    crate::eprint(&format!(
        "log-density ({kind}) at {0} x {0} points in {1}; it integrates to {mass:.4} over the grid",
        args.grid,
        args.out.display()
    ));
    Ok(())
}

/// The likelihood that is asked for, or the tightest that there is.
fn kind(args: &Args, density: &dyn Density, trained: &Trained) -> anyhow::Result<LikelihoodKind> {
    let tightness = |kind: &LikelihoodKind| match kind {
        LikelihoodKind::Exact => (3, 0),
        LikelihoodKind::Ode | LikelihoodKind::DequantisedOde => (2, 0),
        LikelihoodKind::Importance(k) | LikelihoodKind::DequantisedImportance(k) => (1, *k),
        LikelihoodKind::LowerBound | LikelihoodKind::Dequantised => (0, 0),
    };
    let best = density.kinds().into_iter().max_by_key(tightness);
    let best = best.with_context(|| format!("`{}` computes no kind of likelihood", trained.name()))?;
    Ok(args.kind.unwrap_or(best))
}

enum Output {
    Picture,
    Array,
    Table,
}

impl Output {
    fn of(out: &Path) -> anyhow::Result<Self> {
        match pictures::extension(out) {
            "png" => Ok(Output::Picture),
            "npy" => Ok(Output::Array),
            "csv" => Ok(Output::Table),
            _ => bail!("--out takes a .png, an .npy or a .csv, found {}", out.display()),
        }
    }
}

/// The middles of equal cells of a window.
struct Grid {
    n: i64,
    window: Window,
}

/// Points whose likelihood is computed at once.
const AT_ONCE: i64 = 10_000;

impl Grid {
    fn new(n: i64, window: Window) -> Self {
        Grid { n, window }
    }

    /// The area of a cell.
    fn cell(&self) -> f64 {
        self.window.ends().map(|[low, high]| (high - low) / self.n as f64).iter().product()
    }

    /// x and y of the cells, `f64 [n]` each, ascending.
    fn axes(&self) -> [Tensor; 2] {
        self.window.ends().map(|[low, high]| {
            let place = (Tensor::arange(self.n, (Kind::Double, Device::Cpu)) + 0.5) / self.n as f64;
            place * (high - low) + low
        })
    }

    /// log p at every point, `f64 [n, n]` on the host, y first.
    fn evaluate(
        &self,
        density: &dyn Density,
        kind: LikelihoodKind,
        seed: u64,
        device: Device,
    ) -> anyhow::Result<Tensor> {
        let [x, y] = self.axes();
        let mesh = Tensor::meshgrid_indexing(&[&x, &y], "xy");
        let points = Tensor::stack(&mesh, 2).view([-1, 2]).to_device(device);
        let mut parts = Vec::new();
        for (i, part) in (0..).zip(points.split(AT_ONCE, 0)) {
            let nats = density.log_likelihood(&part, kind, derive(seed, Purpose::Evaluate, i))?;
            parts.push(nats.to_kind(Kind::Double).to_device(Device::Cpu));
        }
        Ok(Tensor::cat(&parts, 0).view([self.n, self.n]))
    }
}

fn write_table(out: &Path, grid: &Grid, nats: &Tensor) -> anyhow::Result<()> {
    let [x, y] = grid.axes().map(Vec::<f64>::try_from);
    let (x, y, nats) = (x?, y?, Vec::<f64>::try_from(nats.reshape([-1]))?);
    write_atomically(out, |temporary| {
        let failed = |error: csv::Error| gen_core::Error::format(out, error.to_string());
        let mut writer = csv::Writer::from_path(temporary).map_err(failed)?;
        writer.write_record(["x", "y", "log_density_nats"]).map_err(failed)?;
        for (i, nats) in nats.iter().enumerate() {
            let (x, y) = (x[i % x.len()], y[i / x.len()]);
            // Where the density is 0 its logarithm is no number that a CSV file should hold.
            let nats = if nats.is_finite() { nats.to_string() } else { String::new() };
            writer.write_record([x.to_string(), y.to_string(), nats]).map_err(failed)?;
        }
        writer.flush().map_err(gen_core::Error::io(temporary))
    })?;
    Ok(())
}

/// The density with its colours, and the data in the same window beside it.
fn draw(
    nats: &Tensor,
    window: Window,
    title: &str,
    data: &[[f64; 2]],
    name: &str,
) -> anyhow::Result<RgbImage> {
    const SIDE: u32 = 420;
    const TOP: u32 = TEXT_HEIGHT + 14;
    const BAR: u32 = 16;
    let n = nats.size()[0] as u32;
    let values = Vec::<f64>::try_from(nats.exp().reshape([-1]))?;
    let highest = values.iter().copied().filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    // The lowest y is at the bottom of the picture.
    let heat =
        RgbImage::from_fn(n, n, |u, v| colour::of_value(values[((n - 1 - v) * n + u) as usize] / highest));

    let model = Chart { at: [LEFT, TOP], side: SIDE, window };
    let bar = [LEFT + SIDE + 14, TOP, BAR, SIDE];
    let right = bar[0] + BAR + 62 + LEFT;
    let beside = Chart { at: [right, TOP], side: SIDE, window };
    let mut canvas = Canvas::new(right + SIDE + 14, TOP + SIDE + BELOW);
    model.background(&mut canvas, &heat);
    model.frame(&mut canvas, title);
    model.axes(&mut canvas);
    colour_bar(&mut canvas, bar, highest, colour::of_value);
    beside.points(&mut canvas, data, 0.9, 0.25, |_| Rgb([49, 60, 120]));
    beside.frame(&mut canvas, &format!("data: {name}"));
    beside.axes(&mut canvas);
    Ok(canvas.into_image())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_numbers_in_order() {
        assert_eq!(range("-4,4.5"), Ok(Window::square(-4.0, 4.5)));
        for wrong in ["4,-4", "1", "1,2,3", "a,b", "nan,1", "0,inf"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_grid_has_the_middles_of_its_cells() {
        let grid = Grid::new(4, Window::square(-2.0, 2.0));
        assert_eq!(Vec::<f64>::try_from(&grid.axes()[1]).unwrap(), [-1.5, -0.5, 0.5, 1.5]);
        assert_eq!(grid.cell(), 1.0);
    }
}
