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
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
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
