use tch::{Kind, Tensor};

use crate::params::{Init, Scope};

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

    /// With a chosen initial scale; DCGAN's is N(1, 0.02²).
    pub fn with_init(scope: Scope<'_>, channels: i64, weight: Init) -> Self {
        let options = (Kind::Float, scope.device());
        BatchNorm {
            weight: scope.parameter("weight", &[channels], weight),
            bias: scope.parameter("bias", &[channels], Init::ZEROS),
            running_mean: scope.buffer("running_mean", Tensor::zeros([channels], options)),
            running_var: scope.buffer("running_var", Tensor::ones([channels], options)),
        }
    }

    /// `x: [batch, channels, ...]`; with `train` by the statistics of the batch, which also move the running
    /// ones, without by the running ones.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        self.normalise(x, Some((&self.running_mean, &self.running_var)), train)
    }

    /// `x: [batch, channels, ...]` by the statistics of the batch; the running ones stay as they are.
    ///
    /// For passes that do not train this layer, such as the generator's while the discriminator learns.
    pub fn forward_batch(&self, x: &Tensor) -> Tensor {
        self.normalise(x, None, true)
    }

    fn normalise(&self, x: &Tensor, running: Option<(&Tensor, &Tensor)>, train: bool) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            running.map(|(mean, _)| mean),
            running.map(|(_, var)| var),
            train,
            0.1,
            1e-5,
            false,
        )
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

    /// `x: [batch, channels, ...]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, Some(&self.weight), Some(&self.bias), 1e-5, false)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::assert_close;

    #[test]
    fn only_a_training_pass_moves_the_running_statistics() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let norm = BatchNorm::new(params.root(), 1);
        let x = Tensor::from_slice(&[1.0f32, 3.0]).view([2, 1]);
        let whitened = Tensor::from_slice(&[-1.0f32, 1.0]).view([2, 1]);
        assert_close(&norm.forward_batch(&x), &whitened, 1e-4, 0.0);
        assert_close(&norm.forward(&x, false), &x, 1e-4, 0.0);
        assert_close(&norm.forward(&x, true), &whitened, 1e-4, 0.0);
        assert_close(&norm.running_mean, &Tensor::from_slice(&[0.2]), 1e-6, 0.0);
        assert_close(&norm.running_var, &Tensor::from_slice(&[1.1]), 1e-6, 0.0);
    }
}
