//! The one way in which all models are measured: what becomes a row of `evaluation.csv`, and those of `metrics.csv`.
//!
//! - As many samples as test rows, `n` of each (10,000 unless the test split is smaller), beside what as many training
//!   rows get in their place: the floor. What nobody asked for is not computed: likelihoods alone need neither.
//! - Samples are turned into bytes as a file would hold them, before anything is measured.
//! - Real rows are taken in one random order, which does not depend on the seed: all models meet the same ones. Samples are
//!   put into a random order by the seed, since a folder may be sorted by class, and some metrics look at a few rows only.
//! - The columns of points are in units of their standard deviation over the training rows.
//! - What is not finite is a result like any other: a model whose samples are no numbers has no number for its quality.
//! - Images are compared in two feature spaces or more; the first one fills the columns of `evaluation.csv`.

mod comparison;
mod likelihood;
mod options;
mod paths;
mod sampling;
mod space;

use std::time::Instant;

use tch::{Device, Kind, Tensor};

pub use options::{EvaluateOptions, Stage};
pub use space::{EvaluationCache, NoCache};

use super::measurement::Measurement;
use super::{Evaluation, FeatureSpace, Metric, Reference};
use gen_core::data::{Dataset, PointSet, Split, Values};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, permutation};
use gen_core::{Error, Result};
use sampling::Drawn;
use space::RealRows;

/// The share of copies above which samples are called memorised, where it is also three standard errors above the 0.01 that
/// test rows have.
const MEMORISED: f64 = 0.05;
const HONEST: f64 = 0.01;
/// Samples that are drawn where nothing compares them: as many as a picture of them shows.
const PICTURED: usize = 64;

/// What was measured of a set of samples.
#[derive(Debug)]
pub struct Measured {
    /// One row with the main numbers. What only a run knows (its name, its training) is left empty.
    pub row: Evaluation,
    /// Every number, with its space, its error and its floor.
    pub metrics: Vec<Measurement>,
}

/// What was measured, and the samples that it is about.
#[derive(Debug)]
pub struct Evaluated {
    /// The numbers.
    pub measured: Measured,
    /// The samples: `u8 [n, channels, height, width]` or `f32 [n, dimension]`, `n` as compared or, where nothing that is
    /// asked for compares samples, at most 64.
    pub samples: Tensor,
}

/// A data set made ready to measure models on it.
///
/// ```
/// use gen_core::data::{Dataset, Split};
/// use gen_eval::{EvaluateOptions, FeatureSpace, NoCache, Protocol, Reference};
/// use tch::{Device, Kind, Tensor};
///
/// # fn main() -> gen_core::Result<()> {
/// let points = |n| Split::unlabelled(Tensor::randn([n, 2], (Kind::Float, Device::Cpu)));
/// let data = Dataset::from_splits("mine", points(2000), None, Some(points(500)), Vec::new())?;
/// let options = EvaluateOptions::default();
/// let protocol = Protocol::new(&data, &[FeatureSpace::Identity], &options, &NoCache, &mut |_| ())?;
/// let noise = protocol.evaluate_reference(Reference::PixelNoise, &mut |_| ())?.measured.row;
/// assert!(noise.fd > noise.fd_floor);
/// # Ok(())
/// # }
/// ```
pub struct Protocol<'a> {
    data: &'a Dataset,
    options: &'a EvaluateOptions,
    /// Test rows, in the order in which they are compared.
    test: Split,
    spaces: Vec<RealRows<'a>>,
}

impl<'a> Protocol<'a> {
    /// Takes the features of test and training rows, which all models share, or what `cache` has of them.
    ///
    /// # Errors
    /// When the data has no test split, a feature space is needed and there is none, or one is for other data.
    pub fn new(
        data: &'a Dataset,
        spaces: &'a [FeatureSpace],
        options: &'a EvaluateOptions,
        cache: &'a dyn EvaluationCache,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Self> {
        let n = options.n.min(data.test.len());
        if n < 2 {
            return Err(Error::invalid(format!(
                "measuring needs at least 2 test rows: `{}` has {}, and {} are asked for",
                data.spec.name,
                data.test.len(),
                options.n
            )));
        }
        if options.k < 1 {
            return Err(Error::invalid("precision and recall need k of at least 1"));
        }
        if spaces.is_empty() && options.needs_features() {
            return Err(Error::invalid("samples are compared in a feature space: none was given"));
        }
        let mut order = permutation(data.test.len(), 0, Purpose::Evaluate, 0);
        order.truncate(n);
        let test = data.test.select(&order);
        let spaces = spaces
            .iter()
            .filter(|_| options.needs_features())
            .map(|space| RealRows::new(data, &test, space, options, cache, observe))
            .collect::<Result<_>>()?;
        Ok(Protocol { data, options, test, spaces })
    }

