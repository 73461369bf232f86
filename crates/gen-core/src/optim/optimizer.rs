use gen_native::global_norm;
use tch::{Kind, Tensor};

use super::accumulator::Accumulator;
use super::config::OptimizerConfig;
use super::pace::Pace;
use super::rules::Work;
use crate::error::{Error, Result};
use crate::params::{NamedTensors, Params};

/// An optimizer of any kind, whose state can be saved.
///
/// It computes the gradient itself, of its own parameters only, so that two optimizers of one loss do not affect each
/// other. A parameter outside the graph of the loss stays as it is. A step does not wait for the device.
///
/// ```
/// use gen_core::optim::{Optimizer, OptimizerConfig, rules};
/// use gen_core::params::{Init, Params};
/// use tch::{Device, Kind};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let x = params.root().parameter("x", &[], Init::Const(3.0));
/// let config = rules::Sgd { learning_rate: 0.01.into(), momentum: 0.9.into(), ..Default::default() };
/// let mut optimizer = Optimizer::new(&params, config.into())?;
/// for _ in 0..200 {
///     let _norm = optimizer.step(&(&x - 1.0).square(), 1.0)?;
/// }
/// assert!((x.double_value(&[]) - 1.0).abs() < 1e-3);
/// # Ok::<(), gen_core::Error>(())
/// ```
pub struct Optimizer {
    config: OptimizerConfig,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    /// The prefixes of names, and the tensors of each parameter.
    kept: (Vec<&'static str>, Vec<Vec<Tensor>>),
    /// The number of steps, a scalar `f32` on the device of the parameters, as the kernel of Adam requires.
    steps: Tensor,
    /// The number of steps that changed nothing, where `skip_above` is set.
    skipped: Option<Tensor>,
    /// A setting that follows a schedule.
    scheduled: Option<&'static str>,
}

impl Optimizer {
    /// An optimizer of the trainable parameters of `params`.
    ///
    /// # Errors
    /// As [`OptimizerConfig::check`].
    pub fn new(params: &Params, config: OptimizerConfig) -> Result<Self> {
        config.check()?;
        let rule = config.rule();
        let (names, parameters): (Vec<String>, Vec<Tensor>) = params.trainable().into_iter().unzip();
        let zeros = || parameters.iter().map(|parameter| parameter.detach().zeros_like()).collect();
        let prefixes = rule.kept();
        let kept = prefixes.iter().map(|_| zeros()).collect();
        let device = params.device();
        Ok(Optimizer {
            config,
            kept: (prefixes, kept),
            steps: Tensor::zeros([], (Kind::Float, device)),
            skipped: rule.skip_above().map(|_| Tensor::zeros([], (Kind::Int64, device))),
            scheduled: rule.numbers().into_iter().find(|(_, value, _)| value.is_scheduled()).map(|(name, ..)| name),
            names,
            parameters,
        })
    }

    /// Takes one step down the gradient of the scalar `loss`. `pace` is the factor on the learning rate, or that and
    /// the place in the run, which settings with a schedule need.
    ///
    /// Returns the norm of the gradient before clipping, a scalar tensor.
    ///
    /// # Errors
    /// When `loss` has no gradient, a setting has a schedule and `pace` no place in the run, or libtorch fails.
    pub fn step(&mut self, loss: &Tensor, pace: impl Into<Pace>) -> Result<Tensor> {
        let gradients = Tensor::f_run_backward(&[loss], &self.parameters, false, false)?;
        self.apply(&gradients, pace)
    }

    /// Takes one step down the gradient of the sum of the scalar `losses` by gradient accumulation: each loss is
    /// differentiated before the next is requested, so that the graph of one part of a batch is in memory at a time.
    ///
    /// Returns the sum, and the norm of its gradient before clipping, both scalar tensors.
    ///
    /// # Errors
    /// As [`Optimizer::step`], and when there is no loss.
    pub fn step_in_parts(
        &mut self,
        losses: impl IntoIterator<Item = Tensor>,
        pace: impl Into<Pace>,
    ) -> Result<(Tensor, Tensor)> {
        let mut accumulator = self.accumulator();
        for loss in losses {
            accumulator.add(&loss, 1.0)?;
        }
        self.step_accumulated(accumulator, pace)
    }

    /// An empty sum of gradients of these parameters.
    pub fn accumulator(&self) -> Accumulator {
        Accumulator::new(&self.parameters)
    }

