use std::io::Write;

use anyhow::bail;
use gen_core::data::{Dataset, Shape};
use gen_core::number::fixed;
use gen_core::rng::{Purpose, permutation};
use gen_eval::{FeatureSpace, frechet_distance, prdc};
use tch::Tensor;

use super::ladder::{Base, Distortion, Rung};
use crate::catalog;
use crate::device::Compute;
use crate::progress::Work;
use crate::spaces::{self, Choices};

/// Measure known distortions of a data set in its feature spaces, as tables in Markdown, and check what has to be true
/// of the spaces
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A data set with classes
    #[arg(long)]
    data: String,

    /// The number of images to compare; fewer if there are fewer test images
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(50..))]
    n: u32,

    /// The feature spaces, separated by commas, as in `gen evaluate --features`
    #[arg(long, default_value = "auto", value_name = "SPACE,...")]
    features: Choices,

    #[command(flatten)]
    compute: Compute,
}

/// The number of neighbours for precision, recall and coverage.
const NEIGHBOURS: i64 = 5;
/// The largest number of rows on each side for precision, recall and coverage.
const ROWS: i64 = 2_000;
/// The upper limit for the precision of uniform noise.
const PRECISE_NOISE: f64 = 0.02;
/// The number of rows that may have one image among their nearest neighbours: [`NEIGHBOURS`] on average, and four times
/// as many for an image in the middle of all others.
const AROUND_ONE_IMAGE: i64 = 4 * NEIGHBOURS;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.compute.start()?;
    let data = catalog::load(&args.data)?;
    if !data.spec.shape.is_image() || data.train.labels().is_none() {
        bail!("`{}` has no images with classes: the check leaves out classes", args.data);
    }
    let work = Work::on("feature spaces");
    let spaces = spaces::of(&data, &args.features)?;
    work.next("sets of images");
    let ladders = climb(&data, &spaces, args.n as usize, |done, total| work.at(done, total))?;
    drop(work);
    let mut out = std::io::stdout().lock();
    let names = ladders.iter().map(|ladder| format!("`{}`", ladder.space)).collect::<Vec<_>>().join(" / ");
    writeln!(
        out,
        "In {names}:\n\n| set | FD | FD to the same images | precision | recall | coverage |\n\
         |---|---:|---:|---:|---:|---:|"
    )?;
    for (at, rung) in ladders[0].rungs.iter().enumerate() {
        let cell = |value: fn(&Seen) -> f64, digits: usize| {
            let values = ladders.iter().map(|ladder| fixed(value(&ladder.rungs[at].1), digits));
            values.collect::<Vec<_>>().join(" / ")
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            rung.0.description(),
            cell(|seen| seen.fd, 3),
            cell(|seen| seen.moved, 3),
            cell(|seen| seen.precision, 2),
            cell(|seen| seen.recall, 2),
            cell(|seen| seen.coverage, 2)
        )?;
    }
    let mut broken = 0;
    for ladder in &ladders {
        writeln!(out, "\n`{}`:\n", ladder.space)?;
        for Claim { text, problem } in ladder.claims() {
            match problem {
                None => writeln!(out, "- holds: {text}")?,
                Some(problem) => {
                    broken += 1;
                    writeln!(out, "- **does not hold**: {text} ({problem})")?;
                }
            }
        }
    }
    if broken > 0 {
        bail!("{broken} of the claims above do not hold");
    }
    Ok(())
}

/// The measurements of one set of images in one space.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Fréchet distance to the test images.
    fd: f64,
    /// Fréchet distance to the training images that were distorted. The same images are on both sides, so sampling
    /// noise cancels.
    moved: f64,
    precision: f64,
    recall: f64,
    coverage: f64,
}

/// The measurements of all rungs in one space.
struct Ladder {
    space: String,
    /// The larger side of the images in pixels.
    side: i64,
    /// The largest rise of a share that counts as chance: three standard errors at most.
    chance: f64,
    /// The upper limit for recall and coverage where all samples are one image.
    next_to_nothing: f64,
    rungs: Vec<(Rung, Seen)>,
}

/// A statement that has to be true of a space.
struct Claim {
    text: String,
    /// The measurement that contradicts it.
    problem: Option<String>,
}

