//! The one way in which all models are measured: what becomes a row of `evaluation.csv`.
//!
//! - As many samples as test rows, `n` of each (10,000 unless the test split is smaller), against the distance of
//!   as many training rows from the same test rows: the floor.
//! - Samples are turned into bytes as a file would hold them, before anything is measured.
//! - Which rows are compared does not depend on the seed: all models meet the same ones.

use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::reference::as_values;
use super::{
    Estimator, Evaluation, FeatureSpace, Reference, frechet_distance, kernel_distance,
    kernel_distance_standard_error, median_distance, mmd_squared, mode_coverage, prdc, rbf_kernel,
};
use crate::data::{Dataset, PointSet, Split, Values, signed_to_bytes};
use crate::error::{Error, Result};
use crate::model::{Density, GenerativeModel, LikelihoodKind, SampleRequest};
use crate::rng::{Purpose, derive, permutation, stream};

/// Samples that are asked of a model at a time.
const PART: usize = 500;
/// Rows whose likelihood is asked of a model at a time.
const LIKELIHOOD_PART: usize = 250;
/// Blocks behind the standard error of the kernel distance.
const BLOCKS: i64 = 10;
/// Bandwidths of the kernel of the MMD, in medians of the distances between test points.
const BANDWIDTHS: [f64; 4] = [0.25, 0.5, 1.0, 2.0];
/// Test points that the median is taken of.
const MEDIAN_ROWS: i64 = 2000;

/// Settings of a [`Protocol`].
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateOptions {
    /// Samples, and test rows, to compare.
    pub n: usize,
    /// The seed of the samples and of likelihood estimates.
    pub seed: u64,
    /// Neighbours in precision, recall, density and coverage.
    pub k: i64,
    /// Test rows for likelihoods that are estimated; exact ones take all that are compared.
    pub n_bound: usize,
    /// The model's sampler, where it has several.
    pub sampler: Option<String>,
    /// The number of steps of an iterative sampler.
    pub steps: Option<usize>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        EvaluateOptions { n: 10_000, seed: 0, k: 5, n_bound: 1000, sampler: None, steps: None }
    }
}

/// How far an evaluation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Samples drawn.
    Sampling {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Comparing features.
    Comparing,
    /// Rows whose likelihood is known.
    Likelihood {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
}

/// A row, and the samples that it is about.
#[derive(Debug)]
pub struct Evaluated {
    /// What was measured. What only a run knows (its name, its training) is left empty.
    pub row: Evaluation,
    /// The samples: `u8 [n, channels, height, width]` or `f32 [n, dimension]`.
    pub samples: Tensor,
}

/// A data set made ready to measure models on it.
///
/// ```
/// use gen_core::data::Dataset;
/// use gen_core::data::Split;
/// use gen_core::eval::{EvaluateOptions, FeatureSpace, Protocol, Reference};
/// use tch::{Device, Kind, Tensor};
///
/// # fn main() -> gen_core::Result<()> {
/// let points = |n| Split::unlabelled(Tensor::randn([n, 2], (Kind::Float, Device::Cpu)));
/// let data = Dataset::from_splits("mine", points(2000), None, Some(points(500)), Vec::new())?;
/// let protocol = Protocol::new(&data, &FeatureSpace::Identity, EvaluateOptions::default())?;
/// let noise = protocol.evaluate_reference(Reference::PixelNoise, &mut |_| ())?.row;
/// assert!(noise.fd > noise.fd_floor);
/// # Ok(())
/// # }
/// ```
pub struct Protocol<'a> {
    data: &'a Dataset,
    space: &'a FeatureSpace,
    options: EvaluateOptions,
    /// Test rows, in the order in which they are compared.
    test: Split,
    real: Tensor,
    fd_floor: f64,
    sigmas: Vec<f64>,
}