    /// Takes one step down an accumulated gradient.
    ///
    /// Returns the sum of its losses, and the norm of the gradient before clipping, both scalar tensors.
    ///
    /// # Errors
    /// As [`Optimizer::apply`], and when nothing was accumulated.
    pub fn step_accumulated(&mut self, accumulator: Accumulator, pace: impl Into<Pace>) -> Result<(Tensor, Tensor)> {
        let (loss, gradients) = accumulator.finish()?;
        Ok((loss, self.apply(&gradients, pace)?))
    }

    /// Takes one step with given gradients, in the order of [`Params::trainable`], which it may change.
    ///
    /// Returns the norm of the gradient before clipping, a scalar tensor.
    ///
    /// # Errors
    /// When their number or a shape differs from that of the parameters, none is defined, or a setting has a schedule
    /// and `pace` no place in the run.
    pub fn apply(&mut self, gradients: &[Tensor], pace: impl Into<Pace>) -> Result<Tensor> {
        let pace = pace.into();
        if let (Some(name), None) = (self.scheduled, pace.now) {
            return Err(Error::invalid(format!("the schedule of `{name}` of an optimizer needs the place in the run")));
        }
        let _no_grad = tch::no_grad_guard();
        let rule = self.config.rule();
        let norm = global_norm(gradients)?;
        // Gradients are divided by max(1, norm / clip), computed on the device so that the host does not wait for it.
        let divisor = rule.clip_norm().map(|clip| ((&norm + 1e-6) / clip).clamp_min(1.0));
        // NaN is not at most the limit.
        let explodes = rule.skip_above().map(|limit| norm.le(limit).logical_not());
        let before: Vec<Tensor> = match explodes {
            Some(_) => self.changed().map(Tensor::copy).collect(),
            None => Vec::new(),
        };
        let _ = self.steps.g_add_scalar_(1.0);
        rule.update(&Work {
            parameters: &self.parameters,
            gradients,
            kept: &self.kept.1,
            steps: &self.steps,
            divisor: divisor.as_ref(),
            pace,
        })?;
        if let (Some(explodes), Some(skipped)) = (explodes, &mut self.skipped) {
            let _ = skipped.g_add_(&explodes.to_kind(Kind::Int64));
            for (now, before) in self.changed().zip(before) {
                now.shallow_clone().copy_(&before.where_self(&explodes, now));
            }
        }
        Ok(norm)
    }

    /// The tensors that a step changes.
    fn changed(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().chain(self.kept.1.iter().flatten()).chain([&self.steps])
    }

    /// All that a resumed run needs besides the parameters: what the rule keeps of each, and the counters.
    pub fn state(&self) -> NamedTensors {
        let mut state = NamedTensors::new();
        for (prefix, list) in self.kept.0.iter().zip(&self.kept.1) {
            for (name, tensor) in self.names.iter().zip(list) {
                state.insert(format!("{prefix}.{name}"), tensor.shallow_clone());
            }
        }
        state.insert("steps", self.steps.shallow_clone());
        if let Some(skipped) = &self.skipped {
            state.insert("skipped", skipped.shallow_clone());
        }
        state
    }

    /// The number of steps taken, without those skipped. It waits for the device.
    pub fn steps(&self) -> i64 {
        self.steps.double_value(&[]) as i64
    }

    /// The number of steps that an exploding gradient has skipped so far, a scalar on the device of the parameters;
    /// `None` where `skip_above` is not set.
    pub fn skipped(&self) -> Option<&Tensor> {
        self.skipped.as_ref()
    }

    /// The hyperparameters.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::optim::rules::{Adam, AdamW, Adamax, RmsProp, Sgd};
    use crate::optim::{Annealed, Now, Scheduled, Shape, Span};
    use crate::params::Init;
    use crate::testing::{assert_close, assert_close_f64};

    /// Every kind with all that it can keep, and this threshold.
    fn all(skip_above: Option<f64>) -> [OptimizerConfig; 5] {
        let momentum = 0.9.into();
        [
            Adam { skip_above, weight_decay: 0.1.into(), ..Adam::default() }.into(),
            AdamW { skip_above, ..AdamW::default() }.into(),
            Adamax { skip_above, ..Adamax::default() }.into(),
            RmsProp { skip_above, centered: true, momentum, ..RmsProp::default() }.into(),
            Sgd { skip_above, momentum, nesterov: true, ..Sgd::default() }.into(),
        ]
    }

    /// Two parameters of f32, and their optimizer.
    fn start(config: OptimizerConfig) -> (Params, Optimizer) {
        let params = Params::new(Kind::Float, Device::Cpu);
        let _ = params.root().parameter("a", &[3, 5], Init::Const(0.5));
        let _ = params.root().parameter("b", &[7], Init::Const(-0.5));
        let optimizer = Optimizer::new(&params, config).unwrap();
        (params, optimizer)
    }

