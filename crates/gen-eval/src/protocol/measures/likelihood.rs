//! Likelihoods of test rows.

use tch::{Device, Kind, Tensor};

use crate::protocol::found::Found;
use crate::protocol::stage::Stage;
use gen_core::Result;
use gen_core::data::{Batch, Dataset, PointSet, Split, Values};
use gen_core::model::{Density, LikelihoodKind};
use gen_core::rng::{Purpose, derive, stream};

/// Rows in one call of a model.
const PART: usize = 250;

/// Test rows whose likelihood is measured, and how.
pub(crate) struct TestRows<'a> {
    pub(crate) data: &'a Dataset,
    pub(crate) test: &'a Split,
    /// Seed of estimates.
    pub(crate) seed: u64,
    /// Rows of a bound.
    pub(crate) n_bound: usize,
    /// Rows of a likelihood by the probability-flow equation.
    pub(crate) n_ode: usize,
}

/// A mean over rows and its standard error.
type Mean = (f64, f64);

/// The numbers of every kind of likelihood that the model has; none of a model that has learned p(x | label) alone,
/// whose likelihoods would compare with no other model's.
pub(crate) fn of_model(
    density: &dyn Density,
    rows: &TestRows<'_>,
    observe: &mut dyn FnMut(Stage),
) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let kinds = if density.is_marginal() { density.kinds() } else { Vec::new() };
    for kind in kinds {
        let of_rows = |batch: &Batch, seed| density.log_likelihood(batch, kind, seed).map(Some);
        if let Some(nats) = rows.collect(kind, &of_rows, observe)? {
            found.extend(of_log_likelihoods(kind, &nats, rows));
        }
        let of_rows = |batch: &Batch, seed| density.effective_sample_size(batch, kind, seed);
        if let Some(sizes) = rows.collect(kind, &of_rows, observe)? {
            found.push(number("effective_sample_size", kind, mean_and_error(&sizes), sizes.numel()));
        }
    }
    Ok(found)
}

/// The numbers of a likelihood from `log p` of the first test rows, in nats: `f64 [rows]`.
pub(crate) fn of_log_likelihoods(kind: LikelihoodKind, nats: &Tensor, rows: &TestRows<'_>) -> Vec<Found> {
    let spec = &rows.data.spec;
    let (mean, error) = mean_and_error(nats);
    let dimensions = spec.shape.dimensions();
    let bits = spec.shape.is_image().then(|| {
        let per_bit = dimensions as f64 * std::f64::consts::LN_2;
        (spec.values.bits_per_dim(mean, dimensions), error / per_bit)
    });
    let in_nats = matches!(spec.values, Values::Continuous | Values::Binary).then_some((-mean, error));
    let set = rows.point_set();
    let gap = set.zip(in_nats).map(|(set, (value, error))| (value - set.entropy(), error));
    let divergence = set.map(|set| rows.divergence(set, nats));
    let numbers = [("bits_per_dim", bits), ("nll_nats", in_nats), ("nll_gap_nats", gap), ("kl_nats", divergence)];
    let numbers = numbers.into_iter().filter_map(|(metric, mean)| Some((metric, mean?)));
    numbers.map(|(metric, mean)| number(metric, kind, mean, nats.numel())).collect()
}

impl TestRows<'_> {
    /// The values that `of_rows` gives for test rows, `f64 [rows]`: for all of them if the likelihood takes one pass,
    /// for the first ones if it takes many.
    fn collect(
        &self,
        kind: LikelihoodKind,
        of_rows: &dyn Fn(&Batch, u64) -> Result<Option<Tensor>>,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Option<Tensor>> {
        let wanted = match kind {
            LikelihoodKind::Exact | LikelihoodKind::Dequantised => self.test.len(),
            LikelihoodKind::Ode | LikelihoodKind::DequantisedOde => self.n_ode.max(2),
            LikelihoodKind::LowerBound | LikelihoodKind::Importance(_) | LikelihoodKind::DequantisedImportance(_) => {
                self.n_bound.max(2)
            }
        };
        let total = self.test.len().min(wanted);
        let mut parts = Vec::new();
        observe(Stage::Likelihood { kind, done: 0, total });
        for (index, done) in (0..total).step_by(PART).enumerate() {
            let seed = derive(self.seed, Purpose::Evaluate, index as u64);
            let rng = stream(seed, Purpose::Evaluate, 0);
            let rows = self.test.narrow(done, PART.min(total - done));
            let batch = rows.to_batch(&self.data.spec, &rng);
            // p(x), which is comparable with that of a model that does not learn from classes.
            let batch = Batch { condition: batch.condition.without_labels(), ..batch };
            let Some(found) = of_rows(&batch, seed)? else { return Ok(None) };
            parts.push(found.detach().to_kind(Kind::Double).to_device(Device::Cpu));
            observe(Stage::Likelihood { kind, done: done + rows.len(), total });
        }
        Ok(Some(Tensor::cat(&parts, 0)))
    }

    /// The divergence KL(p‖q) of the model q from the distribution p of the data, in nats: the mean of `ln p - ln q`
    /// over the first test rows, of which `nats` are the `ln q`. The chance of which rows they are is in both terms, so
    /// the error is far smaller than that of the gap to the entropy.
    fn divergence(&self, set: PointSet, nats: &Tensor) -> Mean {
        let rng = stream(self.seed, Purpose::Evaluate, 0);
        let rows = self.test.narrow(0, nats.numel()).to_batch(&self.data.spec, &rng).x;
        mean_and_error(&(set.log_prob(&rows) - nats))
    }

    /// The distribution of the data, where it is known.
    fn point_set(&self) -> Option<PointSet> {
        let points = self.data.spec.values == Values::Continuous;
        points.then(|| PointSet::named(&self.data.spec.name).ok()).flatten()
    }
}

fn mean_and_error(x: &Tensor) -> Mean {
    let error = x.std(true).double_value(&[]) / (x.numel() as f64).sqrt();
    (x.mean(Kind::Double).double_value(&[]), error)
}

fn number(metric: &str, kind: LikelihoodKind, (value, error): Mean, rows: usize) -> Found {
    Found::new(metric, &kind.to_string(), value, Some(error), (rows, 0))
}
