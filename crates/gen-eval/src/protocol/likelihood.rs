//! Likelihoods of test rows.

use tch::{Device, Kind, Tensor};

use super::{Measured, Protocol, Stage};
use crate::measurement::{Direction, Measurement};
use gen_core::Result;
use gen_core::data::{PointSet, Values};
use gen_core::model::{Density, LikelihoodKind};
use gen_core::rng::{Purpose, derive, stream};

/// Rows whose likelihood is asked of a model at a time.
const PART: usize = 250;
/// What is compared in no feature space.
const NO_SPACE: &str = "data";

/// The mean of log p over rows, as reports have it.
struct Mean {
    /// Images: bits per dimension and its standard error.
    bits: Option<(f64, f64)>,
    /// Points, and black and white images: nats and their standard error.
    nats: Option<(f64, f64)>,
}

impl Protocol<'_> {
    /// Every kind of likelihood that the model has.
    pub(super) fn likelihood(
        &self,
        density: &dyn Density,
        measured: &mut Measured,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<()> {
        for kind in density.kinds() {
            let of_rows = |x: &Tensor, seed| density.log_likelihood(x, kind, seed).map(Some);
            if let Some(nats) = self.of_test_rows(kind, &of_rows, observe)? {
                self.report_likelihood(kind, &nats, measured);
            }
            let of_rows = |x: &Tensor, seed| density.effective_sample_size(x, kind, seed);
            if let Some(sizes) = self.of_test_rows(kind, &of_rows, observe)? {
                let mean = mean_and_error(&sizes);
                measured.metrics.push(row("effective_sample_size", kind, mean, sizes.numel()));
            }
        }
        Ok(())
    }

    /// What `of_rows` says of test rows, `f64 [rows]`: of all that are compared if the likelihood takes one pass, of the first
    /// of them if it takes many.
    fn of_test_rows(
        &self,
        kind: LikelihoodKind,
        of_rows: &dyn Fn(&Tensor, u64) -> Result<Option<Tensor>>,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Option<Tensor>> {
        let wanted = match kind {
            LikelihoodKind::Exact | LikelihoodKind::Dequantised => self.test.len(),
            LikelihoodKind::Ode | LikelihoodKind::DequantisedOde => self.options.n_ode.max(2),
            LikelihoodKind::LowerBound
            | LikelihoodKind::Importance(_)
            | LikelihoodKind::DequantisedImportance(_) => self.options.n_bound.max(2),
        };
        let total = self.test.len().min(wanted);
        let mut parts = Vec::new();
        observe(Stage::Likelihood { kind, done: 0, total });
        for (index, done) in (0..total).step_by(PART).enumerate() {
            let seed = derive(self.options.seed, Purpose::Evaluate, index as u64);
            let rng = stream(seed, Purpose::Evaluate, 0);
            let rows = self.test.narrow(done, PART.min(total - done));
            let Some(found) = of_rows(&rows.to_batch(&self.data.spec, &rng).x, seed)? else {
                return Ok(None);
            };
            parts.push(found.detach().to_kind(Kind::Double).to_device(Device::Cpu));
            observe(Stage::Likelihood { kind, done: done + rows.len(), total });
        }
        Ok(Some(Tensor::cat(&parts, 0)))
    }

    /// Adds a likelihood from log p of every row: the first of a kind that stands alone, and the first by importance
    /// samples, have columns of their own.
    pub(super) fn report_likelihood(&self, kind: LikelihoodKind, nats: &Tensor, measured: &mut Measured) {
        let (mean, divergence) = (self.mean(nats), self.divergence(nats));
        let main = &mut measured.row;
        if let LikelihoodKind::Importance(_) | LikelihoodKind::DequantisedImportance(_) = kind {
            if main.importance_kind.is_none() {
                main.importance_kind = Some(kind.to_string());
                main.importance_bits_per_dim = mean.bits.map(|(value, _)| value);
                main.importance_nll_nats = mean.nats.map(|(value, _)| value);
                main.n_likelihood = main.n_likelihood.or(Some(nats.numel()));
            }
        } else if main.likelihood_kind.is_none() {
            main.likelihood_kind = Some(kind.to_string());
            main.n_likelihood = Some(nats.numel());
            main.bits_per_dim = mean.bits.map(|(value, _)| value);
            main.bits_per_dim_standard_error = mean.bits.and_then(finite_error);
            main.nll_nats = mean.nats.map(|(value, _)| value);
            main.nll_standard_error = mean.nats.and_then(finite_error);
            main.nll_gap_nats = self.gap(&mean);
            main.kl_nats = divergence.map(|(value, _)| value);
            main.kl_standard_error = divergence.and_then(finite_error);
        }
        let gap = self.gap(&mean).zip(mean.nats).map(|(gap, (_, error))| (gap, error));
        let found = [
            ("bits_per_dim", mean.bits),
            ("nll_nats", mean.nats),
            ("nll_gap_nats", gap),
            ("kl_nats", divergence),
        ];
        for (metric, mean) in found {
            measured.metrics.extend(mean.map(|mean| row(metric, kind, mean, nats.numel())));
        }
    }

    fn mean(&self, nats: &Tensor) -> Mean {
        let spec = &self.data.spec;
        let (mean, error) = mean_and_error(nats);
        let dimensions = spec.shape.dimensions();
        let bits = spec.shape.is_image().then(|| {
            let per_bit = dimensions as f64 * std::f64::consts::LN_2;
            (spec.values.bits_per_dim(mean, dimensions), error / per_bit)
        });
        let has_nats = matches!(spec.values, Values::Continuous | Values::Binary);
        Mean { bits, nats: has_nats.then_some((-mean, error)) }
    }

    /// How far above the entropy of the distribution, where that is known.
    fn gap(&self, mean: &Mean) -> Option<f64> {
        let set = self.point_set()?;
        mean.nats.map(|(nats, _)| nats - set.entropy())
    }

    /// The Kullback-Leibler divergence KL(p‖q) of the model's q from the distribution p of the data, where that is known: the
    /// mean of ln p - ln q over the first test rows, of which `nats` are the ln q. What the rows say of the entropy by chance
    /// is in both, so that it is known far better than the gap.
    fn divergence(&self, nats: &Tensor) -> Option<(f64, f64)> {
        let set = self.point_set()?;
        let rng = stream(self.options.seed, Purpose::Evaluate, 0);
        let rows = self.test.narrow(0, nats.numel()).to_batch(&self.data.spec, &rng).x;
        Some(mean_and_error(&(set.log_prob(&rows) - nats)))
    }

    fn point_set(&self) -> Option<PointSet> {
        let points = self.data.spec.values == Values::Continuous;
        points.then(|| PointSet::named(&self.data.spec.name).ok()).flatten()
    }
}

/// The mean of numbers and its standard error.
fn mean_and_error(x: &Tensor) -> (f64, f64) {
    let error = x.std(true).double_value(&[]) / (x.numel() as f64).sqrt();
    (x.mean(Kind::Double).double_value(&[]), error)
}

fn finite_error((_, error): (f64, f64)) -> Option<f64> {
    Some(error).filter(|error| error.is_finite())
}

/// A mean over test rows, with its standard error, as a row.
fn row(metric: &str, kind: LikelihoodKind, mean: (f64, f64), rows: usize) -> Measurement {
    Measurement {
        metric: metric.to_owned(),
        space: NO_SPACE.to_owned(),
        parameter: kind.to_string(),
        value: mean.0,
        standard_error: finite_error(mean),
        floor: None,
        n_real: rows,
        n_fake: 0,
        direction: Direction::of(metric),
    }
}
