use std::io::Write;

use anyhow::bail;
use gen_core::data::Dataset;
use gen_core::eval::{EvaluateOptions, Evaluation, FeatureSpace, Protocol, Reference};
use gen_core::rng::{Purpose, stream};
use tch::{Device, Kind, Tensor};

use crate::catalog;
use crate::device::Compute;
use crate::spaces::{self, Choice};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A data set with classes
    #[arg(long)]
    data: String,

    /// How many images to compare
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

    /// The classifier: auto or a .safetensors file
    #[arg(long, default_value = "auto")]
    features: Choice,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.compute.start()?;
    let data = catalog::load(&args.data)?;
    if !data.spec.shape.is_image() || data.train.labels.is_none() {
        bail!("`{}` has no classes of images to leave out", args.data);
    }
    let classifier = spaces::of(&data, &args.features)?;
    let pca = spaces::of(&data, &Choice::Pca)?;
    let spaces = if classifier.name() == pca.name() { vec![pca] } else { vec![classifier, pca] };
    let options = EvaluateOptions { n: args.n as usize, ..EvaluateOptions::default() };
    let protocols = spaces
        .iter()
        .map(|space| Protocol::new(&data, space, options.clone()))
        .collect::<gen_core::Result<Vec<_>>>()?;
    let mut out = std::io::stdout().lock();
    let names: Vec<String> = spaces.iter().map(FeatureSpace::name).collect();
    writeln!(out, "In {}:\n", names.join(" / "))?;
    writeln!(out, "| set | FD | KID x 1000 | precision | recall | density | coverage |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for rung in RUNGS {
        let samples = rung.samples(&data, args.n as usize)?;
        let rows = protocols
            .iter()
            .map(|protocol| protocol.compare(&samples))
            .collect::<gen_core::Result<Vec<_>>>()?;
        let cell = |of: fn(&Evaluation) -> Option<f64>, digits: usize| {
            let cells: Vec<String> =
                rows.iter().map(|row| of(row).map_or("".to_owned(), |x| format!("{x:.digits$}"))).collect();
            cells.join(" / ")
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            rung.name(),
            cell(|row| row.fd, 3),
            cell(|row| row.kid.map(|kid| 1e3 * kid), 2),
            cell(|row| row.precision, 2),
            cell(|row| row.recall, 2),
            cell(|row| row.density, 2),
            cell(|row| row.coverage, 2),
        )?;
        out.flush()?;
    }
    Ok(())
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

    /// The ladder of the digits, which are part of the program.
    #[test]
    fn both_spaces_see_every_distortion() {
        let data = catalog::load("digits").unwrap();
        for choice in [Choice::Auto, Choice::Pca] {
            let space = spaces::of(&data, &choice).unwrap();
            let protocol = Protocol::new(&data, &space, EvaluateOptions::default()).unwrap();
            let name = space.name();
            let at = |rung: Rung| {
                let row = protocol.compare(&rung.samples(&data, 10_000).unwrap()).unwrap();
                let [fd, precision, recall, coverage] =
                    [row.fd, row.precision, row.recall, row.coverage].map(Option::unwrap);
                (
                    format!("{name} {rung:?} {fd} {precision} {recall} {coverage}"),
                    fd,
                    precision,
                    recall,
                    coverage,
                )
            };
            let (text, floor, precision, recall, full) = at(Rung::Floor);
            assert!(precision > 0.7 && recall > 0.7 && full > 0.85, "{text}");
            for rung in [Rung::MissingClasses, Rung::Blur, Rung::PixelGaussian] {
                let (text, fd, _, _, coverage) = at(rung);
                // The Gaussian has by construction the second moments that the distance of pixels is made of.
                let seen = fd > 2.0 * floor || (rung == Rung::PixelGaussian && choice == Choice::Pca);
                assert!(seen && coverage < full - 0.05, "{text}");
            }
            let (text, noise, _, recall, coverage) = at(Rung::PixelNoise);
            assert!(noise > 10.0 * floor && recall < 0.1 && coverage < 0.1, "{text}");
            assert!(noise > at(Rung::PixelGaussian).1, "{text}");
            let (text, one, precision, recall, coverage) = at(Rung::OneImage);
            assert!(one > 10.0 * floor && precision > 0.9 && recall < 0.1 && coverage < 0.1, "{text}");
        }
    }
}
