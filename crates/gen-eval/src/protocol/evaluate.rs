//! [`Protocol`] measures models, references and files of samples.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::cache::EvaluationCache;
use super::columns::{Evaluation, Measured};
use super::found::Found;
use super::measures::likelihood::{TestRows, of_log_likelihoods};
use super::options::EvaluateOptions;
use super::sampling::{self, Drawn};
use super::space::Space;
use super::stage::Stage;
use super::table::{Compute, METRICS, direction};
use crate::features::FeatureSpace;
use crate::measurement::Measurement;
use crate::reference::Reference;
use gen_core::config::assignments;
use gen_core::data::{Dataset, Split};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, permutation};
use gen_core::{Error, Result};

/// Samples for a picture, where nothing compares them.
const PICTURED: usize = 64;
/// The space of numbers that need none.
const NO_SPACE: &str = "data";

/// Results, and the samples that they are about.
#[derive(Debug)]
pub struct Evaluated {
    /// The results.
    pub measured: Measured,
    /// The samples: `u8 [n, channels, height, width]` or `f64 [n, dimension]`. `n` is the number compared or, where no
    /// metric that is asked for compares samples, at most 64.
    pub samples: Tensor,
}

/// A data set ready to measure models on it.
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
/// let noise = protocol.evaluate_reference(Reference::PixelNoise, &mut |_| ())?.measured;
/// assert!(noise.number("fd") > noise.number("fd_floor"));
/// # Ok(())
/// # }
/// ```
pub struct Protocol<'a> {
    data: &'a Dataset,
    options: &'a EvaluateOptions,
    /// Test rows, in the order in which they are compared.
    test: Split,
    spaces: Vec<Space<'a>>,
}

