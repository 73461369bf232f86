//! Labels and contexts: what samples are given shows in them.

use gen_core::Result;
use gen_core::data::{Batch, Condition, Dataset, Split};
use gen_core::model::{Conditioning, Density, GenerativeModel, LikelihoodKind, SampleRequest, Step};
use gen_core::registry::BuildContext;
use gen_core::rng::Generator;
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_diffusion::network::{MlpConfig, NetworkConfig};
use gen_diffusion::unet::UNetConfig;
use gen_diffusion::{Diffusion, DiffusionConfig, QUICK_DIFFUSION};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);
const LABELS: Conditioning = Conditioning { labels: true, ..Conditioning::NONE };

/// 2000 numbers: N(-2, 1) of class a and N(2, 1) of class b.
fn classes() -> Dataset {
    let rng = Generator::seeded(0);
    let label = rng.randint(0, 2, [2000], (Kind::Int64, Device::Cpu));
    let x = (&label * 4 - 2).unsqueeze(1).to_kind(Kind::Double) + rng.randn([2000, 1], F64);
    Dataset::from_splits("classes", Split::labelled(x, label), None, None, ["a", "b"].map(str::to_owned).to_vec())
        .unwrap()
}

/// 2000 numbers that are given c in [0, 10]: N(c², 1).
fn squares() -> Dataset {
    let rng = Generator::seeded(0);
    let context = rng.rand([2000, 1], F64) * 10.0;
    let x = context.square() + rng.randn([2000, 1], F64);
    let split = Split { x, condition: Condition::of_context(context) };
    Dataset::from_splits("squares", split, None, None, Vec::new()).unwrap()
}

fn build(data: &Dataset, change: impl FnOnce(DiffusionConfig) -> DiffusionConfig) -> Result<Diffusion> {
    let network = NetworkConfig::Mlp(MlpConfig { width: 48, blocks: 2 });
    let config = change(DiffusionConfig { network, ..QUICK_DIFFUSION.config(&data.spec) });
    QUICK_DIFFUSION.build(config, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 })
}

fn trained(data: &Dataset, change: impl FnOnce(DiffusionConfig) -> DiffusionConfig) -> Diffusion {
    tch::set_num_threads(1);
    let mut model = build(data, change).unwrap();
    let settings = TrainConfig { batch_size: 256, log_every: 200, ..QUICK_DIFFUSION.training(&data.spec) };
    let mut trainer = Trainer::new(&mut model, data, settings, Budget::Steps(600), 0).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
    model
}

fn of_class(class: i64, n: i64) -> Condition {
    Condition::of_labels(Tensor::full([n], class, (Kind::Int64, Device::Cpu)))
}

fn moments(x: &Tensor) -> (f64, f64) {
    (x.mean(Kind::Double).double_value(&[]), x.std(true).double_value(&[]))
}

#[test]
fn samples_have_the_class_that_is_asked_for_and_guidance_exaggerates_it() {
    let data = classes();
    let model = trained(&data, |config| DiffusionConfig { condition: LABELS, ..config });
    let sample = |request: SampleRequest| moments(&model.sample(&request).unwrap());
    let asked = |class, guidance: f64| {
        sample(SampleRequest::new(600, 3).given(of_class(class, 600)).with("guidance", guidance))
    };
    for (class, place) in [(0, -2.0), (1, 2.0)] {
        let (mean, std) = asked(class, 0.0);
        assert!((mean - place).abs() < 0.3 && (0.7..1.3).contains(&std), "class {class}: {mean} {std}");
        let (guided, _) = asked(class, 2.0);
        assert!(guided.abs() > mean.abs() + 0.1 && guided * place > 0.0, "class {class}: {mean} {guided}");
    }
    // Open classes are drawn.
    let (mean, std) = sample(SampleRequest::new(600, 3));
    assert!(mean.abs() < 0.4 && (1.9..2.6).contains(&std), "{mean} {std}");

    let request = SampleRequest::new(4, 0);
    assert_eq!(model.sampling(&request).unwrap().evaluations, 25);
    assert_eq!(model.sampling(&request.with("guidance", 1.0)).unwrap().evaluations, 50);
    assert!(model.latent().is_none());
}

#[test]
fn a_class_is_likelier_where_it_belongs_and_without_labels_rows_have_the_density_of_all() {
    let data = classes();
    let model = trained(&data, |config| DiffusionConfig { condition: LABELS, ..config });
    let x = Generator::seeded(5).randn([400, 1], F64) + 2.0;
    for kind in [LikelihoodKind::Ode, LikelihoodKind::LowerBound] {
        let nats = |condition: Condition| {
            let log_p = model.log_likelihood(&Batch { condition, ..Batch::of(&x) }, kind, 0).unwrap();
            log_p.mean(Kind::Double).double_value(&[])
        };
        let (right, wrong, open) = (nats(of_class(1, 400)), nats(of_class(0, 400)), nats(Condition::NONE));
        // ln 2 more than that of the mixture, in which the other class hardly is at these places.
        assert!((right - open - 2f64.ln()).abs() < 0.3, "{kind}: {right} {open}");
        assert!(right > wrong + 3.0, "{kind}: {right} {wrong}");
    }
}

