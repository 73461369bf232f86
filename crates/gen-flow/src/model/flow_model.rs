use std::cell::Cell;
use std::marker::PhantomData;

use gen_core::Result;
use gen_core::config::{Table, to_table};
use gen_core::data::Batch;
use gen_core::model::{
    Density, Frame, GenerativeModel, Latent, Losses, ModelCard, SampleRequest, Sampling, Step, Trajectory,
    ValidationLoss,
};
use gen_core::optim::Adam;
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::{BuildContext, Buildable, Recipe};
use gen_core::rng::{Generator, Purpose, stream};
use tch::{Device, Kind, Tensor};

use super::architecture::Architecture;
use super::design::Design;
use super::plan::SamplePlan;
use super::sampling::FlowSampling;
use crate::flow::Flow;
use crate::given::Given;

/// A normalizing flow of the architecture `A`, trained by maximum likelihood.
///
/// Its likelihood is exact for tabular data. For images it is that of dequantised bytes by one draw of the noise,
/// uniform or learned: a lower bound on that of the bytes, of which importance samples give a tighter one. Images
/// with Gaussian noise have none.
///
/// A flow with classes learns from labelled batches. Without labels its likelihood is that of all classes together, and
/// its samples are of classes drawn at random.
pub struct FlowModel<A: Architecture> {
    card: ModelCard,
    sampling: A::Sampling,
    params: Params,
    pub(super) design: Design,
    optimizer: Adam,
    initialised: Cell<bool>,
    architecture: PhantomData<A>,
}

impl<A: Architecture> FlowModel<A> {
    /// The density and its bijection: of tabular data as they come, of images with noise.
    pub fn flow(&self) -> &Flow {
        &self.design.flow
    }

    /// Everything that is learned or saved.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether the feature maps of a pass should stay in a cache.
    fn is_in_cache(&self) -> bool {
        self.card.data.shape.is_image() && self.params.device() == Device::Cpu
    }

    /// How many of so many rows each pass takes. The last one takes the remainder as well, so that none is small.
    pub(super) fn parts(&self, rows: i64) -> Vec<i64> {
        let size = match (self.is_in_cache(), self.card.data.shape.is_image()) {
            (true, _) => A::ROWS.images_in_cache,
            (false, true) => A::ROWS.images,
            (false, false) => A::ROWS.tabular,
        };
        let mut parts = vec![size; (rows / size).max(1) as usize];
        let before = size * (parts.len() as i64 - 1);
        parts.last_mut().into_iter().for_each(|last| *last = rows - before);
        parts
    }

    /// `f` of a part of the rows of `batch` at a time, and of their contexts, end to end.
    ///
    /// # Errors
    /// When the batch does not fit the data.
    pub(super) fn in_parts_given(
        &self,
        batch: &Batch,
        f: impl Fn(&Tensor, Option<&Tensor>) -> Tensor,
    ) -> Result<Tensor> {
        self.card.check_batch(&batch.x)?;
        let data = &self.card.data;
        let conditions = self.design.conditions.as_ref();
        let context = conditions.map(|conditions| conditions.of_batch(data, batch)).transpose()?.flatten();
        let sizes = self.parts(batch.len() as i64);
        let contexts = context.map(|context| context.split_with_sizes(&sizes[..], 0));
        let parts = batch.x.split_with_sizes(&sizes[..], 0);
        let of_part = |(i, x): (usize, &Tensor)| f(x, contexts.as_ref().map(|contexts| &contexts[i]));
        Ok(Tensor::cat(&parts.iter().enumerate().map(of_part).collect::<Vec<_>>(), 0))
    }

    /// `f` of a part of the rows of `x` at a time, end to end.
    pub(super) fn in_parts(&self, x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let parts = x.split_with_sizes(&self.parts(x.size()[0])[..], 0);
        Tensor::cat(&parts.iter().map(f).collect::<Vec<_>>(), 0)
    }