/// Measures up to `n` images of each rung against as many test images. `progress` is called with the number of rungs
/// that are done and the number of all.
fn climb(
    data: &Dataset,
    spaces: &[FeatureSpace],
    n: usize,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<Vec<Ladder>> {
    let Shape::Image { height, width, .. } = data.spec.shape else {
        bail!("the ladder of distortions needs images");
    };
    let side = height.max(width);
    let n = n.min(data.test.len());
    let mut order = permutation(data.test.len(), 0, Purpose::Evaluate, 0);
    order.truncate(n);
    let test = data.test.select(&order).x;
    let base = Base::new(data, n);
    let embed = |space: &FeatureSpace, x: &Tensor| space.embed(x, &mut |_, _| ()).map(|found| found.features);
    let real: Vec<Tensor> = spaces.iter().map(|space| embed(space, &test)).collect::<Result<_, _>>()?;
    let floor = base.samples(Rung::Floor)?;
    let whole: Vec<Tensor> = spaces.iter().map(|space| embed(space, &floor)).collect::<Result<_, _>>()?;
    let rows = ROWS.min(n as i64);
    let mut ladders: Vec<Ladder> = spaces
        .iter()
        .map(|space| Ladder {
            space: space.name(),
            side,
            chance: 3.0 * 0.5 / (rows as f64).sqrt(),
            next_to_nothing: 0.01 + AROUND_ONE_IMAGE as f64 / rows as f64,
            rungs: Vec::new(),
        })
        .collect();
    let rungs = Rung::all(side);
    for (at, rung) in rungs.iter().enumerate() {
        progress(at, rungs.len());
        let samples = base.samples(*rung)?;
        for (((space, real), whole), ladder) in spaces.iter().zip(&real).zip(&whole).zip(&mut ladders) {
            let fake = embed(space, &samples)?;
            let rows = rows.min(fake.size()[0]);
            let near = prdc(&real.narrow(0, 0, rows), &fake.narrow(0, 0, rows), NEIGHBOURS)?;
            ladder.rungs.push((
                *rung,
                Seen {
                    fd: frechet_distance(real, &fake)?,
                    moved: frechet_distance(whole, &fake)?,
                    precision: near.precision,
                    recall: near.recall,
                    coverage: near.coverage,
                },
            ));
        }
    }
    Ok(ladders)
}

impl Ladder {
    fn at(&self, rung: Rung) -> Seen {
        let found = self.rungs.iter().find(|(there, _)| *there == rung);
        found.expect("every rung was measured").1
    }

    /// The floor, then a distortion from mild to severe.
    fn graded(&self, distortion: Distortion) -> Vec<(String, Seen)> {
        let severities = distortion.severities(self.side).iter();
        let rungs = severities.map(|severity| Rung::Distorted(distortion, *severity));
        std::iter::once(Rung::Floor).chain(rungs).map(|rung| (rung.description(), self.at(rung))).collect()
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        for distortion in Distortion::ALL {
            let steps = self.graded(distortion);
            let text = format!("FD to the same images grows with {}", noun(distortion));
            claims.push(ordered(&text, &steps, |seen| seen.moved));
            claims.extend(self.shares(distortion, &steps));
        }
        let fd = |rung: Rung| (rung.description(), self.at(rung));
        let collapse = Rung::Distorted(Distortion::Collapse, 1.0);
        let dropped = |count| Rung::Distorted(Distortion::MissingClasses, count);
        let blur = Rung::mild_blur(self.side);
        let orders: [&[Rung]; 3] = [
            &[Rung::Floor, blur, Rung::PixelGaussian, Rung::PixelNoise],
            &[blur, collapse],
            &[dropped(1.0), dropped(5.0)],
        ];
        for order in orders {
            let steps: Vec<_> = order.iter().map(|rung| fd(*rung)).collect();
            let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
            claims.push(ordered(&format!("FD: {}", names.join(" < ")), &steps, |seen| seen.fd));
        }
        let precision = self.at(Rung::PixelNoise).precision;
        claims.push(Claim {
            text: format!("uniform noise has a precision below {PRECISE_NOISE}"),
            problem: (precision >= PRECISE_NOISE).then(|| format!("{precision:.3}")),
        });
        claims
    }

    /// Claims about precision, recall and coverage.
    fn shares(&self, distortion: Distortion, steps: &[(String, Seen)]) -> Vec<Claim> {
        type Share = (&'static str, fn(&Seen) -> f64);
        let precision: Share = ("precision", |seen| seen.precision);
        let recall: Share = ("recall", |seen| seen.recall);
        let coverage: Share = ("coverage", |seen| seen.coverage);
        let falls = |shares: &[Share]| {
            let problem = shares.iter().find_map(|share| self.falls(share.1, share.0, steps));
            Claim { text: format!("{} with {}", fall(shares.iter().map(|share| share.0)), noun(distortion)), problem }
        };
        match distortion {
            Distortion::MissingClasses => {
                vec![self.stays(precision.1, distortion, steps), falls(&[recall, coverage])]
            }
            Distortion::Collapse => {
                let last = steps[steps.len() - 1].1;
                let left = last.recall.max(last.coverage);
                vec![
                    self.stays(precision.1, distortion, steps),
                    falls(&[recall, coverage]),
                    Claim {
                        text: "one image over and over has next to no recall and coverage".to_owned(),
                        problem: (left > self.next_to_nothing).then(|| format!("{left:.3}")),
                    },
                ]
            }
            _ => vec![falls(&[precision, recall, coverage])],
        }
    }

    /// The contradiction to a falling share: a step that rises by more than chance, or a last step that is not lower
    /// than the first by more than that.
    fn falls(&self, share: fn(&Seen) -> f64, name: &str, steps: &[(String, Seen)]) -> Option<String> {
        let rise = steps.windows(2).find(|pair| share(&pair[1].1) > share(&pair[0].1) + self.chance);
        let (first, last) = (&steps[0], &steps[steps.len() - 1]);
        match rise {
            Some(pair) => Some(said(name, share, &pair[0], &pair[1])),
            None if share(&last.1) < share(&first.1) - self.chance => None,
            None => Some(said(name, share, first, last)),
        }
    }

    /// The claim that a share does not fall below its value at the floor.
    fn stays(&self, share: fn(&Seen) -> f64, distortion: Distortion, steps: &[(String, Seen)]) -> Claim {
        let lower = steps.iter().find(|step| share(&step.1) < share(&steps[0].1) - self.chance);
        Claim {
            text: format!("precision does not fall with {}", noun(distortion)),
            problem: lower.map(|step| said("precision", share, &steps[0], step)),
        }
    }
}

fn noun(distortion: Distortion) -> &'static str {
    match distortion {
        Distortion::Blur => "blur",
        Distortion::Noise => "noise",
        Distortion::MissingClasses => "every dropped class",
        Distortion::Collapse => "the share of one image",
        Distortion::Mix => "the share of another image",
        Distortion::Shift => "the shift",
        Distortion::Blocks => "the size of blocks",
    }
}

fn fall(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.collect();
    match names.split_last() {
        Some((last, rest)) => format!("{} and {last} fall", rest.join(", ")),
        None => String::new(),
    }
}

fn said(name: &str, share: fn(&Seen) -> f64, from: &(String, Seen), to: &(String, Seen)) -> String {
    format!("{name} {:.3} of {}, {:.3} of {}", share(&from.1), from.0, share(&to.1), to.0)
}

/// The claim that every distance is larger than the one before.
fn ordered(text: &str, steps: &[(String, Seen)], distance: fn(&Seen) -> f64) -> Claim {
    let wrong = steps
        .windows(2)
        .find(|pair| distance(&pair[0].1).partial_cmp(&distance(&pair[1].1)) != Some(std::cmp::Ordering::Less));
    Claim {
        text: text.to_owned(),
        problem: wrong.map(|pair| {
            let [before, after] = [&pair[0], &pair[1]];
            let told = |(name, seen): &(String, Seen)| format!("{} of {name}", fixed(distance(seen), 4));
            format!("{}, {}", told(before), told(after))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &Dataset, choices: &str) -> Vec<Ladder> {
        climb(data, &spaces::of(data, &choices.parse().unwrap()).unwrap(), 10_000, |_, _| ()).unwrap()
    }

    #[test]
    fn every_claim_holds_in_both_spaces_of_the_digits() {
        let data = catalog::load("digits").unwrap();
        let ladders = of(&data, "auto");
        assert_eq!(ladders.len(), 2);
        for ladder in ladders {
            let claims = ladder.claims();
            assert_eq!(claims.len(), 7 + 5 + 5 + 4);
            for Claim { text, problem } in claims {
                assert!(problem.is_none(), "{}: {text}: {}", ladder.space, problem.unwrap());
            }
        }
    }

    /// Principal components hardly respond to noise, so some claims must fail.
    #[test]
    fn a_claim_that_does_not_hold_is_reported() {
        let data = catalog::load("digits").unwrap();
        let broken: Vec<Claim> =
            of(&data, "pca")[0].claims().into_iter().filter(|claim| claim.problem.is_some()).collect();
        assert!(!broken.is_empty());
        let named: Vec<&str> = broken.iter().map(|claim| claim.text.as_str()).collect();
        assert!(named.contains(&"precision, recall and coverage fall with noise"), "{named:?}");
    }
}