impl<'a> Protocol<'a> {
    /// Takes the features of test and training rows, which all models share.
    ///
    /// # Errors
    /// When the data has no test split, or the feature space is for other data.
    pub fn new(data: &'a Dataset, space: &'a FeatureSpace, options: EvaluateOptions) -> Result<Self> {
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
        let mut order = permutation(data.test.len(), 0, Purpose::Evaluate, 0);
        order.truncate(n);
        let test = data.test.select(&order);
        let real = space.features(&as_values(&test.x, data))?;
        let floor = space.features(&Reference::Floor.sample(data, n, 0)?)?;
        let fd_floor = frechet_distance(&real, &floor)?;
        let sigmas = match data.spec.values {
            Values::Continuous => {
                let median = median_distance(&real.narrow(0, 0, MEDIAN_ROWS.min(n as i64)))?;
                BANDWIDTHS.map(|factor| factor * median).to_vec()
            }
            _ => Vec::new(),
        };
        Ok(Protocol { data, space, options, test, real, fd_floor, sigmas })
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
        let latency = latency(model, &request)?;
        let (samples, images_per_second) = self.draw(model, &request, observe)?;
        observe(Stage::Comparing);
        let mut row = Evaluation {
            family: card.family.to_string(),
            model: card.name.to_owned(),
            parameters: Some(card.parameters),
            sampling_parameters: Some(card.sampling_parameters),
            sampler: sampling.sampler.map(str::to_owned),
            nfe: Some(sampling.evaluations),
            sample_images_per_second: Some(images_per_second),
            sample_latency_ms: Some(latency.as_secs_f64() * 1e3),
            ..self.compare(&samples)?
        };
        if let Some(density) = model.density() {
            self.likelihood(density, &mut row, observe)?;
        }
        row.evaluate_seconds = Some(start.elapsed().as_secs_f64());
        Ok(Evaluated { row, samples })
    }