    /// Lets the parameters that start from data do so with the first batch. A model whose weights were loaded has
    /// started.
    fn initialise(&self, x: &Tensor, context: Option<&Tensor>, rng: &Generator) {
        if self.initialised.get() {
            return;
        }
        let Design { flow, dequantiser, .. } = &self.design;
        if !flow.bijection().is_initialised() {
            let _no_grad = tch::no_grad_guard();
            let (y, _) = dequantiser.to_network(x, Given::NOTHING, rng);
            let _ = flow.bijection().initialise(&y, Given { context, ..Given::NOTHING });
        }
        self.initialised.set(true);
    }

    /// The options of `request`, and how samples are drawn with them.
    fn resolved(&self, request: &SampleRequest) -> Result<(A::Sampling, SamplePlan)> {
        let sampling = request.resolve(&self.sampling)?;
        let plan = sampling.plan(&self.design)?;
        Ok((sampling, plan))
    }

    /// How samples are drawn with the model's own options.
    pub(super) fn own_plan(&self) -> Result<SamplePlan> {
        self.sampling.plan(&self.design)
    }

    /// The results of `f`, which is called with the latents of `request.n` samples and their contexts, a part of the
    /// rows at a time.
    fn draw<T>(
        &self,
        request: &SampleRequest,
        plan: &SamplePlan,
        mut f: impl FnMut(&Tensor, Option<&Tensor>) -> T,
    ) -> Result<Vec<T>> {
        let _no_grad = tch::no_grad_guard();
        let (data, rng) = (&self.card.data, stream(request.seed, Purpose::Sample, 0));
        self.card.check_given(request)?;
        let mut start = 0;
        let part = |n: i64| {
            let request = request.part(start, n as usize, request.seed);
            start += n as usize;
            let conditions = self.design.conditions.as_ref();
            let context = conditions.map(|conditions| conditions.of_request(data, &request, &rng)).transpose()?;
            let z = self.flow().latents(n, plan.temperature, Given::NOTHING, &rng);
            Ok(f(&z, context.as_ref()))
        };
        self.parts(request.n as i64).into_iter().map(part).collect()
    }
}