    /// Samples a model and measures quality, likelihood and cost.
    ///
    /// # Errors
    /// When the model cannot honour the options, or gives samples of another shape or values that are not finite.
    pub fn evaluate(&self, model: &dyn GenerativeModel, observe: &mut dyn FnMut(Stage)) -> Result<Evaluated> {
        let start = Instant::now();
        let card = model.card();
        let request = SampleRequest {
            sampler: self.options.sampler.clone(),
            steps: self.options.steps,
            ..SampleRequest::new(1, self.options.seed)
        };
        let sampling = model.sampling(&request)?;
        observe(Stage::Timing);
        let latency = sampling::latency(model, &request)?;
        let compared = self.options.compares_samples();
        let Drawn { samples, per_second, finite } = self.draw(model, &request, self.samples(), observe)?;
        let Measured { row, metrics } = match finite {
            true => self.compare_if_wanted(&samples, observe)?,
            false => self.without_numbers(samples.size()[0], observe)?,
        };
        let row = Evaluation {
            family: card.family.to_string(),
            model: card.name.to_owned(),
            parameters: Some(card.parameters),
            sampling_parameters: Some(card.sampling_parameters),
            sampler: sampling.sampler.map(str::to_owned),
            nfe: Some(sampling.evaluations),
            sample_images_per_second: compared.then_some(per_second),
            sample_latency_ms: Some(latency.as_secs_f64() * 1e3),
            sample_batch: compared.then_some(sampling::PART.min(self.samples())),
            ..row
        };
        let mut measured = Measured { row, metrics };
        if self.options.wants(Metric::PathLength)
            && let Some(latent) = model.latent()
        {
            self.path_lengths(latent, &mut measured, observe)?;
        }
        if self.options.wants(Metric::Likelihood)
            && let Some(density) = model.density()
        {
            self.likelihood(density, &mut measured, observe)?;
        }
        measured.row.evaluate_seconds = Some(start.elapsed().as_secs_f64());
        Ok(Evaluated { measured, samples })
    }