    /// Gradients of a size near 1.
    fn gradients(step: i64) -> [Tensor; 2] {
        let options = (Kind::Float, Device::Cpu);
        [vec![3, 5], vec![7]].map(|size| {
            let n: i64 = size.iter().product();
            ((Tensor::arange(n, options) + step) * 0.7).sin().view(size.as_slice()) * 0.3
        })
    }

    /// Parameters and state, as bytes.
    fn bytes(params: &Params, optimizer: &Optimizer) -> Vec<(String, Vec<f64>)> {
        let mut all = params.all();
        all.extend("state", optimizer.state());
        let entries = |x: Tensor| Vec::<f64>::try_from(x.detach().to_kind(Kind::Double).reshape([-1])).unwrap();
        all.into_iter().filter(|(name, _)| name != "state.skipped").map(|(name, x)| (name, entries(x))).collect()
    }

    #[test]
    fn a_saved_optimizer_goes_on_alike() {
        for config in all(None) {
            let (first, second) = (start(config), start(config));
            let run = |(_, optimizer): &mut (Params, Optimizer), steps: std::ops::Range<i64>| {
                for step in steps {
                    let _ = optimizer.apply(&gradients(step), 1.0).unwrap();
                }
            };
            let (mut first, mut second) = (first, second);
            run(&mut first, 0..10);
            second.0.all().assign(&first.0.all()).unwrap();
            second.1.state().assign(&first.1.state().snapshot()).unwrap();
            run(&mut first, 10..20);
            run(&mut second, 10..20);
            assert_eq!(bytes(&first.0, &first.1), bytes(&second.0, &second.1), "{config:?}");
            assert_eq!(first.1.steps(), 20);
        }
    }

    #[test]
    fn the_state_has_the_names_of_the_parameters() {
        let names = |config| {
            let state = start(config).1.state();
            state.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>().join(" ")
        };
        let found = all(None).map(names);
        assert_eq!(found[0], "m.a m.b steps v.a v.b");
        assert_eq!(found[1], "m.a m.b steps v.a v.b");
        assert_eq!(found[2], "m.a m.b steps u.a u.b");
        assert_eq!(found[3], "b.a b.b c.a c.b steps v.a v.b");
        assert_eq!(found[4], "b.a b.b steps");
        assert_eq!(names(Sgd { skip_above: Some(1.0), ..Sgd::default() }.into()), "skipped steps");
    }

    #[test]
    fn an_exploding_gradient_changes_nothing_and_is_counted() {
        for config in all(Some(10.0)) {
            let (params, mut optimizer) = start(config);
            let _ = optimizer.apply(&gradients(0), 1.0).unwrap();
            let before = bytes(&params, &optimizer);
            for factor in [1e3, f64::INFINITY, f64::NAN] {
                let norm = optimizer.apply(&gradients(1).map(|x| x * factor), 1.0).unwrap();
                assert_eq!(norm.le(10.0).int64_value(&[]), 0);
            }
            assert_eq!(bytes(&params, &optimizer), before, "{config:?}");
            assert_eq!(optimizer.skipped().unwrap().int64_value(&[]), 3);
            assert_eq!(optimizer.steps(), 1);
            let _ = optimizer.apply(&gradients(1), 1.0).unwrap();
            assert_ne!(bytes(&params, &optimizer), before, "{config:?}");
            assert_eq!(optimizer.skipped().unwrap().int64_value(&[]), 3);
        }
    }

    #[test]
    fn a_threshold_that_is_never_reached_changes_nothing() {
        for (with, without) in all(Some(10.0)).into_iter().zip(all(None)) {
            let [found, expected] = [with, without].map(|config| {
                let (params, mut optimizer) = start(config);
                for step in 0..5 {
                    let _ = optimizer.apply(&gradients(step), 0.5).unwrap();
                }
                bytes(&params, &optimizer)
            });
            assert_eq!(found, expected, "{with:?}");
        }
    }

    #[test]
    fn a_parameter_without_a_gradient_stays() {
        for config in all(None) {
            let (params, mut optimizer) = start(config);
            let [a, b] = [0, 1].map(|i| params.trainable()[i].1.shallow_clone());
            let _ = optimizer.step(&a.square().sum(Kind::Float), 1.0).unwrap();
            assert!(a.double_value(&[0, 0]) < 0.5, "{config:?}");
            assert_eq!(b.double_value(&[0]), -0.5, "{config:?}");
        }
    }

