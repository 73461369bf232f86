use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use gen_core::data::{Dataset, Shape, signed_to_bytes};
use gen_core::model::Latent;
use gen_eval::FeatureSpace;
use gen_eval::features::PrincipalComponents;
use gen_report::svg::Anchor;
use gen_run::save_picture;
use image::RgbImage;
use tch::{Device, Kind, Tensor};

use crate::output::{self, Kind as Output, PICTURES};
use crate::pictures::canvas::{Canvas, TEXT_HEIGHT};
use crate::pictures::chart::{Chart, Window, coordinates, legend, legend_width};
use crate::pictures::colour;
use crate::progress::Work;
use crate::spaces::{self, Choices};
use crate::trained::{OwnData, Trained, TrainedArgs};
use crate::{arguments, files, message};

/// Draw a map of a trained model's latent space, coloured by class
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    #[command(flatten)]
    own: OwnData,

    /// A picture (.png, .jpg, .webp or .gif), or a .csv of the coordinates
    #[arg(long)]
    out: PathBuf,

    /// The number of latents; fewer if there are fewer test rows
    #[arg(short, long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    n: u32,

    /// The map to the plane: principal components, t-SNE, or both side by side
    #[arg(long, value_enum, default_value_t = Method::Both)]
    method: Method,

    /// The seed of random latents
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Pca,
    Tsne,
    Both,
}

/// Latents, and the classes of their rows if there are classes.
struct Latents {
    /// `[n, ...]`
    z: Tensor,
    classes: Option<Vec<usize>>,
    title: String,
}

/// A map of latents to the plane.
struct Map {
    /// `pca` or `tsne`.
    name: &'static str,
    points: Vec<[f64; 2]>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let output = output::kind(&args.out, &[&PICTURES[..], &[Output::Table]].concat())?;
    let trained = args.trained.load()?;
    let latent = trained.latent("there is no map to draw")?;
    let data = trained.data(&args.own)?;
    let work = Work::on("latents");
    let latents = encoded(args, &trained, latent, &data)?;
    work.next("map");
    let maps = maps(args.method, &latents.z)?;
    drop(work);
    match output {
        Output::Table => write_table(&args.out, &maps, latents.classes.as_deref(), &data.spec.classes)?,
        _ => save_picture(&draw(&maps, &latents, &data.spec.classes)?, &args.out)?,
    }
    message::tell(format!("{} in {}", latents.title, args.out.display()));
    Ok(())
}

/// The latents of test rows, or of samples if the model has no encoder.
fn encoded(args: &Args, trained: &Trained, latent: &dyn Latent, data: &Dataset) -> anyhow::Result<Latents> {
    let rows = if data.test.is_empty() { &data.train } else { &data.test };
    let rows = rows.narrow(0, rows.len().min(args.n as usize));
    let batch = trained.batch(data, &rows, args.seed);
    if let Some(z) = latent.represent(&batch.x, args.seed)? {
        let classes = rows.labels().map(Vec::<i64>::try_from).transpose()?;
        let title = format!("latents of {} rows of {} by {}", rows.len(), data.spec.name, trained.name());
        let classes = classes.map(|classes| classes.into_iter().map(|class| class as usize).collect());
        return Ok(Latents { z, classes, title });
    }
    let z = latent.prior(args.n as usize, args.seed)?;
    let classes = predicted(trained, data, &latent.decode(&z)?)?;
    let title = format!("latents of {} samples of {}, classes by a classifier", args.n, trained.name());
    Ok(Latents { z, classes: Some(classes), title })
}

/// The class of each sample by the classifier of the data set.
fn predicted(trained: &Trained, data: &Dataset, samples: &Tensor) -> anyhow::Result<Vec<usize>> {
    let space = match data.spec.shape {
        Shape::Image { .. } => spaces::of(data, &Choices::auto())?.into_iter().next(),
        Shape::Points { .. } => None,
    };
    let Some(FeatureSpace::Classifier { network, .. }) = space else {
        bail!(
            "`{}` has no encoder, and there is no classifier of `{}` for its samples: the map would have no classes",
            trained.name(),
            data.spec.name
        );
    };
    let mut images = signed_to_bytes(&samples.to_device(Device::Cpu));
    if let Shape::Image { height, width, .. } = network.shape() {
        // The padding is cut off.
        let (high, wide) = (images.size()[2], images.size()[3]);
        images = images.narrow(2, (high - height) / 2, height).narrow(3, (wide - width) / 2, width);
    }
    let classes = network.classes(&images).context("the classifier has no classes")?;
    let classes = Vec::<i64>::try_from(classes)?;
    Ok(classes.into_iter().map(|class| class as usize).collect())
}

