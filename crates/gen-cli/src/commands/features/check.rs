use std::io::Write;

use anyhow::bail;
use gen_core::data::Dataset;
use gen_core::eval::{EvaluateOptions, FeatureSpace, Measurement, Metric, NoCache, Protocol, Reference};
use gen_core::rng::{Purpose, stream};
use tch::{Device, Kind, Tensor};

use crate::catalog;
use crate::device::Compute;
use crate::spaces::{self, Choices};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A data set with classes
    #[arg(long)]
    data: String,

    /// How many images to compare
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

    /// The spaces, with commas between, as `gen evaluate --features` takes them
    #[arg(long, default_value = "auto,pca", value_name = "SPACE,...")]
    features: Choices,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.compute.start()?;
    let data = catalog::load(&args.data)?;
    if !data.spec.shape.is_image() || data.train.labels.is_none() {
        bail!("`{}` has no classes of images to leave out", args.data);
    }
    let spaces = spaces::of(&data, &args.features)?;
    let options = options(args.n as usize);
    let protocol = Protocol::new(&data, &spaces, &options, &NoCache, &mut |_| ())?;
    let mut out = std::io::stdout().lock();
    let names: Vec<String> = spaces.iter().map(FeatureSpace::name).collect();
    writeln!(out, "In {}:\n", names.join(" / "))?;
    writeln!(out, "| set | FD | KID x 1000 | precision | recall | density | coverage | copies |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for rung in RUNGS {
        let found = protocol.compare(&rung.samples(&data, args.n as usize)?, &mut |_| ())?.metrics;
        let cell = |metric: &str, scale: f64, digits: usize| {
            let value = |space: &String| {
                let of_space = |found: &&Measurement| found.metric == metric && found.space == *space;
                found
                    .iter()
                    .find(of_space)
                    .map_or(String::new(), |found| format!("{:.digits$}", scale * found.value))
            };
            names.iter().map(value).collect::<Vec<_>>().join(" / ")
        };
        let cells = [
            cell("fd", 1.0, 3),
            cell("kid", 1e3, 2),
            cell("precision", 1.0, 2),
            cell("recall", 1.0, 2),
            cell("density", 1.0, 2),
            cell("coverage", 1.0, 2),
            cell("copied_share", 1.0, 2),
        ];
        writeln!(out, "| {} | {} |", rung.name(), cells.join(" | "))?;
        out.flush()?;
    }
    Ok(())
}

/// What a ladder is measured by.
fn options(n: usize) -> EvaluateOptions {
    let metrics = vec![Metric::Fd, Metric::Kid, Metric::Prdc, Metric::Memorisation];
    EvaluateOptions { n, metrics, ..EvaluateOptions::default() }
}

/// Sets of known quality, against which a feature space is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    Floor,
    MissingClasses,
    Blur,
    PixelGaussian,
    PixelNoise,
    OneImage,
}

const RUNGS: [Rung; 6] =
    [Rung::Floor, Rung::MissingClasses, Rung::Blur, Rung::PixelGaussian, Rung::PixelNoise, Rung::OneImage];