#[test]
fn samples_follow_their_context() {
    let data = squares();
    assert_eq!(QUICK_DIFFUSION.config(&data.spec).condition, Conditioning::needed_by(&data.spec));
    let model = trained(&data, |config| config);
    // Rows go through the network in parts.
    let context = Tensor::linspace(1.0, 9.0, 600, F64).unsqueeze(1);
    let request = SampleRequest::new(600, 1).given(Condition::of_context(context.shallow_clone()));
    let off = model.sample(&request).unwrap() - context.square();
    for part in off.chunk(3, 0) {
        let (mean, std) = moments(&part);
        assert!(mean.abs() < 1.5 && std < 4.0, "{mean} {std}");
    }

    let refused = |request: &SampleRequest| model.sample(request).unwrap_err().to_string();
    assert_eq!(refused(&SampleRequest::new(3, 0)), "this model needs a context for each row, found none");
    let labels = SampleRequest::new(3, 0).given(of_class(0, 3));
    assert!(refused(&labels).contains("does not learn from labels"));
    let density = model.density().unwrap();
    let rows = Batch::of(&data.train.x.narrow(0, 0, 3));
    assert!(density.log_likelihood(&rows, LikelihoodKind::Ode, 0).unwrap_err().to_string().contains("needs a context"));
}

#[test]
fn conditions_that_cannot_be_are_refused() {
    let data = classes();
    let message = |change: fn(DiffusionConfig) -> DiffusionConfig| match build(&data, change) {
        Ok(_) => panic!("this configuration is not possible"),
        Err(error) => error.to_string(),
    };
    let context = message(|config| DiffusionConfig { condition: Conditioning { context: true, ..LABELS }, ..config });
    assert!(context.contains("no columns of context"), "{context}");
    let dropout = message(|config| DiffusionConfig { condition_dropout: 1.0, ..config });
    assert!(dropout.contains("`condition_dropout` must be in [0, 1), found 1"), "{dropout}");

    let guided = SampleRequest::new(2, 0).with("guidance", 1.0);
    let unconditional = build(&data, |config| config).unwrap();
    assert!(unconditional.sample(&guided).unwrap_err().to_string().contains("`guidance` needs a model"));
    let whole = build(&data, |config| DiffusionConfig { condition: LABELS, condition_dropout: 0.0, ..config }).unwrap();
    assert!(whole.sample(&guided).unwrap_err().to_string().contains("`condition_dropout` above 0"));
    let rows = Batch::of(&data.train.x.narrow(0, 0, 3));
    let error = whole.log_likelihood(&rows, LikelihoodKind::Ode, 0).unwrap_err().to_string();
    assert!(error.contains("`condition_dropout` above 0"), "{error}");
    let negative = SampleRequest::new(2, 0).with("guidance", -1.0);
    assert!(whole.sample(&negative).unwrap_err().to_string().contains("`guidance` must be a number from 0 up"));
}

/// The share of rows whose condition is dropped shows in the loss of a step, and nothing else does.
#[test]
fn dropped_conditions_change_the_step() {
    let data = classes();
    let batch = data.train.narrow(0, 64).to_batch(&data.spec, &Generator::seeded(0));
    let loss = |condition_dropout: f64| {
        let mut model =
            build(&data, |config| DiffusionConfig { condition: LABELS, condition_dropout, ..config }).unwrap();
        model.train_step(&batch, &Step::new(0)).unwrap().values()[0].1
    };
    assert_eq!(loss(0.0), loss(0.0));
    assert!(loss(0.0) != loss(0.5) && loss(0.5) != loss(0.9));
    let mut model = build(&data, |config| DiffusionConfig { condition: LABELS, ..config }).unwrap();
    assert!(model.train_step(&Batch::of(&batch.x), &Step::new(0)).unwrap_err().to_string().contains("needs labels"));
}

#[test]
fn images_have_conditions_too() {
    let place = Tensor::arange(40 * 64, (Kind::Int64, Device::Cpu));
    let bytes = (place.square() * 7).fmod(256).to_kind(Kind::Uint8).view([40, 1, 8, 8]);
    let label = Tensor::arange(40, (Kind::Int64, Device::Cpu)).fmod(3);
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let data = Dataset::from_splits("images", Split::labelled(bytes, label), None, None, names).unwrap();
    let network = NetworkConfig::Unet(UNetConfig { channels: vec![8], ..UNetConfig::of(8, 8) });
    let mut model = build(&data, |config| DiffusionConfig { condition: LABELS, network, ..config }).unwrap();
    let batch = data.train.to_batch(&data.spec, &Generator::seeded(0));
    for index in 0..5 {
        let _losses = model.train_step(&batch, &Step::new(index)).unwrap();
    }
    let of =
        |class| model.sample(&SampleRequest::new(2, 0).given(of_class(class, 2)).with("sampler.steps", 3)).unwrap();
    assert_eq!(of(0).size(), [2, 1, 8, 8]);
    assert_ne!(of(0), of(1));
    // The weights of the condition are trained with the rest.
    let names: Vec<String> = model.weights().iter().map(|(name, _)| name.to_owned()).collect();
    assert!(names.iter().any(|name| name == "embedding.condition.0.weight"), "{names:?}");
}
