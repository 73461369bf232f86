//! A trained flow in one call, and back from one file.

use gen_core::fit::{Fit, Fitted};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::registry::{Buildable, Preset};
use gen_core::rng::{Purpose, stream};
use gen_core::testing::assert_close_f64;
use gen_core::train::Budget;
use gen_flow::{MAF, Maf, QUICK_FLOW, RealNvp, TARFLOW, TarFlow};
use tch::{Device, Kind, Tensor};

/// Rows on a noisy parabola, far from the origin, in other units for each column.
fn parabola(n: i64) -> Tensor {
    let rng = stream(3, Purpose::Data, 0);
    let x = rng.randn([n, 1], (Kind::Double, Device::Cpu));
    let y = x.square() + rng.randn([n, 1], (Kind::Double, Device::Cpu)) * 0.2;
    Tensor::cat(&[x * 100.0 + 1e5, y * 1e-3], 1)
}

fn small<M: Buildable>(preset: &'static Preset<M>) -> Fit<M> {
    tch::set_num_threads(1);
    Fit::new(preset).budget(Budget::Steps(300)).seed(5)
}

fn fitted(x: &Tensor) -> Fitted<RealNvp> {
    small(&QUICK_FLOW).set("couplings=4").set("hidden=[32]").set("batch_size=128").run(x).unwrap()
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

#[test]
fn a_density_is_learned_in_the_units_of_the_data() {
    let (x, unseen) = (parabola(1500), parabola(1500).narrow(0, 1000, 500));
    let flow = fitted(&x);
    // The best Gaussian with independent columns has the entropy of each.
    let std = x.std_dim([0].as_slice(), true, false);
    let gaussian = -(std.log() + 0.5 * (std::f64::consts::TAU.ln() + 1.0)).sum(Kind::Double).double_value(&[]);
    let log_prob = flow.log_prob(&unseen).unwrap();
    assert_eq!((log_prob.size(), log_prob.kind()), (vec![500], Kind::Double));
    assert!(mean(&log_prob) > gaussian + 0.5, "{} beside {gaussian}", mean(&log_prob));

    let samples = flow.sample(2000, 1).unwrap();
    assert_eq!((samples.size(), samples.kind()), (vec![2000, 2], Kind::Double));
    let off = mean(&samples.select(1, 0)) - mean(&x.select(1, 0));
    assert!(off.abs() < 20.0, "{off} of a standard deviation of 100");
    let cold = flow.sample_with(&SampleRequest::new(5, 1).with("temperature", 0.0)).unwrap();
    assert_eq!(cold.get(0), cold.get(1));
}

#[test]
fn the_same_seed_is_the_same_model_and_a_file_keeps_it() {
    let x = parabola(400);
    let flow = fitted(&x);
    assert_eq!(fitted(&x).sample(10, 0).unwrap(), flow.sample(10, 0).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.safetensors");
    flow.save(&file).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let read = Fitted::load(&QUICK_FLOW, &file, Device::Cpu).unwrap();
    assert_eq!(read.sample(10, 0).unwrap(), flow.sample(10, 0).unwrap());
    assert_eq!(read.log_prob(&x).unwrap(), flow.log_prob(&x).unwrap());
    assert_eq!(read.model().card().parameters, flow.model().card().parameters);

    let error = |found: gen_core::Result<Fitted<Maf>>| found.err().unwrap().to_string();
    assert!(
        error(Fitted::load(&MAF, &file, Device::Cpu)).ends_with("the file holds the model `quick-flow`, not `maf`")
    );
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    assert!(error(Fitted::load(&MAF, &file, Device::Cpu)).contains("flow.safetensors"));
    Tensor::write_safetensors(&[("x", &x)], &file).unwrap();
    assert!(
        error(Fitted::load(&MAF, &file, Device::Cpu)).ends_with("not a fitted model: its metadata has no `format`")
    );
    assert!(error(Fitted::load(&MAF, folder.path().join("none"), Device::Cpu)).contains("none"));
    assert!(flow.save(folder.path().join("no/such/folder")).is_err());
}

#[test]
fn the_weights_are_those_of_the_best_validation() {
    let x = parabola(300);
    let mut rows = 0;
    let fit = small(&QUICK_FLOW).set("couplings=8").set("hidden=[128,128]").set("learning_rate=0.01");
    let flow = fit.budget(Budget::Steps(2000)).run_observed(&x, |_| rows += 1).unwrap();
    // So few rows are soon learned by heart: the training stops early, and what it keeps holds for unseen rows.
    assert!(rows < 40, "{rows} rows of the history");
    let unseen = mean(&flow.log_prob(&parabola(2000).narrow(0, 1000, 1000)).unwrap());
    assert!((mean(&flow.log_prob(&x).unwrap()) - unseen).abs() < 0.6, "{unseen}");
}

#[test]
fn labels_are_for_models_that_learn_from_them() {
    let images = stream(0, Purpose::Data, 0).randint(0, 256, [40, 1, 8, 8], (Kind::Int64, Device::Cpu));
    let (images, labels) = (images.to_kind(Kind::Uint8), Tensor::arange(40, (Kind::Int64, Device::Cpu)).remainder(3));
    let fit = || small(&TARFLOW).set("layers=[1,1]").set("width=16").set("heads=2").budget(Budget::Steps(2));
    let model = fit().labels(&labels).run(&images).unwrap();
    assert_eq!(model.model().card().data.classes, ["0", "1", "2"]);
    assert_eq!(
        (model.sample(3, 0).unwrap().size(), model.sample(3, 0).unwrap().kind()),
        (vec![3, 1, 8, 8], Kind::Uint8)
    );
    assert!(model.log_prob(&images).unwrap_err().to_string().contains("gives no likelihood"));

    let error = |found: gen_core::Result<Fitted<TarFlow>>| found.err().unwrap().to_string();
    assert_eq!(
        error(fit().labels(&labels.narrow(0, 0, 3)).run(&images)),
        "40 rows need a label for each of them, found [3]"
    );
    assert!(error(fit().labels(&(labels - 1)).run(&images)).contains("a negative one"));
    let labels = Tensor::zeros([400], (Kind::Int64, Device::Cpu));
    let refused = small(&QUICK_FLOW).labels(&labels).run(&parabola(400)).err().unwrap().to_string();
    assert_eq!(refused, "`quick-flow` does not learn from labels with these settings: set `condition.labels` to true");
}

#[test]
fn wrong_tensors_and_settings_are_errors() {
    let error = |found: gen_core::Result<Fitted<RealNvp>>| found.err().unwrap().to_string();
    for wrong in [Tensor::new(), Tensor::from(1.0), parabola(0), parabola(9).to_kind(Kind::Int64)] {
        assert!(!error(small(&QUICK_FLOW).run(&wrong)).is_empty());
    }
    let holes = parabola(9);
    let _ = holes.get(4).get(1).fill_(f64::NAN);
    assert!(error(small(&QUICK_FLOW).run(&holes)).contains("row 5, column 2 is NaN"));
    assert_eq!(
        error(small(&QUICK_FLOW).set("coupling=3").run(&parabola(9))),
        "unknown key `coupling`: did you mean `couplings`?"
    );
    let flow = small(&QUICK_FLOW).budget(Budget::Steps(1)).run(&parabola(40)).unwrap();
    let message = flow.log_prob(&parabola(3).narrow(1, 0, 1)).unwrap_err().to_string();
    assert_eq!(message, "the model was trained on floating-point [n] of [2], found Double [3, 1]");
    assert_close_f64(
        mean(&flow.log_prob(&parabola(40)).unwrap()),
        mean(&flow.log_prob(&parabola(40)).unwrap()),
        0.0,
        0.0,
    );
}
