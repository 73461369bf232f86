use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::config::OptimizerConfig;
use super::optimizer::Optimizer;
use super::rules::{AdamW, Range};
use crate::error::Result;
use crate::params::{NamedTensors, Params};

/// Hyperparameters of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamConfig {
    /// Step size α.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay λ; 0 gives Adam, anything else AdamW.
    pub weight_decay: f64,
    /// Gradients are scaled down to at most this norm; 0 leaves them alone.
    pub clip_norm: f64,
}

impl Default for AdamConfig {
    /// The defaults of Kingma & Ba (2015), without weight decay or clipping.
    fn default() -> Self {
        AdamConfig { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, clip_norm: 0.0 }
    }
}

impl AdamConfig {
    fn check(&self) -> Result<()> {
        Range::NotNegative.check("clip_norm", self.clip_norm)
    }
}

impl From<AdamConfig> for OptimizerConfig {
    fn from(config: AdamConfig) -> Self {
        let AdamConfig { learning_rate, beta1, beta2, epsilon, weight_decay, clip_norm } = config;
        let adamw = AdamW {
            learning_rate: learning_rate.into(),
            beta1: beta1.into(),
            beta2: beta2.into(),
            epsilon,
            weight_decay: weight_decay.into(),
            clip_norm: (clip_norm > 0.0).then_some(clip_norm),
            skip_above: None,
        };
        adamw.into()
    }
}

/// Adam (Kingma & Ba 2015, algorithm 1), with decoupled weight decay (Loshchilov & Hutter 2019): an [`Optimizer`] of
/// the kind `adamw`.
///
/// ```
/// use gen_core::optim::{Adam, AdamConfig};
/// use gen_core::params::{Init, Params};
/// use tch::{Device, Kind};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let x = params.root().parameter("x", &[], Init::Const(3.0));
/// let mut adam = Adam::new(&params, AdamConfig { learning_rate: 0.1, ..Default::default() })?;
/// for _ in 0..200 {
///     let _norm = adam.step(&(&x - 1.0).square(), 1.0)?;
/// }
/// assert!((x.double_value(&[]) - 1.0).abs() < 1e-2);
/// # Ok::<(), gen_core::Error>(())
/// ```
pub struct Adam {
    config: AdamConfig,
    optimizer: Optimizer,
}

impl Adam {
    /// An optimizer of the trainable parameters of `params`.
    ///
    /// # Errors
    /// When a setting is outside its range: a rate that is not positive, a decay outside [0, 1).
    pub fn new(params: &Params, config: AdamConfig) -> Result<Self> {
        config.check()?;
        Ok(Adam { config, optimizer: Optimizer::new(params, config.into())? })
    }

    /// As [`Optimizer::step`].
    ///
    /// # Errors
    /// As there.
    pub fn step(&mut self, loss: &Tensor, lr_scale: f64) -> Result<Tensor> {
        self.optimizer.step(loss, lr_scale)
    }

    /// As [`Optimizer::step_in_parts`].
    ///
    /// # Errors
    /// As there.
    pub fn step_in_parts(
        &mut self,
        losses: impl IntoIterator<Item = Tensor>,
        lr_scale: f64,
    ) -> Result<(Tensor, Tensor)> {
        self.optimizer.step_in_parts(losses, lr_scale)
    }

    /// As [`Optimizer::apply`].
    ///
    /// # Errors
    /// As there.
    pub fn apply(&mut self, gradients: &[Tensor], lr_scale: f64) -> Result<Tensor> {
        self.optimizer.apply(gradients, lr_scale)
    }

    /// Moments and step counter, which a resumed run needs besides the parameters.
    pub fn state(&self) -> NamedTensors {
        self.optimizer.state()
    }

    /// The number of steps taken.
    pub fn steps(&self) -> i64 {
        self.optimizer.steps()
    }

    /// The hyperparameters.
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::OptimizerConfig as _;
    use tch::{Device, Kind};

    use super::*;
    use crate::params::Init;
    use crate::testing::{assert_close, assert_close_f64};

