//! The protocol on models whose quality is known.

mod models;
mod references;
mod samples;

use gen_core::Result;
use gen_core::data::{Batch, DataSpec, Dataset, PointSet, Split};
use gen_core::model::{
    Conditioning, Density, GenerativeModel, LikelihoodKind, Losses, ModelCard, NoOptions, SampleRequest, Step,
};
use gen_core::params::NamedTensors;
use gen_eval::features::{FEATURES, PrincipalComponents};
use gen_eval::{EvaluateOptions, FeatureSpace, Measured, NoCache, Protocol, Reference};
use tch::{Device, Kind, Tensor};

/// A model whose samples are those of a closure.
struct Known<F> {
    card: ModelCard,
    draw: F,
    kinds: Vec<LikelihoodKind>,
    nats: f64,
}

impl<F: Fn(&SampleRequest) -> Tensor> Known<F> {
    fn new(data: &DataSpec, kinds: &[LikelihoodKind], draw: F) -> Self {
        let card = ModelCard {
            name: "known",
            family: "baseline",
            data: data.clone(),
            conditioning: Conditioning::NONE,
            citation: "",
            parameters: 12,
            sampling_parameters: 7,
        };
        Known { card, draw, kinds: kinds.to_vec(), nats: -1000.0 }
    }
}

impl<F: Fn(&SampleRequest) -> Tensor> GenerativeModel for Known<F> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn losses(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn train_step(&mut self, _: &Batch, _: &Step) -> Result<Losses> {
        Ok(Losses::new())
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        request.resolve(&NoOptions {})?;
        Ok((self.draw)(request))
    }

    fn weights(&self) -> NamedTensors {
        NamedTensors::new()
    }

    fn training_state(&self) -> NamedTensors {
        NamedTensors::new()
    }

    fn density(&self) -> Option<&dyn Density> {
        if self.kinds.is_empty() { None } else { Some(self) }
    }
}

/// Of points, the true density of moons; of images, `-1000` nats, and 10 more by importance sampling.
impl<F> Density for Known<F> {
    fn kinds(&self) -> Vec<LikelihoodKind> {
        self.kinds.clone()
    }

    fn log_likelihood(&self, batch: &Batch, kind: LikelihoodKind, _: u64) -> Result<Tensor> {
        let x = &batch.x;
        let nats = match kind {
            LikelihoodKind::Importance(_) => self.nats + 10.0,
            _ => self.nats,
        };
        match kind {
            LikelihoodKind::Exact => Ok(PointSet::Moons.log_prob(x)),
            _ => Ok(Tensor::full([x.size()[0]], nats, (Kind::Float, Device::Cpu))),
        }
    }
}

fn points() -> Dataset {
    let part = |n, seed| Split::unlabelled(PointSet::Moons.sample(n, seed));
    Dataset::from_splits("moons", part(4000, 1), None, Some(part(1500, 2)), Vec::new()).unwrap()
}

fn pca(data: &Dataset) -> FeatureSpace {
    FeatureSpace::Pca(PrincipalComponents::fit(&data.train.x, FEATURES).unwrap())
}

fn protocol<'a>(data: &'a Dataset, spaces: &'a [FeatureSpace], options: &'a EvaluateOptions) -> Protocol<'a> {
    Protocol::new(data, spaces, options, &NoCache, &mut |_| ()).unwrap()
}

fn reference(protocol: &Protocol<'_>, reference: Reference) -> Measured {
    protocol.evaluate_reference(reference, &mut |_| ()).unwrap().measured
}

/// Options with these metrics alone.
fn only(names: &[&str]) -> EvaluateOptions {
    let metrics = names.iter().map(|name| name.parse().unwrap()).collect();
    EvaluateOptions { metrics, ..Default::default() }
}

fn compare(protocol: &Protocol<'_>, samples: &Tensor) -> Measured {
    protocol.compare(samples, &mut |_| ()).unwrap()
}
