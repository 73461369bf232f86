use gen_native::{Statistics, batch_norm, group_norm};
use tch::{Kind, TchError, Tensor};

use super::Activation;
use super::mlp::fused;
use crate::params::{Init, Scope};

/// The statistics by which a [`BatchNorm`] normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatistics {
    /// Those of the batch, with an update of the running ones.
    Train,
    /// Those of the batch, without an update of the running ones. For passes that do not train this layer, such as the
    /// generator's pass in a step of the discriminator.
    Batch,
    /// The running ones, so that the output for an image does not depend on the rest of the batch.
    Running,
}

/// Batch normalisation over all dimensions but the second (Ioffe & Szegedy 2015).
///
/// The scale starts at 1 (tch's own layer draws it from U(0, 1)).
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    /// For inputs of `channels` channels.
    pub fn new(scope: Scope<'_>, channels: i64) -> Self {
        Self::with_init(scope, channels, Init::ONES)
    }

    /// With the given initial scale; DCGAN's is N(1, 0.02²).
    pub fn with_init(scope: Scope<'_>, channels: i64, weight: Init) -> Self {
        let options = (Kind::Float, scope.device());
        BatchNorm {
            weight: scope.parameter("weight", &[channels], weight),
            bias: scope.parameter("bias", &[channels], Init::ZEROS),
            running_mean: scope.buffer("running_mean", Tensor::zeros([channels], options)),
            running_var: scope.buffer("running_var", Tensor::ones([channels], options)),
        }
    }

    /// Normalises `x: [batch, channels, ...]` and applies `activation`, in one pass where the kernel supports it.
    ///
    /// # Panics
    /// When `x` has another number of channels.
    pub fn forward(&self, x: &Tensor, statistics: BatchStatistics, activation: Option<Activation>) -> Tensor {
        let (mean, var) = (&self.running_mean, &self.running_var);
        let statistics = match statistics {
            BatchStatistics::Batch => Statistics::Batch,
            BatchStatistics::Train => Statistics::BatchMoving { mean, var },
            BatchStatistics::Running => Statistics::Running { mean, var },
        };
        let (fused, rest) = fused(activation);
        finish(batch_norm(x, &self.weight, &self.bias, statistics, fused), rest)
    }
}

/// Group normalisation (Wu & He 2018).
#[derive(Debug)]
pub struct GroupNorm {
    groups: i64,
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    /// For `channels` channels in `groups` groups.
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    pub fn new(scope: Scope<'_>, groups: i64, channels: i64) -> Self {
        assert_eq!(channels % groups, 0, "{channels} channels do not divide into {groups} groups");
        GroupNorm {
            groups,
            weight: scope.parameter("weight", &[channels], Init::ONES),
            bias: scope.parameter("bias", &[channels], Init::ZEROS),
        }
    }

    /// Normalises `x: [batch, channels, ...]` and applies `activation`, in one pass where the kernel supports it.
    ///
    /// # Panics
    /// When `x` has another number of channels.
    pub fn forward(&self, x: &Tensor, activation: Option<Activation>) -> Tensor {
        self.normalise(x, None, activation)
    }

    /// As [`GroupNorm::forward`], with `x (1 + scale) + shift` before the activation. `modulation: [batch, 2 channels]`
    /// holds the scales of each image, then the shifts (Nichol & Dhariwal 2021, section 3).
    ///
    /// # Panics
    /// When `x` or `modulation` has another shape.
    pub fn forward_modulated(&self, x: &Tensor, modulation: &Tensor, activation: Option<Activation>) -> Tensor {
        self.normalise(x, Some(modulation), activation)
    }

    fn normalise(&self, x: &Tensor, modulation: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
        let (fused, rest) = fused(activation);
        finish(group_norm(x, self.groups, &self.weight, &self.bias, modulation, fused), rest)
    }
}

/// Applies the rest of the activation. Panics, as tch's operations do, where a shape does not fit.
fn finish(result: std::result::Result<Tensor, TchError>, rest: Option<Activation>) -> Tensor {
    let normal = result.unwrap_or_else(|error| panic!("{error}"));
    match rest {
        Some(activation) => activation.apply(&normal),
        None => normal,
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::assert_close;

    #[test]
    fn only_a_training_pass_updates_the_running_statistics() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let norm = BatchNorm::new(params.root(), 1);
        let x = Tensor::from_slice(&[1.0f32, 3.0]).view([2, 1]);
        let whitened = Tensor::from_slice(&[-1.0f32, 1.0]).view([2, 1]);
        assert_close(&norm.forward(&x, BatchStatistics::Batch, None), &whitened, 1e-4, 0.0);
        assert_close(&norm.forward(&x, BatchStatistics::Running, None), &x, 1e-4, 0.0);
        assert_close(&norm.forward(&x, BatchStatistics::Train, None), &whitened, 1e-4, 0.0);
        assert_close(&norm.running_mean, &Tensor::from_slice(&[0.2]), 1e-6, 0.0);
        assert_close(&norm.running_var, &Tensor::from_slice(&[1.1]), 1e-6, 0.0);
    }
}
