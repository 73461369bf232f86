use gen_core::model::{Density, LikelihoodKind};
use gen_core::registry::Buildable;
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};
use tch::Tensor;

use super::TarFlow;
use crate::base::Base;
use crate::bijection::{Bijection, Given};

impl TarFlow {
    /// ln p(y | context) of what the flow sees: `[batch]`.
    pub(super) fn log_prob_given(&self, y: &Tensor, context: Option<&Tensor>) -> Tensor {
        let given = Given { context, rng: None };
        let (z, log_det) = self.transform.forward(y, given);
        self.base.log_prob(&z, given) + log_det
    }

    /// ln p(y) of samples as they are drawn without guidance: with classes ln Σ p(y | class) / classes.
    fn log_prob(&self, y: &Tensor) -> Tensor {
        let Some(labels) = &self.labels else { return self.log_prob_given(y, None) };
        let rows = y.size()[0];
        let of_class = |class| self.log_prob_given(y, Some(&labels.all_of(class, rows)));
        let each: Vec<Tensor> = (0..labels.classes()).map(of_class).collect();
        Tensor::stack(&each, 0).logsumexp(0, false) - (labels.classes() as f64).ln()
    }

    /// That of points is exact, unless their data set spreads them; bytes are spread over their cells by uniform noise.
    pub(super) fn kind(&self) -> LikelihoodKind {
        match self.card.data.shape.is_image() || self.card.data.is_dequantised() {
            true => LikelihoodKind::Dequantised,
            false => LikelihoodKind::Exact,
        }
    }

    /// [`TarFlow::log_prob`] of each row of data `x`, whose noise is drawn from `rng`.
    pub(super) fn log_prob_of_data(&self, x: &Tensor, rng: &Generator) -> Result<Tensor> {
        self.check_shape(x)?;
        let _no_grad = tch::no_grad_guard();
        Ok(self.in_parts(x, &[0], |x| self.log_prob(&self.corruption.add(x, rng))))
    }
}

/// Of points, and of bytes that were made continuous by uniform noise. With classes it is the density of all together,
/// each as likely as the others.
impl Density for TarFlow {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        vec![self.kind()]
    }

    fn log_likelihood(&self, x: &Tensor, kind: LikelihoodKind, seed: u64) -> Result<Tensor> {
        let log_volume = self.corruption.log_volume(self.card.data.shape.dimensions());
        let Some(log_volume) = log_volume.filter(|_| kind == self.kind()) else {
            return Err(Error::invalid(format!(
                "`{}` has the likelihood `{}`, of data without Gaussian noise; found `{kind}`",
                Self::NAME,
                self.kind()
            )));
        };
        Ok(self.log_prob_of_data(x, &stream(seed, Purpose::Evaluate, 0))? + log_volume)
    }
}
