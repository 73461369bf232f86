use tch::Tensor;

use crate::error::{Error, Result};

/// The gradient of a sum of losses, one loss at a time: gradient accumulation.
///
/// Only the graph of one part of a batch is in memory at a time. A mean over a batch of N rows is the sum of the means
/// over parts of n rows, each with the share n / N.
///
/// ```
/// use gen_core::optim::{Optimizer, OptimizerConfig};
/// use gen_core::params::{Init, Params};
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let slope = params.root().parameter("slope", &[], Init::ZEROS);
/// let mut optimizer = Optimizer::new(&params, OptimizerConfig::default())?;
/// let rows = Tensor::arange(10, (Kind::Double, Device::Cpu));
/// let loss = |rows: &Tensor| (rows * &slope - 1.0).square().mean(Kind::Double);
///
/// let mut gradient = optimizer.accumulator();
/// for part in rows.split(4, 0) {
///     gradient.add(&loss(&part), part.size()[0] as f64 / 10.0)?;
/// }
/// let (mean, _norm) = optimizer.step_accumulated(gradient, 1.0)?;
/// assert_eq!(mean.double_value(&[]), 1.0);
/// # Ok::<(), gen_core::Error>(())
/// ```
pub struct Accumulator {
    parameters: Vec<Tensor>,
    sum: Option<(Tensor, Vec<Tensor>)>,
}

impl Accumulator {
    /// No gradient yet of these parameters.
    pub(super) fn new(parameters: &[Tensor]) -> Self {
        Accumulator { parameters: parameters.iter().map(Tensor::shallow_clone).collect(), sum: None }
    }

    /// Adds `share` times the gradient of the scalar `loss`, whose graph can be freed then.
    ///
    /// # Errors
    /// When `loss` has no gradient, or libtorch fails.
    pub fn add(&mut self, loss: &Tensor, share: f64) -> Result<()> {
        let scaled = (share != 1.0).then(|| loss * share);
        let loss = scaled.as_ref().unwrap_or(loss);
        let gradients = Tensor::f_run_backward(&[loss], &self.parameters, false, false)?;
        let loss = loss.detach();
        self.sum = Some(match self.sum.take() {
            None => (loss, gradients),
            Some((before, sums)) => (before + loss, sums.into_iter().zip(gradients).map(added).collect()),
        });
        Ok(())
    }

    /// The sum of the losses with their shares, a scalar tensor, and its gradient of each parameter.
    pub(super) fn finish(self) -> Result<(Tensor, Vec<Tensor>)> {
        self.sum.ok_or_else(|| Error::invalid("a step needs a loss"))
    }
}

/// The sum of two gradients, either of which may be undefined.
fn added((sum, gradient): (Tensor, Tensor)) -> Tensor {
    match (sum.defined(), gradient.defined()) {
        (true, true) => sum + gradient,
        (true, false) => sum,
        (false, _) => gradient,
    }
}