    #[test]
    fn a_batch_in_parts_is_a_batch() {
        let rows = Tensor::arange(10, (Kind::Double, Device::Cpu)) * 0.3 - 1.0;
        let found = |size: i64| {
            let params = Params::new(Kind::Double, Device::Cpu);
            let [a, b] = ["a", "b"].map(|name| params.root().parameter(name, &[], Init::ONES));
            let mut optimizer = Optimizer::new(&params, OptimizerConfig::default()).unwrap();
            let mut results = Vec::new();
            for _ in 0..20 {
                let mut gradient = optimizer.accumulator();
                for part in rows.split(size, 0) {
                    let loss = ((&part * &a).sin() - &b * &part).square().mean(Kind::Double);
                    gradient.add(&loss, part.size()[0] as f64 / 10.0).unwrap();
                }
                let (loss, norm) = optimizer.step_accumulated(gradient, 1.0).unwrap();
                results.extend([loss, norm]);
            }
            results.extend([a, b]);
            Tensor::stack(&results, 0).detach()
        };
        for size in [1, 3, 5, 9] {
            assert_close(&found(size), &found(10), 1e-12, 1e-14);
        }
    }

    #[test]
    fn a_step_without_a_loss_is_refused() {
        let (_, mut optimizer) = start(OptimizerConfig::default());
        assert!(optimizer.step_in_parts([], 1.0).unwrap_err().to_string().contains("needs a loss"));
        let empty = optimizer.accumulator();
        assert!(optimizer.step_accumulated(empty, 1.0).is_err());
    }

    #[test]
    fn gradients_of_other_shapes_are_refused() {
        for config in all(None) {
            let (params, mut optimizer) = start(config);
            let before = bytes(&params, &optimizer)[0].clone();
            let [a, b] = gradients(0);
            assert!(optimizer.apply(&[a.shallow_clone()], 1.0).is_err(), "{config:?}");
            assert!(optimizer.apply(&[a.narrow(0, 0, 1), b], 1.0).is_err(), "{config:?}");
            assert_eq!(bytes(&params, &optimizer)[0], before);
        }
    }

    fn annealed(from: f64, to: f64) -> Scheduled {
        Annealed { from, to, after: Span::NONE, over: Span::Steps(4), shape: Shape::Linear }.into()
    }

    #[test]
    fn a_rate_with_a_schedule_is_a_factor_on_the_rate() {
        let [found, expected] = [annealed(0.1, 0.02), 0.1.into()].map(|learning_rate| {
            let (params, mut optimizer) = start(RmsProp { learning_rate, ..RmsProp::default() }.into());
            for step in 0..6 {
                let now = Now { step, ..Now::default() };
                let factor = if learning_rate.is_scheduled() { 1.0 } else { annealed(1.0, 0.2).at(&now) };
                let _ = optimizer.apply(&gradients(step as i64), (factor, now)).unwrap();
            }
            params.trainable().remove(0).1
        });
        assert_close(&found, &expected, 1e-6, 0.0);
    }

    #[test]
    fn decays_follow_their_schedules() {
        let params = Params::new(Kind::Double, Device::Cpu);
        let x = params.root().parameter("x", &[], Init::ZEROS);
        let (beta1, beta2) = (annealed(0.0, 0.8), annealed(0.5, 0.9));
        let config = Adam { learning_rate: 0.1.into(), beta1, beta2, ..Adam::default() };
        let mut optimizer = Optimizer::new(&params, config.into()).unwrap();
        let (mut m, mut v, mut expected) = (0.0, 0.0, 0.0);
        for (step, g) in [1.0f64, -0.5, 2.0, 0.3, 0.7, -1.0].into_iter().enumerate() {
            let now = Now { step: step as u64, ..Now::default() };
            let _ = optimizer.apply(&[Tensor::from(g)], (1.0, now)).unwrap();
            let part = (step as f64 / 4.0).min(1.0);
            let (b1, b2, t) = (0.8 * part, 0.5 + 0.4 * part, step as i32 + 1);
            m = b1 * m + (1.0 - b1) * g;
            v = b2 * v + (1.0 - b2) * g * g;
            expected -= 0.1 * (m / (1.0 - b1.powi(t))) / ((v / (1.0 - b2.powi(t))).sqrt() + 1e-8);
            assert_close_f64(x.double_value(&[]), expected, 1e-12, 0.0);
        }
    }

    #[test]
    fn a_schedule_needs_the_place_in_the_run() {
        let (params, mut optimizer) = start(Adam { beta2: annealed(0.5, 0.9), ..Adam::default() }.into());
        let before = bytes(&params, &optimizer);
        let error = optimizer.apply(&gradients(0), 1.0).unwrap_err().to_string();
        assert_eq!(error, "the schedule of `beta2` of an optimizer needs the place in the run");
        assert_eq!(bytes(&params, &optimizer), before);
    }
}
