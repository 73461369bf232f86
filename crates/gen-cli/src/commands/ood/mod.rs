//! `gen ood`: how well a model's likelihood tells its own data from other data.

mod found;
mod table;

use std::path::{Path, PathBuf};

use anyhow::bail;
use gen_core::data::{Batch, DataSpec, Dataset, Split, Values, signed_to_bytes};
use gen_core::model::LikelihoodKind;
use gen_core::rng::{Purpose, derive, permutation, stream};
use gen_eval::{Detection, OodScore, input_complexity, likelihood_ratio, typicality};
use tch::{Device, Kind, Tensor};

use crate::pictures;
use crate::pictures::histogram::histogram;
use crate::progress::Work;
use crate::trained::{OwnData, Trained, TrainedArgs};
use crate::{arguments, catalog, message, output};
use found::Found;

/// Detect data unlike a trained model's own by its likelihood
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trained: TrainedArgs,

    #[command(flatten)]
    own: OwnData,

    /// The data set to tell from the run's own, with rows of the same shape; its test rows are used
    #[arg(long, value_name = "DATA")]
    against: String,

    /// A run on the same data with noise (`--set perturb=0.2`), for the likelihood ratio
    #[arg(long, value_name = "RUN")]
    background: Option<PathBuf>,

    /// The folder for ood.csv and log-likelihood.png
    #[arg(long)]
    out: PathBuf,

    /// The number of test rows of each data set, and of training rows for typicality, chosen at random; fewer if there
    /// are fewer
    #[arg(short, long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

    /// The kind of likelihood, for models that have several: exact, dequantised, dequantised-importance-8, lower-bound,
    /// importance-64, ode or dequantised-ode [default: the model's main one]
    #[arg(long)]
    kind: Option<LikelihoodKind>,

    /// The seed of the choice of rows and of likelihoods that are estimates
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,
}

/// The reason why models without a likelihood are refused.
const NO_LIKELIHOOD: &str = "there is nothing to tell its data from other data by";

/// Rows whose likelihood is computed together.
const PART: usize = 250;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    output::check_folder(&args.out)?;
    let trained = args.trained.load()?;
    let main = trained.density(NO_LIKELIHOOD)?.kinds().first().copied();
    let kind = trained.likelihood(args.kind, main)?;
    let (data, other) = (trained.data(&args.own)?, trained.data_like_its_own(&args.against)?);
    catalog::tell_of_discrete_columns(&data)?;
    let (inside, outside) = (Rows::of_test(&data, args, INSIDE)?, Rows::of_test(&other, args, OUTSIDE)?);
    let background = args.background.as_deref().map(|run| Background::load(args, run, &trained)).transpose()?;

    let training = Rows::of_training(&data, args)?.log_likelihood(&trained, kind)?;
    let own_nats = inside.log_likelihood(&trained, kind)?;
    let other_nats = outside.log_likelihood(&trained, kind)?;
    let mut scores = vec![
        (OodScore::LogLikelihood, Detection::of(&own_nats, &other_nats)?),
        (
            OodScore::Typicality,
            Detection::of(&typicality(&own_nats, &training)?, &typicality(&other_nats, &training)?)?,
        ),
    ];
    if let Some(Background { trained, inside, outside }) = &background {
        let own = likelihood_ratio(&own_nats, &inside.log_likelihood(trained, kind)?)?;
        let other = likelihood_ratio(&other_nats, &outside.log_likelihood(trained, kind)?)?;
        scores.push((OodScore::LikelihoodRatio, Detection::of(&own, &other)?));
    }
    if trained.of_images() {
        let own = input_complexity(&own_nats, &inside.png_bits()?)?;
        let other = input_complexity(&other_nats, &outside.png_bits()?)?;
        scores.push((OodScore::InputComplexity, Detection::of(&own, &other)?));
    }

    let found = Found {
        run: trained.folder.name(),
        model: trained.name(),
        dataset: data.spec.name,
        against: other.spec.name,
        background: background.map(|background| background.trained.folder.name()),
        kind,
        scores,
    };
    let saved = save(&args.out, &found, [&own_nats, &other_nats]);
    // The table is printed even if the files could not be written.
    table::print(&found)?;
    saved?;
    message::tell(format!("ood.csv and log-likelihood.png in {}", args.out.display()));
    Ok(())
}

/// Writes the scores and a histogram of the log-likelihoods of both data sets.
fn save(out: &Path, found: &Found, nats: [&Tensor; 2]) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).map_err(gen_core::Error::io(out))?;
    found.save(&out.join("ood.csv"))?;
    let title = format!("log p under {} ({})", found.run, found.model);
    let names = [format!("{} (its own)", found.dataset), found.against.clone()];
    let sets = [Vec::<f64>::try_from(nats[0])?, Vec::<f64>::try_from(nats[1])?];
    let picture = histogram(&title, &format!("log p ({}), nats a row", found.kind), &names, &sets)?;
    gen_run::save_picture(&picture, &out.join("log-likelihood.png"))?;
    Ok(())
}

/// The background model, and the rows of both data sets as it sees them.
struct Background {
    trained: Trained,
    inside: Rows,
    outside: Rows,
}

