//! Likelihoods of test rows.

use tch::{Device, Kind, Tensor};

use super::{Measured, Protocol, Stage};
use crate::data::{PointSet, Values};
use crate::error::Result;
use crate::eval::measurement::{Measurement, higher_is_better};
use crate::model::{Density, LikelihoodKind};
use crate::rng::{Purpose, derive, stream};

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
            let nats = self.log_likelihood(density, kind, observe)?;
            self.report_likelihood(kind, &nats, measured);
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
        let wanted = match kind {
            LikelihoodKind::Exact => self.test.len(),
            LikelihoodKind::LowerBound | LikelihoodKind::Importance(_) => self.options.n_bound.max(2),
        };
        let total = self.test.len().min(wanted);
        let mut parts = Vec::new();
        for (index, done) in (0..total).step_by(PART).enumerate() {
            observe(Stage::Likelihood { done, total });
            let seed = derive(self.options.seed, Purpose::Evaluate, index as u64);
            let rng = stream(seed, Purpose::Evaluate, 0);
            let rows = self.test.narrow(done, PART.min(total - done));
            let nats = density.log_likelihood(&rows.to_batch(&self.data.spec, &rng).x, kind, seed)?;
            parts.push(nats.detach().to_kind(Kind::Double).to_device(Device::Cpu));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// Adds a likelihood from log p of every row: the first of a kind that stands alone, and the first by importance
    /// samples, have columns of their own.
    pub(super) fn report_likelihood(&self, kind: LikelihoodKind, nats: &Tensor, measured: &mut Measured) {
        let mean = self.mean(nats);
        let row = &mut measured.row;
        if let LikelihoodKind::Importance(_) = kind {
            if row.importance_kind.is_none() {
                row.importance_kind = Some(kind.to_string());
                row.importance_bits_per_dim = mean.bits.map(|(value, _)| value);
                row.importance_nll_nats = mean.nats.map(|(value, _)| value);
                row.n_likelihood = row.n_likelihood.or(Some(nats.numel()));
            }
        } else if row.likelihood_kind.is_none() {
            row.likelihood_kind = Some(kind.to_string());
            row.n_likelihood = Some(nats.numel());
            row.bits_per_dim = mean.bits.map(|(value, _)| value);
            row.bits_per_dim_standard_error = mean.bits.map(|(_, error)| error);
            row.nll_nats = mean.nats.map(|(value, _)| value);
            row.nll_standard_error = mean.nats.map(|(_, error)| error);
            row.nll_gap_nats = self.gap(&mean);
        }
        let gap = self.gap(&mean).zip(mean.nats).map(|(gap, (_, error))| (gap, error));
        let found = [("bits_per_dim", mean.bits), ("nll_nats", mean.nats), ("nll_gap_nats", gap)];
        let present = found.into_iter().filter_map(|(metric, found)| Some((metric, found?)));
        for (metric, (value, error)) in present.filter(|(_, (value, _))| value.is_finite()) {
            measured.metrics.push(Measurement {
                metric: metric.to_owned(),
                space: NO_SPACE.to_owned(),
                parameter: kind.to_string(),
                value,
                standard_error: Some(error).filter(|error| error.is_finite()),
                floor: None,
                n_real: nats.numel(),
                n_fake: 0,
                higher_is_better: higher_is_better(metric),
            });
        }
    }

    fn mean(&self, nats: &Tensor) -> Mean {
        let spec = &self.data.spec;
        let mean = nats.mean(Kind::Double).double_value(&[]);
        let error = nats.std(true).double_value(&[]) / (nats.numel() as f64).sqrt();
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
        let points = self.data.spec.values == Values::Continuous;
        let set = points.then(|| PointSet::named(&self.data.spec.name).ok()).flatten()?;
        mean.nats.map(|(nats, _)| nats - set.entropy())
    }
}