impl Rung {
    fn name(self) -> &'static str {
        match self {
            Rung::Floor => "training images (floor)",
            Rung::MissingClasses => "training images without classes 0 and 1",
            Rung::Blur => "3x3 blur of training images",
            Rung::PixelGaussian => "pixel Gaussian, full covariance",
            Rung::PixelNoise => "uniform noise",
            Rung::OneImage => "one image and a little noise",
        }
    }

    /// Up to as many images as there are test images.
    fn samples(self, data: &Dataset, n: usize) -> gen_core::Result<Tensor> {
        let n = n.min(data.test.len());
        let bytes = |x: &Tensor| x.round().clamp(0.0, 255.0).to_kind(Kind::Uint8);
        match self {
            Rung::Floor => Reference::Floor.sample(data, n, 0),
            Rung::PixelGaussian => Reference::PixelGaussian.sample(data, n, 0),
            Rung::PixelNoise => Reference::PixelNoise.sample(data, n, 0),
            Rung::Blur => {
                let x = Reference::Floor.sample(data, n, 0)?.to_kind(Kind::Float);
                Ok(bytes(&x.avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None)))
            }
            Rung::MissingClasses => {
                let labels = data.train.labels.as_ref().expect("checked before");
                let kept = labels.ge(2).nonzero().squeeze_dim(1);
                let kept = kept.narrow(0, 0, kept.size()[0].min(n as i64));
                Ok(data.train.x.index_select(0, &kept))
            }
            Rung::OneImage => {
                let shape = data.spec.shape.batch(n as i64);
                let rng = stream(0, Purpose::Evaluate, 0);
                let noise = rng.randn(shape, (Kind::Float, Device::Cpu)) * 5.0;
                Ok(bytes(&(data.train.x.get(0).to_kind(Kind::Float) + noise)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen {
        fd: f64,
        precision: f64,
        recall: f64,
        coverage: f64,
        copied: f64,
    }

    /// The ladder of the digits, which are part of the program.
    #[test]
    fn every_space_sees_every_distortion() {
        let data = catalog::load("digits").unwrap();
        let spaces = spaces::of(&data, &"auto,pca".parse().unwrap()).unwrap();
        let options = options(10_000);
        let protocol = Protocol::new(&data, &spaces, &options, &NoCache, &mut |_| ()).unwrap();
        let measured: Vec<(Rung, Vec<Measurement>)> = RUNGS
            .into_iter()
            .map(|rung| {
                let samples = rung.samples(&data, 10_000).unwrap();
                (rung, protocol.compare(&samples, &mut |_| ()).unwrap().metrics)
            })
            .collect();
        assert_eq!(spaces.len(), 3);
        for name in spaces.iter().map(FeatureSpace::name) {
            let at = |rung: Rung| {
                let found = &measured.iter().find(|(there, _)| *there == rung).unwrap().1;
                let value = |metric: &str| {
                    found.iter().find(|m| m.space == name && m.metric == metric).unwrap().value
                };
                let seen = Seen {
                    fd: value("fd"),
                    precision: value("precision"),
                    recall: value("recall"),
                    coverage: value("coverage"),
                    copied: value("copied_share"),
                };
                let Seen { fd, precision, recall, coverage, copied } = seen;
                let text = format!("{name} {rung:?} {fd} {precision} {recall} {coverage} {copied}");
                (text, seen)
            };
            let (text, floor) = at(Rung::Floor);
            assert!(floor.precision > 0.7 && floor.recall > 0.7 && floor.coverage > 0.85, "{text}");
            assert_eq!(floor.copied, 1.0, "{text}");
            for rung in [Rung::MissingClasses, Rung::Blur, Rung::PixelGaussian] {
                let (text, seen) = at(rung);
                // The Gaussian has by construction the second moments that the distance of pixels is made of.
                let by_pixels = rung == Rung::PixelGaussian && name.starts_with("pca");
                assert!(seen.fd > 1.3 * floor.fd || by_pixels, "{text}");
                assert!(seen.coverage < floor.coverage - 0.05, "{text}");
            }
            let (text, noise) = at(Rung::PixelNoise);
            assert!(noise.recall < 0.1 && noise.coverage < 0.1, "{text}");
            for rung in RUNGS.into_iter().filter(|rung| !matches!(rung, Rung::PixelNoise | Rung::OneImage)) {
                assert!(noise.fd > at(rung).1.fd, "{text} {}", at(rung).0);
            }
            let (text, one) = at(Rung::OneImage);
            assert!(one.fd > 10.0 * floor.fd && one.precision > 0.9, "{text}");
            assert!(one.recall < 0.1 && one.coverage < 0.1, "{text}");
        }
    }
}