impl<'a> Protocol<'a> {
    /// Computes the features of test and training rows, which all models share, or loads them from `cache`.
    ///
    /// # Errors
    /// When the data has fewer than 2 test rows, `k` is below 1, a feature space is needed and none is given, or a
    /// space is for other data.
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
            .map(|space| Space::new(data, &test, space, options, cache, observe))
            .collect::<Result<_>>()?;
        Ok(Protocol { data, options, test, spaces })
    }

    /// Samples a model and measures quality, likelihood and cost.
    ///
    /// # Errors
    /// When the model cannot honour the options, or its samples have another shape than the data.
    pub fn evaluate(&self, model: &dyn GenerativeModel, observe: &mut dyn FnMut(Stage)) -> Result<Evaluated> {
        let start = Instant::now();
        let card = model.card();
        let options = self.options.sampling.clone();
        let (n, seed) = (self.samples(), self.options.seed);
        // As often as test rows are.
        let condition = card.conditioning.draw(&self.test, n, seed);
        let request = SampleRequest { n, seed, condition, options };
        let one = request.part(0, 1, seed);
        let sampling = model.sampling(&one)?;
        observe(Stage::Timing);
        let latency = sampling::latency(model, &one)?;
        let compared = self.options.compares_samples();
        let Drawn { samples, per_second, finite } = sampling::draw(model, &self.data.spec, &request, observe)?;
        let Measured { row, metrics } = match (compared, finite) {
            (false, _) => self.uncompared(),
            (true, true) => self.compare(&samples, observe)?,
            (true, false) => {
                let n = samples.size()[0];
                self.in_spaces(n, |space| space.without_numbers(n as usize, observe))?
            }
        };
        let row = Evaluation {
            family: card.family.to_string(),
            model: card.name.to_owned(),
            parameters: Some(card.parameters),
            sampling_parameters: Some(card.sampling_parameters),
            sampler: sampling.sampler.map(str::to_owned),
            sampling: Some(assignments(&model.sampling_options(&request)?)),
            nfe: Some(sampling.evaluations),
            sample_images_per_second: compared.then_some(per_second),
            sample_latency_ms: Some(latency.as_secs_f64() * 1e3),
            sample_batch: compared.then_some(sampling::PART.min(self.samples())),
            ..row
        };
        let mut measured = Measured { row, metrics };
        self.measure_model(model, &mut measured, observe)?;
        measured.row.evaluate_seconds = Some(start.elapsed().as_secs_f64());
        Ok(Evaluated { measured, samples })
    }

    /// Measures a reference, which is not a model.
    ///
    /// # Errors
    /// When there are fewer than two training rows.
    pub fn evaluate_reference(&self, reference: Reference, observe: &mut dyn FnMut(Stage)) -> Result<Evaluated> {
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
            false => self.uncompared(),
        };
        let row = Evaluation { family: "reference".to_owned(), model: reference.name().to_owned(), ..row };
        let mut measured = Measured { row, metrics };
        if self.options.metrics.iter().any(|metric| metric.needs_density())
            && let Some(nats) = reference.log_likelihood(self.data, &self.test.x, self.options.seed)?
        {
            let kind = reference.likelihood_kind(&self.data.spec);
            measured.metrics.extend(without_space(of_log_likelihoods(kind, &nats, &self.test_rows())));
        }
        measured.row.evaluate_seconds = Some(start.elapsed().as_secs_f64());
        Ok(Evaluated { measured, samples })
    }

    /// Compares samples from anywhere, `u8 [n, channels, height, width]` or `[n, dimension]`, with the test rows. Their
    /// order does not matter. Of more than [`EvaluateOptions::n`] a random choice is measured.
    ///
    /// # Errors
    /// When their shape is not that of the data, there are fewer than two, or a value is not finite.
    pub fn compare(&self, samples: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Measured> {
        Ok(self.evaluate_samples(samples, observe)?.measured)
    }

    /// [`Protocol::compare`], with the samples that were measured in random order.
    ///
    /// # Errors
    /// As [`Protocol::compare`].
    pub fn evaluate_samples(&self, samples: &Tensor, observe: &mut dyn FnMut(Stage)) -> Result<Evaluated> {
        self.check(samples)?;
        // A folder may be sorted by class, and some metrics use the first rows alone.
        let mut order = permutation(samples.size()[0] as usize, self.options.seed, Purpose::Evaluate, 4);
        order.truncate(self.options.n);
        let samples = samples.to_device(Device::Cpu).index_select(0, &Tensor::from_slice(&order));
        let measured = self.in_spaces(samples.size()[0], |space| space.measure(&samples, observe))?;
        Ok(Evaluated { measured, samples })
    }

    /// Adds the numbers that need the model itself.
    fn measure_model(
        &self,
        model: &dyn GenerativeModel,
        measured: &mut Measured,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<()> {
        for metric in METRICS.iter().filter(|metric| self.options.metrics.contains(metric)) {
            match metric.compute {
                Compute::Latents(measure) => {
                    let Some(latent) = model.latent() else { continue };
                    for space in &self.spaces {
                        let name = space.rows.name();
                        let metric = metric.name;
                        let stage = |space| Stage::Comparing { space, metric, floor: false, done: 0, total: 1 };
                        observe(stage(name.clone()));
                        let found = measure(latent, &space.rows, self.options.seed)?;
                        let direction = direction(&found.metric);
                        measured.metrics.push(found.measured(&name, None, direction));
                    }
                }
                Compute::Density(measure) => {
                    let Some(density) = model.density() else { continue };
                    let found = measure(density, &self.test_rows(), observe)?;
                    measured.metrics.extend(without_space(found));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn test_rows(&self) -> TestRows<'_> {
        let EvaluateOptions { seed, n_bound, n_ode, .. } = *self.options;
        TestRows { data: self.data, test: &self.test, seed, n_bound, n_ode }
    }

    /// Number of samples to draw: that of test rows to compare with them, or a few to look at.
    fn samples(&self) -> usize {
        let rows = self.test.len();
        if self.options.compares_samples() { rows } else { rows.min(PICTURED) }
    }

    /// A row without numbers, where no metric compares samples.
    fn uncompared(&self) -> Measured {
        Measured { row: self.row(None), metrics: Vec::new() }
    }

    /// A row that says which data and spaces `n` samples are compared in.
    fn row(&self, n: Option<usize>) -> Evaluation {
        let spec = &self.data.spec;
        let [first, second] = [0, 1].map(|place| self.spaces.get(place).map(|space| &space.rows));
        Evaluation {
            feature_space: first.map(|rows| rows.name()).unwrap_or_default(),
            feature_sha256: first.and_then(|rows| rows.sha256()).map(str::to_owned),
            second_space: second.map(|rows| rows.name()),
            dataset: spec.name.clone(),
            dataset_sha256: Some(spec.sha256.clone()).filter(|hash| !hash.is_empty()),
            n_real: n.map(|_| self.test.len()),
            n_fake: n,
            ..Evaluation::default()
        }
    }

    /// Checks that samples have the form of the data.
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

    /// The numbers of `n` samples in every space.
    fn in_spaces(&self, n: i64, measure: impl FnMut(&Space<'a>) -> Result<Vec<Measurement>>) -> Result<Measured> {
        let metrics = self.spaces.iter().map(measure).collect::<Result<Vec<_>>>()?.concat();
        Ok(Measured { row: self.row(Some(n as usize)), metrics })
    }
}

/// Results that need no feature space.
fn without_space(found: Vec<Found>) -> impl Iterator<Item = Measurement> {
    found.into_iter().map(|found| {
        let direction = direction(&found.metric);
        found.measured(NO_SPACE, None, direction)
    })
}