impl Background {
    fn load(args: &Args, run: &Path, trained: &Trained) -> anyhow::Result<Self> {
        let background = args.trained.load_beside(run, trained)?;
        let (its, ours) = (&background.model.card().data, &trained.model.card().data);
        let same_rows = match ours.sha256.is_empty() {
            true => its.name == ours.name,
            false => its.sha256 == ours.sha256,
        };
        if !(same_rows && its.shape == ours.shape && its.values == ours.values) {
            bail!(
                "a background model must be trained on the same data in the same form: `{}` was trained on `{}` as \
                 {:?} {:?}, `{}` on `{}` as {:?} {:?}",
                trained.folder.name(),
                ours.name,
                ours.values,
                ours.shape,
                background.folder.name(),
                its.name,
                its.values,
                its.shape
            );
        }
        if ours.shape.is_image() && its.options.perturb == 0.0 {
            message::warn(format!(
                "the background model `{}` was trained on images without noise: with `--set perturb=0.2` it learns \
                 only what all images have in common",
                background.folder.name()
            ));
        }
        background.density(NO_LIKELIHOOD)?;
        let inside = Rows::of_test(&background.data(&args.own)?, args, INSIDE)?;
        let outside = Rows::of_test(&background.data_like_its_own(&args.against)?, args, OUTSIDE)?;
        Ok(Background { trained: background, inside, outside })
    }
}

/// The indices of the random numbers of each set of rows.
const INSIDE: u64 = 0;
const OUTSIDE: u64 = 1;
const TRAINING: u64 = 2;

/// Rows of one data set, as stored, with the form in which one model sees them.
struct Rows {
    rows: Split,
    spec: DataSpec,
    seed: u64,
}

impl Rows {
    fn of_test(data: &Dataset, args: &Args, side: u64) -> anyhow::Result<Self> {
        Self::some(&data.test, "test", &data.spec, args, side)
    }

    /// Training rows, without the noise of `perturb`.
    fn of_training(data: &Dataset, args: &Args) -> anyhow::Result<Self> {
        Self::some(&data.train, "training", &data.spec, args, TRAINING)
    }

    fn some(rows: &Split, part: &str, spec: &DataSpec, args: &Args, side: u64) -> anyhow::Result<Self> {
        let n = rows.len().min(args.n as usize);
        if n < 2 {
            bail!("`{}` has too few {part} rows: at least 2 are needed, found {n}", spec.name);
        }
        let seed = derive(args.seed, Purpose::Evaluate, side);
        // The rows of a file may be sorted by class.
        let mut order = permutation(rows.len(), seed, Purpose::Evaluate, 1);
        order.truncate(n);
        Ok(Rows { rows: rows.select(&order), spec: spec.clone(), seed })
    }

    /// [`PART`] rows at a time: as stored, as the model sees them, and the seed of its estimates.
    fn parts(&self) -> impl Iterator<Item = (Split, Batch, u64)> {
        (0..self.rows.len()).step_by(PART).zip(0..).map(move |(start, index)| {
            let seed = derive(self.seed, Purpose::Evaluate, index);
            let rows = self.rows.narrow(start, PART.min(self.rows.len() - start));
            let batch = rows.to_batch(&self.spec, &stream(seed, Purpose::Evaluate, 0));
            (rows, batch, seed)
        })
    }

    /// log p of every row, `f64 [n]` on the host.
    fn log_likelihood(&self, trained: &Trained, kind: LikelihoodKind) -> anyhow::Result<Tensor> {
        let density = trained.density(NO_LIKELIHOOD)?;
        let work = Work::on(format!("likelihood ({kind}) of rows of {}", self.spec.name));
        let mut parts = Vec::new();
        for (i, (_, batch, seed)) in self.parts().enumerate() {
            work.at(i * PART, self.rows.len());
            let batch = batch.to_device(trained.device);
            // The classes of one data set are not those of the other.
            let batch = Batch { condition: batch.condition.without_labels(), ..batch };
            let nats = density.log_likelihood(&batch, kind, seed)?;
            parts.push(nats.detach().to_kind(Kind::Double).to_device(Device::Cpu));
        }
        let nats = Tensor::cat(&parts, 0);
        if bool::try_from(nats.isnan().any())? {
            bail!(
                "`{}` gives some rows of `{}` a likelihood that is not a number",
                trained.folder.name(),
                self.spec.name
            );
        }
        Ok(nats)
    }

    /// The size of every image as a PNG file in bits, `f64 [n]`.
    fn png_bits(&self) -> anyhow::Result<Tensor> {
        let work = Work::on(format!("PNG files of rows of {}", self.spec.name));
        let mut bits = Vec::new();
        for (i, (rows, batch, _)) in self.parts().enumerate() {
            work.at(i * PART, self.rows.len());
            let bytes = match self.spec.values {
                Values::Binary => signed_to_bytes(&batch.x),
                _ => rows.x,
            };
            bits.extend(pictures::png_lengths(&bytes)?.into_iter().map(|length| 8.0 * length as f64));
        }
        Ok(Tensor::from_slice(&bits))
    }
}