    /// Minimises the same function of two tensors with both optimizers and a changing learning rate. The sizes leave
    /// remainders beside full vectors of the fused kernel.
    fn against_tch(config: AdamConfig) {
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
            against_tch_in(kind, tolerance, config);
        }
    }

    fn against_tch_in(kind: Kind, tolerance: f64, config: AdamConfig) {
        let params = Params::new(kind, Device::Cpu);
        tch::manual_seed(1);
        let a = params.root().parameter("a", &[3, 37], Init::Normal { mean: 0.0, std: 1.0 });
        let b = params.root().parameter("b", &[7], Init::Normal { mean: 0.0, std: 1.0 });
        let mut vs = tch::nn::VarStore::new(Device::Cpu);
        vs.set_kind(kind);
        let (a2, b2) = (vs.root().var_copy("a", &a), vs.root().var_copy("b", &b));
        let mut ours = Adam::new(&params, config).unwrap();
        let AdamConfig { beta1, beta2, epsilon, weight_decay, learning_rate, .. } = config;
        let theirs = tch::nn::AdamW { beta1, beta2, wd: weight_decay, eps: epsilon, amsgrad: false };
        let mut theirs = theirs.build(&vs, learning_rate).unwrap();
        let loss =
            |a: &Tensor, b: &Tensor| (a.square().sum(kind) * 0.01 + (b * 3.0 - 1.0).cosh().log().sum(kind)).sin();
        for step in 0..20 {
            let lr_scale = 1.0 / (1.0 + f64::from(step));
            theirs.set_lr(learning_rate * lr_scale);
            let _ = ours.step(&loss(&a, &b), lr_scale).unwrap();
            theirs.backward_step(&loss(&a2, &b2));
        }
        assert_close(&a, &a2, tolerance, tolerance);
        assert_close(&b, &b2, tolerance, tolerance);
    }

    #[test]
    fn equals_libtorchs_adam() {
        against_tch(AdamConfig::default());
    }

    #[test]
    fn equals_libtorchs_adamw() {
        against_tch(AdamConfig { weight_decay: 0.1, beta1: 0.5, learning_rate: 0.01, ..Default::default() });
    }

    /// A run that was recorded stays as it was.
    #[test]
    fn a_step_is_one_call_of_the_fused_kernel() {
        let config = AdamConfig { clip_norm: 0.5, beta1: 0.5, weight_decay: 0.01, ..AdamConfig::default() };
        let options = (Kind::Float, Device::Cpu);
        let gradient = |step: i32| (Tensor::arange(37, options) * (0.3 + f64::from(step))).sin();
        let params = Params::new(Kind::Float, Device::Cpu);
        let x = params.root().parameter("x", &[37], Init::ONES);
        let mut adam = Adam::new(&params, config).unwrap();
        let (p, m, v) = (Tensor::ones([37], options), Tensor::zeros([37], options), Tensor::zeros([37], options));
        for step in 0..10 {
            let _ = adam.apply(&[gradient(step)], 0.7).unwrap();
            let g = gradient(step);
            let norm = gen_native::global_norm(&[&g].map(Tensor::shallow_clone)).unwrap();
            let scale = ((norm + 1e-6) / 0.5).clamp_min(1.0);
            let AdamConfig { beta1, beta2, epsilon, weight_decay, learning_rate, .. } = config;
            let settings =
                gen_native::AdamStep { learning_rate: learning_rate * 0.7, beta1, beta2, epsilon, weight_decay };
            let steps = Tensor::from(step as f32 + 1.0);
            let [p, m, v] = [&p, &m, &v].map(Tensor::shallow_clone);
            gen_native::adam_step(&[p], &[g], &[m], &[v], &steps, Some(&scale), settings).unwrap();
        }
        assert_eq!(x.detach(), p);
        assert_eq!(adam.state().get("v.x").unwrap(), &v);
    }

    #[test]
    fn clipping_limits_the_norm_and_reports_it() {
        let params = Params::new(Kind::Double, Device::Cpu);
        let x = params.root().parameter("x", &[2], Init::ZEROS);
        let clip = AdamConfig { clip_norm: 1.0, beta1: 0.0, beta2: 0.0, ..Default::default() };
        let mut adam = Adam::new(&params, clip).unwrap();
        let gradient = Tensor::from_slice(&[3.0, 4.0]);
        let norm = adam.step(&(&x * &gradient).sum(Kind::Double), 1.0).unwrap();
        assert!((norm.double_value(&[]) - 5.0).abs() < 1e-12);
        assert_close(adam.state().get("m.x").unwrap(), &(gradient / 5.0), 1e-6, 0.0);
    }

    #[test]
    fn a_batch_in_parts_is_a_batch() {
        // Only the second part depends on the third parameter.
        let found = |in_parts: bool| {
            let params = Params::new(Kind::Double, Device::Cpu);
            let [a, b, c] = ["a", "b", "c"].map(|name| params.root().parameter(name, &[2], Init::ONES));
            let mut adam = Adam::new(&params, AdamConfig { clip_norm: 1.0, ..AdamConfig::default() }).unwrap();
            let parts = || [(&a * &b).sum(Kind::Double), (&a * 3.0 * &c).square().sum(Kind::Double)];
            let (loss, norm) = if in_parts {
                adam.step_in_parts(parts(), 1.0).unwrap()
            } else {
                let [first, second] = parts();
                let loss = first + second;
                let norm = adam.step(&loss, 1.0).unwrap();
                (loss.detach(), norm)
            };
            Tensor::cat(&[a, b, c, loss.view([1]), norm.view([1])], 0).detach()
        };
        assert_close(&found(true), &found(false), 1e-12, 1e-12);
        assert_close_f64(found(true).double_value(&[6]), 20.0, 0.0, 1e-12);
        let params = Params::new(Kind::Double, Device::Cpu);
        let _x = params.root().parameter("x", &[2], Init::ONES);
        let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
        assert!(adam.step_in_parts([], 1.0).is_err());
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let with = |change: fn(&mut AdamConfig)| {
            let mut config = AdamConfig::default();
            change(&mut config);
            Adam::new(&params, config).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(with(|_| ()), "");
        assert!(with(|c| c.learning_rate = -1.0).contains("`learning_rate`"));
        assert!(with(|c| c.epsilon = f64::NAN).contains("`epsilon`"));
        assert!(with(|c| c.clip_norm = f64::INFINITY).contains("`clip_norm`"));
        assert!(with(|c| c.beta2 = 1.0).contains("`beta2` of an optimizer must be in [0, 1), found 1"));
    }

    #[test]
    fn a_parameter_outside_the_loss_stays() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let used = params.root().parameter("used", &[1], Init::ONES);
        let unused = params.root().parameter("unused", &[1], Init::ONES);
        let mut adam = Adam::new(&params, AdamConfig::default()).unwrap();
        let _ = adam.step(&used.sum(Kind::Float), 1.0).unwrap();
        assert_eq!(unused.double_value(&[0]), 1.0);
        assert!(used.double_value(&[0]) < 1.0);
    }
}