/// The number of principal components of the latents that t-SNE starts from.
const BEFORE_TSNE: i64 = 50;

fn maps(method: Method, z: &Tensor) -> anyhow::Result<Vec<Map>> {
    let z = z.flatten(1, -1).to_kind(Kind::Double).to_device(Device::Cpu);
    let components = PrincipalComponents::fit(&z, BEFORE_TSNE)?.features(&z)?;
    let count = components.size()[1];
    let plane = if count == 1 { components.constant_pad_nd([0, 1]) } else { components.narrow(1, 0, 2) };
    let mut maps = Vec::new();
    if method != Method::Tsne {
        maps.push(Map { name: "pca", points: coordinates(&plane)? });
    }
    if method != Method::Pca {
        let start = &plane / plane.select(1, 0).std(true).clamp_min(1e-12) * 1e-4;
        maps.push(Map { name: "tsne", points: tsne(&components, &start)? });
    }
    Ok(maps)
}

/// t-SNE (van der Maaten & Hinton 2008) of `x`, `[n, features]`, with the Barnes-Hut approximation. It starts from the
/// principal components `start`, `[n, 2]`, so that the same latents give nearly the same map (Kobak & Linderman 2021).
fn tsne(x: &Tensor, start: &Tensor) -> anyhow::Result<Vec<[f64; 2]>> {
    let single = |x: &Tensor| Vec::<f32>::try_from(x.to_kind(Kind::Float).contiguous().view([-1]));
    let (n, dimensions) = (x.size()[0], x.size()[1] as usize);
    let (values, start) = (single(x)?, single(start)?);
    let rows: Vec<&[f32]> = values.chunks_exact(dimensions).collect();
    let perplexity = (((n - 1) / 3) as f32 - 1.0).clamp(1.0, 30.0);
    let distance = |a: &&[f32], b: &&[f32]| a.iter().zip(*b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    let mut map = bhtsne::tSNE::<f32, &[f32], 2>::new(&rows);
    map.perplexity(perplexity).epochs(750).initial_embedding(start).barnes_hut(0.5, distance);
    Ok(map.embedding().chunks_exact(2).map(|point| [point[0].into(), point[1].into()]).collect())
}

/// The maps side by side, and the classes with their colours.
fn draw(maps: &[Map], latents: &Latents, names: &[String]) -> anyhow::Result<RgbImage> {
    const SIDE: u32 = 480;
    const MARGIN: u32 = 14;
    const TOP: u32 = 2 * (TEXT_HEIGHT + 8);
    let shown = latents.classes.as_ref().map_or(&[][..], |_| names);
    let right = if shown.is_empty() { 0 } else { legend_width(shown) + MARGIN };
    let width = MARGIN + maps.len() as u32 * (SIDE + MARGIN) + right;
    let mut canvas = Canvas::new(width, TOP + SIDE + MARGIN);
    canvas.title(Anchor::Start, &latents.title, MARGIN, 6);
    for (i, map) in (0..).zip(maps) {
        let window = Window::of(&map.points);
        let chart = Chart { at: [MARGIN + i * (SIDE + MARGIN), TOP], size: [SIDE; 2], window };
        let colour = |i: usize| colour::of_class(latents.classes.as_ref().map_or(0, |classes| classes[i]));
        let (radius, weight) = if map.points.len() > 5000 { (1.2, 0.6) } else { (2.0, 0.8) };
        chart.points(&mut canvas, &map.points, radius, weight, colour);
        chart.frame(&mut canvas, if map.name == "pca" { "principal components" } else { "t-SNE" });
    }
    legend(&mut canvas, [width - right, TOP], shown, colour::of_class);
    canvas.into_image()
}

/// Writes a row for each latent: its index, its class, its place in each map.
fn write_table(out: &Path, maps: &[Map], classes: Option<&[usize]>, names: &[String]) -> anyhow::Result<()> {
    let mut header = vec!["index".to_owned(), "class".to_owned()];
    header.extend(maps.iter().flat_map(|map| [1, 2].map(|axis| format!("{}_{axis}", map.name))));
    let rows = (0..maps[0].points.len()).map(|i| {
        let class = classes.map(|classes| classes[i]);
        let name = class.map(|class| names.get(class).cloned().unwrap_or_else(|| class.to_string()));
        let mut row = vec![i.to_string(), name.unwrap_or_default()];
        row.extend(maps.iter().flat_map(|map| map.points[i].map(|value| value.to_string())));
        Ok(row)
    });
    Ok(files::write_table(out, &header, rows)?)
}