    /// Measures a row that no model made.
    ///
    /// # Errors
    /// When the training data has no covariance.
    pub fn evaluate_reference(
        &self,
        reference: Reference,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Evaluated> {
        let start = Instant::now();
        // The floor is the same for all seeds, as it is in `fd_floor`.
        let seed = if reference == Reference::Floor { 0 } else { self.options.seed };
        let samples = reference.sample(self.data, self.test.len(), seed)?.to_device(Device::Cpu);
        observe(Stage::Comparing);
        let mut row = Evaluation {
            family: "reference".to_owned(),
            model: reference.name().to_owned(),
            ..self.compare(&samples)?
        };
        if let Some(nats) = reference.log_likelihood(self.data, &self.test.x, self.options.seed)? {
            self.report(LikelihoodKind::Exact, &nats, &mut row);
        }
        row.evaluate_seconds = Some(start.elapsed().as_secs_f64());
        Ok(Evaluated { row, samples })
    }

    /// Measures samples from anywhere, `u8 [n, channels, height, width]` or `[n, dimension]`: the columns of
    /// quality, and those that say against what.
    ///
    /// # Errors
    /// When they have not the shape of the data, are fewer than two, or hold values that are not finite.
    pub fn compare(&self, samples: &Tensor) -> Result<Evaluation> {
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
        let (real, fake) = (&self.real, self.space.features(samples)?);
        let rows = real.size()[0].min(n);
        let block = rows / BLOCKS;
        let mut row = Evaluation {
            dataset: self.data.spec.name.clone(),
            dataset_sha256: Some(self.data.spec.sha256.clone()).filter(|hash| !hash.is_empty()),
            n_real: Some(real.size()[0] as usize),
            n_fake: Some(n as usize),
            feature_space: self.space.name(),
            feature_sha256: self.space.sha256().map(str::to_owned),
            fd: Some(frechet_distance(real, &fake)?),
            fd_floor: Some(self.fd_floor),
            kid: Some(kernel_distance(real, &fake)?),
            ..Evaluation::default()
        };
        if block >= 2 {
            row.kid_standard_error = Some(kernel_distance_standard_error(real, &fake, block)?);
        }
        if rows > self.options.k {
            // Recall grows with the number of samples: both sides have the same.
            let found = prdc(&real.narrow(0, 0, rows), &fake.narrow(0, 0, rows), self.options.k)?;
            row.precision = Some(found.precision);
            row.recall = Some(found.recall);
            row.density = Some(found.density);
            row.coverage = Some(found.coverage);
            row.prdc_n = Some(rows as usize);
            row.prdc_k = Some(self.options.k);
        }
        if !self.sigmas.is_empty() {
            row.mmd = Some(mmd_squared(real, &fake, rbf_kernel(&self.sigmas), Estimator::Unbiased)?);
        }
        if let Some(modes) = self.point_set().and_then(PointSet::modes) {
            let found = mode_coverage(&modes.centres, modes.std, &fake)?;
            row.modes_covered = Some(found.covered);
            row.modes_total = Some(found.total);
            row.high_quality_share = Some(found.high_quality_share);
        }
        Ok(row)
    }

    fn point_set(&self) -> Option<PointSet> {
        match self.data.spec.values {
            Values::Continuous => PointSet::named(&self.data.spec.name).ok(),
            _ => None,
        }
    }

    /// As many samples as there are test rows, and how many a second.
    fn draw(
        &self,
        model: &dyn GenerativeModel,
        request: &SampleRequest,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<(Tensor, f64)> {
        let total = self.test.len();
        let start = Instant::now();
        let mut parts = Vec::new();
        for (index, done) in (0..total).step_by(PART).enumerate() {
            observe(Stage::Sampling { done, total });
            let seed = derive(request.seed, Purpose::Sample, index as u64);
            let part = model.sample(&request.part(PART.min(total - done), seed))?;
            parts.push(match self.data.spec.shape.is_image() {
                true => signed_to_bytes(&part).to_device(Device::Cpu),
                false => part.to_kind(Kind::Float).to_device(Device::Cpu),
            });
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok((Tensor::cat(&parts, 0), total as f64 / seconds.max(1e-9)))
    }

    fn likelihood(
        &self,
        density: &dyn Density,
        row: &mut Evaluation,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<()> {
        let kinds = density.kinds();
        let is_importance = |kind: &LikelihoodKind| matches!(kind, LikelihoodKind::Importance(_));
        let importance = kinds.iter().copied().find(is_importance);
        if let Some(kind) = kinds.iter().copied().find(|kind| !is_importance(kind)) {
            let nats = self.log_likelihood(density, kind, observe)?;
            self.report(kind, &nats, row);
        }
        if let Some(kind) = importance {
            let nats = self.log_likelihood(density, kind, observe)?;
            row.n_likelihood = row.n_likelihood.or(Some(nats.numel()));
            row.importance_kind = Some(kind.to_string());
            let mean = nats.mean(Kind::Double).double_value(&[]);
            let spec = &self.data.spec;
            if spec.shape.is_image() {
                row.importance_bits_per_dim = Some(spec.values.bits_per_dim(mean, spec.shape.dimensions()));
            }
            if self.has_nats() {
                row.importance_nll_nats = Some(-mean);
            }
        }
        Ok(())
    }

    /// log p of test rows, `f64 [rows]`: of all that are compared if it is exact, of the first of them if it is an
    /// estimate.
    fn log_likelihood(
        &self,
        density: &dyn Density,
        kind: LikelihoodKind,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Tensor> {
        let total = match kind {
            LikelihoodKind::Exact => self.test.len(),
            _ => self.test.len().min(self.options.n_bound.max(2)),
        };
        let mut parts = Vec::new();
        for (index, done) in (0..total).step_by(LIKELIHOOD_PART).enumerate() {
            observe(Stage::Likelihood { done, total });
            let seed = derive(self.options.seed, Purpose::Evaluate, index as u64);
            let rng = stream(seed, Purpose::Evaluate, 0);
            let rows = self.test.narrow(done, LIKELIHOOD_PART.min(total - done));
            let nats = density.log_likelihood(&rows.to_batch(&self.data.spec, &rng).x, kind, seed)?;
            parts.push(nats.detach().to_kind(Kind::Double).to_device(Device::Cpu));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// Fills the columns of the main likelihood from log p of every row.
    fn report(&self, kind: LikelihoodKind, nats: &Tensor, row: &mut Evaluation) {
        let spec = &self.data.spec;
        let mean = nats.mean(Kind::Double).double_value(&[]);
        let standard_error = nats.std(true).double_value(&[]) / (nats.numel() as f64).sqrt();
        row.likelihood_kind = Some(kind.to_string());
        row.n_likelihood = Some(nats.numel());
        if spec.shape.is_image() {
            let dimensions = spec.shape.dimensions();
            row.bits_per_dim = Some(spec.values.bits_per_dim(mean, dimensions));
            row.bits_per_dim_standard_error =
                Some(standard_error / (dimensions as f64 * std::f64::consts::LN_2));
        }
        if self.has_nats() {
            row.nll_nats = Some(-mean);
            row.nll_standard_error = Some(standard_error);
            row.nll_gap_nats = self.point_set().map(|set| -mean - set.entropy());
        }
    }

    /// Points, and black and white images, are reported in nats.
    fn has_nats(&self) -> bool {
        matches!(self.data.spec.values, Values::Continuous | Values::Binary)
    }
}

/// The median time of a call for one sample, after one that warms up: of as many calls as take a second, at least
/// 3 and at most 20.
fn latency(model: &dyn GenerativeModel, request: &SampleRequest) -> Result<Duration> {
    let call = || {
        let start = Instant::now();
        let sample = model.sample(request)?;
        // Waits for the device.
        let _ = sample.to_device(Device::Cpu);
        Ok::<_, Error>(start.elapsed())
    };
    let _ = call()?;
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < 20 && times.iter().sum::<Duration>() < Duration::from_secs(1)) {
        times.push(call()?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}