    /// Measures a row that no model made.
    ///
    /// # Errors
    /// When there are fewer than two training rows.
    pub fn evaluate_reference(
        &self,
        reference: Reference,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Evaluated> {
        let start = Instant::now();
        // The floor is the same for all seeds.
        let is_floor = reference == Reference::Floor;
        let seed = if is_floor { 0 } else { self.options.seed };
        let samples = reference.sample(self.data, self.samples(), seed)?.to_device(Device::Cpu);
        let Measured { row, metrics } = match self.options.compares_samples() {
            true => self.in_spaces(samples.size()[0], |space| match is_floor {
                true => space.measure_floor(&samples, observe),
                false => space.measure(&samples, observe),
            })?,
            false => Measured { row: self.row(None), metrics: Vec::new() },
        };
        let row = Evaluation { family: "reference".to_owned(), model: reference.name().to_owned(), ..row };
        let mut measured = Measured { row, metrics };
        if self.options.wants(Metric::Likelihood)
            && let Some(nats) = reference.log_likelihood(self.data, &self.test.x, self.options.seed)?
        {
            self.report_likelihood(reference.likelihood_kind(&self.data.spec), &nats, &mut measured);
        }
        measured.row.evaluate_seconds = Some(start.elapsed().as_secs_f64());
        Ok(Evaluated { measured, samples })
    }

    /// How many samples are drawn: as many as test rows to compare with them, or a few to look at.
    fn samples(&self) -> usize {
        let rows = self.test.len();
        if self.options.compares_samples() { rows } else { rows.min(PICTURED) }
    }

    /// What [`Protocol::compare`] says, where it is asked for anything.
    fn compare_if_wanted(&self, samples: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Measured> {
        match self.options.compares_samples() {
            true => self.compare(samples, observe),
            false => Ok(Measured { row: self.row(None), metrics: Vec::new() }),
        }
    }

    /// A row that says what `n` samples are compared with, and where.
    fn row(&self, n: Option<usize>) -> Evaluation {
        let spec = &self.data.spec;
        let [first, second] = [0, 1].map(|place| self.spaces.get(place));
        Evaluation {
            feature_space: first.map(RealRows::name).unwrap_or_default(),
            feature_sha256: first.and_then(RealRows::sha256).map(str::to_owned),
            second_space: second.map(RealRows::name),
            dataset: spec.name.clone(),
            dataset_sha256: Some(spec.sha256.clone()).filter(|hash| !hash.is_empty()),
            n_real: n.map(|_| self.test.len()),
            n_fake: n,
            ..Evaluation::default()
        }
    }

    /// Measures samples from anywhere, `u8 [n, channels, height, width]` or `[n, dimension]`: the numbers of quality,
    /// and those that say against what. Their order does not matter; of more than [`EvaluateOptions::n`] a random choice is
    /// measured.
    ///
    /// # Errors
    /// When they have not the shape of the data, are fewer than two, or hold values that are not finite.
    pub fn compare(&self, samples: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Measured> {
        Ok(self.evaluate_samples(samples, observe)?.measured)
    }

    /// [`Protocol::compare`], and the samples that it is about in a random order.
    ///
    /// # Errors
    /// As [`Protocol::compare`].
    pub fn evaluate_samples(&self, samples: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Evaluated> {
        self.check(samples)?;
        let mut order = permutation(samples.size()[0] as usize, self.options.seed, Purpose::Evaluate, 4);
        order.truncate(self.options.n);
        let samples = samples.to_device(Device::Cpu).index_select(0, &Tensor::from_slice(&order));
        let measured = self.in_spaces(samples.size()[0], |space| space.measure(&samples, observe))?;
        Ok(Evaluated { measured, samples })
    }

    /// Whether samples have the form of the data.
    fn check(&self, samples: &Tensor) -> Result<()> {
        let n = samples.size().first().copied().unwrap_or(0);
        let shape = self.data.spec.shape.batch(n);
        let kind_fits = (samples.kind() == Kind::Uint8) == self.data.spec.shape.is_image();
        if samples.size() != shape || !kind_fits {
            return Err(Error::invalid(format!(
                "samples of `{}` should be {} {shape:?}, found {:?} {:?}",
                self.data.spec.name,
                if self.data.spec.shape.is_image() { "bytes" } else { "floating-point" },
                samples.kind(),
                samples.size()
            )));
        }
        if n < 2 {
            return Err(Error::invalid(format!("measuring needs at least 2 samples, found {n}")));
        }
        if !samples.is_floating_point() {
            return Ok(());
        }
        let wrong = samples.isfinite().logical_not().nonzero();
        if wrong.size()[0] > 0 {
            let (row, column) = (wrong.int64_value(&[0, 0]), wrong.int64_value(&[0, 1]));
            return Err(Error::invalid(format!(
                "row {} of the samples holds {} in column {} (both from 1): samples need finite values",
                row + 1,
                samples.double_value(&[row, column]),
                column + 1
            )));
        }
        Ok(())
    }

    /// The numbers of samples that are none: no number for each that there would be.
    fn without_numbers(&self, n: i64, observe: &mut dyn FnMut(Stage)) -> Result<Measured> {
        match self.options.compares_samples() {
            true => self.in_spaces(n, |space| space.without_numbers(n as usize, observe)),
            false => Ok(Measured { row: self.row(None), metrics: Vec::new() }),
        }
    }

    /// What is found of `n` samples in every space.
    fn in_spaces(
        &self,
        n: i64,
        mut measure: impl FnMut(&RealRows<'a>) -> Result<Vec<Measurement>>,
    ) -> Result<Measured> {
        let mut row = self.row(Some(n as usize));
        let mut metrics = Vec::new();
        for (i, space) in self.spaces.iter().enumerate() {
            let found = measure(space)?;
            match i {
                0 => self.fill_main(&found, &mut row),
                1 => fill_second(&found, &mut row),
                _ => {}
            }
            metrics.extend(found);
        }
        Ok(Measured { row, metrics })
    }

    /// The columns of the first space.
    fn fill_main(&self, found: &[Measurement], row: &mut Evaluation) {
        let all = |metric: &str| found.iter().find(|measurement| measurement.metric == metric);
        let value = |metric: &str| all(metric).map(|measurement| measurement.value);
        row.fd = value("fd");
        row.fd_standard_error = all("fd").and_then(|fd| fd.standard_error);
        row.fd_floor = all("fd").and_then(|fd| fd.floor);
        row.fd_infinity = value("fd_infinity");
        row.kid = value("kid");
        row.kid_standard_error = all("kid").and_then(|kid| kid.standard_error);
        row.precision = value("precision");
        row.recall = value("recall");
        row.density = value("density");
        row.coverage = value("coverage");
        row.prdc_n = all("precision").map(|precision| precision.n_fake);
        row.prdc_k = all("precision").map(|_| self.options.k);
        row.vendi = value("vendi");
        row.classifier_score = value("classifier_score");
        row.class_tv = value("class_tv");
        row.one_nn_accuracy = value("one_nn_accuracy");
        row.auth_pct = value("auth_pct");
        row.copied_share = value("copied_share");
        row.memorised = all("copied_share").filter(|copied| copied.value.is_finite()).map(|copied| {
            let error = copied.standard_error.unwrap_or(f64::INFINITY);
            copied.value > MEMORISED && copied.value - 3.0 * error > HONEST
        });
        if self.data.spec.values == Values::Continuous {
            row.mmd = value("mmd");
        }
        row.modes_covered =
            value("modes_covered").filter(|modes| modes.is_finite()).map(|modes| modes as usize);
        row.modes_total = row
            .modes_covered
            .and_then(|_| PointSet::named(&self.data.spec.name).ok()?.modes())
            .map(|modes| modes.centres.size()[0] as usize);
        row.high_quality_share = value("high_quality_share");
    }
}

/// The columns of the second space.
fn fill_second(found: &[Measurement], row: &mut Evaluation) {
    let all = |metric: &str| found.iter().find(|measurement| measurement.metric == metric);
    let value = |metric: &str| all(metric).map(|measurement| measurement.value);
    row.second_fd = value("fd");
    row.second_fd_standard_error = all("fd").and_then(|fd| fd.standard_error);
    row.second_fd_floor = all("fd").and_then(|fd| fd.floor);
    row.second_precision = value("precision");
    row.second_recall = value("recall");
    row.second_coverage = value("coverage");
}