impl<A: Architecture> GenerativeModel for FlowModel<A> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        let Design { flow, dequantiser, .. } = &self.design;
        let penalty = flow.bijection().has_penalty().then_some("penalty");
        let evaluations = flow.bijection().evaluations().map(|_| "nfe");
        [dequantiser.loss_name()].into_iter().chain(penalty).chain(["grad_norm"]).chain(evaluations).collect()
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        let x = &batch.x;
        self.card.check_batch(x)?;
        let (design, rows) = (&self.design, x.size()[0]);
        let conditions = design.conditions.as_ref();
        let context = conditions.map(|conditions| conditions.of_training(&self.card.data, batch, &step.rng));
        let context = context.transpose()?;
        self.initialise(x, context.as_ref(), &step.rng);
        let sizes = if self.is_in_cache() { self.parts(rows) } else { vec![rows] };
        let parts = x.split_with_sizes(&sizes[..], 0);
        let contexts = context.map(|context| context.split_with_sizes(&sizes[..], 0));
        let (name, mut penalties) = (design.dequantiser.loss_name(), None::<Tensor>);
        let losses = parts.iter().enumerate().map(|(i, part)| {
            let context = contexts.as_ref().map(|contexts| &contexts[i]);
            let (loss, penalty) = design.loss(&self.card.data, part, context, &step.rng);
            let share = part.size()[0] as f64 / rows as f64;
            let weighted = |x: Tensor| if parts.len() == 1 { x } else { x * share };
            let loss = weighted(loss);
            let Some(penalty) = penalty.map(weighted) else { return loss };
            let total = loss + &penalty;
            let penalty = penalty.detach();
            penalties = Some(penalties.take().map_or_else(|| penalty.shallow_clone(), |sum| sum + &penalty));
            total
        });
        let (total, norm) = self.optimizer.step_in_parts(losses, step.lr_scale)?;
        let losses = match penalties {
            None => Losses::new().with(name, &total),
            Some(penalty) => Losses::new().with(name, &(total - &penalty)).with("penalty", &penalty),
        };
        let losses = losses.with("grad_norm", &norm);
        Ok(match self.design.flow.bijection().evaluations() {
            None => losses,
            Some(evaluations) => losses.with("nfe", &Tensor::from(evaluations as f64)),
        })
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        let (design, (_, plan)) = (&self.design, self.resolved(request)?);
        let samples =
            self.draw(request, &plan, |z, context| design.dequantiser.to_data(&design.generate(z, context, &plan)))?;
        Ok(Tensor::cat(&samples, 0))
    }

    /// One evaluation or another fixed number, or those that a solver takes for up to 64 samples of the request.
    fn sampling(&self, request: &SampleRequest) -> Result<Sampling> {
        let (_, plan) = self.resolved(request)?;
        let bijection = self.design.flow.bijection();
        if bijection.evaluations().is_some() {
            let _samples = self.sample(&request.part(0, request.n.min(64), request.seed))?;
        }
        let evaluations = bijection.evaluations().unwrap_or_else(|| self.design.evaluations(&plan));
        Ok(Sampling { sampler: None, evaluations })
    }

    fn sampling_options(&self, request: &SampleRequest) -> Result<Table> {
        to_table(&self.resolved(request)?.0)
    }

    fn set_sampling_options(&mut self, options: &Table) -> Result<()> {
        self.sampling = self.resolved(&SampleRequest::of(options))?.0;
        Ok(())
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.optimizer.state().prefixed("optimizer")
    }

    fn density(&self) -> Option<&dyn Density> {
        self.design.dequantiser.log_volume(1).is_some().then_some(self as &dyn Density)
    }

    /// A latent says nothing of a condition.
    fn latent(&self) -> Option<&dyn Latent> {
        self.design.conditions.is_none().then_some(self as &dyn Latent)
    }

    /// The states after each step of the flow, and after the removal of noise.
    fn trajectory(&self, request: &SampleRequest, frames: usize) -> Result<Option<Trajectory>> {
        let Design { flow, dequantiser, .. } = &self.design;
        let (_, plan) = self.resolved(request)?;
        let parts = self.draw(request, &plan, |z, context| {
            let mut states = flow.trajectory(z, plan.given(context));
            states.extend(states.last().and_then(|last| self.design.denoised(last, context, &plan)));
            states
        })?;
        let last = parts[0].len() - 1;
        let chosen = Trajectory::choose(last + 1, frames)?;
        let frame = |at: usize| {
            let state: Vec<Tensor> = parts.iter().map(|part| dequantiser.to_data_smooth(&part[at])).collect();
            Frame { label: format!("{at}/{last}"), state: Tensor::cat(&state, 0), estimate: None }
        };
        Ok(Some(Trajectory { frames: chosen.into_iter().map(frame).collect() }))
    }

    fn validation_loss(&self, batch: &Batch, seed: u64) -> Result<Option<ValidationLoss>> {
        let kind = self.kinds().first().map_or_else(|| "noisy".to_owned(), ToString::to_string);
        let is_given = !self.card.conditioning.is_none() && !batch.condition.is_none();
        let given = if is_given { "-conditional" } else { "" };
        Ok(Some(ValidationLoss { objective: format!("nll-{kind}{given}"), rows: -self.bound(batch, 1, seed)? }))
    }
}

impl<A: Architecture> Buildable for FlowModel<A> {
    type Config = A::Config;
    type Sampling = A::Sampling;

    const FAMILY: &'static str = "flow";

    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self> {
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let design = A::design(&recipe.config, &params, &context.data)?;
        let count = params.count();
        Ok(FlowModel {
            card: ModelCard {
                name: recipe.name,
                family: Self::FAMILY,
                data: context.data.clone(),
                conditioning: design.conditioning(),
                citation: recipe.citation,
                parameters: count,
                sampling_parameters: count - design.dequantiser.parameters(),
            },
            optimizer: Adam::new(&params, design.optimizer)?,
            sampling: recipe.sampling,
            design,
            params,
            initialised: Cell::new(false),
            architecture: PhantomData,
        })
    }
}
