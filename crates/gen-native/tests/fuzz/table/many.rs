//! Likelihoods, operations on many tensors at once, gradients of the caller, and random numbers.

use std::panic::catch_unwind;

use gen_native::{
    AdamStep, Generator, adam_step, discretised_logistic, global_norm, is_batch_innermost, lerp,
    prefers_batch_innermost, with_gradient,
};
use tch::{Kind, TchError, Tensor};

use crate::case::{Case, Input, Role, Values, fixed, learned, structured, written};
use crate::compare::CPU;
use crate::draw::Draw;
use crate::shared::reference;

const HALF: f64 = 1.0 / 255.0;

pub(crate) fn discretised_logistic_of(draw: &mut Draw) -> Case {
    let mut shape = vec![draw.rows()];
    let dimensions = draw.pick(&[0, 1, 3, 3, 3]);
    shape.extend((0..dimensions).map(|_| draw.few(5)));
    let n = shape.iter().product::<i64>().max(1);
    let bytes = (0..n).map(|_| draw.from(-30..=285).clamp(0, 255) as f64 / 127.5 - 1.0).collect();
    let mean = learned(draw, "mean", &shape, Values::Normal(0.0, 0.5));
    let of_scale: &[i64] = draw.pick(&[&[], &[1], &[1, 1, 1, 1, 1]]);
    let mut scale = learned(draw, "log_scale", of_scale, Values::Normal(0.0, 1.0));
    scale.values = vec![draw.pick(&[-5.0, -3.0, -1.0, 0.5])];
    let x = Input { structured: false, ..structured("x", &shape, bytes) };
    let ours = |x: &[Tensor]| {
        let found = discretised_logistic(&x[0], &x[1], &x[2], HALF)?;
        let plain = |x: &Tensor| x.is_contiguous() && x.kind() == Kind::Float && !x.is_neg() && x.numel() > 0;
        if found.is_none() && x.iter().all(Tensor::defined) && gen_native_works() {
            let together = x[0].device() == CPU && x[2].device() == CPU && x[1].device() == CPU;
            let fits = together && x[0].size() == x[2].size() && x[1].kind() == Kind::Float && x[1].numel() == 1;
            if fits && !x[1].is_neg() && !x[1].is_sparse() && plain(&x[0]) && plain(&x[2]) {
                return Err(TchError::Torch("contiguous floats are left to the caller".to_owned()));
            }
        }
        Ok(found.map(|found| vec![found]))
    };
    let theirs = |x: &[Tensor]| vec![reference::logistic(&x[0], &x[1], &x[2], HALF)];
    let case = Case::new(String::new(), vec![mean, scale, x], |_| Ok(Vec::new()), theirs);
    // Tangents are left to the caller, and `ours` takes that for a fault.
    Case { ours: Box::new(ours), forward: false, ..case }.tolerances([3e-5, 1e-10], [3e-3, 1e-8])
}

/// Whether there are loops: not if everything is left to libtorch.
fn gen_native_works() -> bool {
    let x = Tensor::zeros([1, 1], (Kind::Float, CPU));
    discretised_logistic(&x, &Tensor::zeros([1], (Kind::Float, CPU)), &x, HALF).is_ok_and(|found| found.is_some())
}

pub(crate) fn adam_step_of(draw: &mut Draw) -> Case {
    let count = draw.from(0..=3) as usize;
    let settings = AdamStep {
        learning_rate: draw.pick(&[0.1, 0.003]),
        beta1: draw.pick(&[0.9, 0.0]),
        beta2: draw.pick(&[0.999, 0.99]),
        epsilon: 1e-8,
        weight_decay: draw.pick(&[0.0, 0.0, 0.01]),
    };
    let (t, scaled) = (draw.from(1..=30), draw.chance(40));
    let without = draw.from(-4..=count as i64 - 1);
    let mut tensors = Vec::new();
    for i in 0..count {
        let dimensions = draw.from(0..=4);
        let shape: Vec<i64> = (0..dimensions).map(|_| draw.few(6)).collect();
        // Parameters without a gradient do not change.
        let changed = if i as i64 == without { fixed } else { written };
        tensors.push(changed(draw, &format!("parameter {i}"), &shape, Values::Normal(0.0, 1.0)));
        tensors.push(fixed(draw, &format!("gradient {i}"), &shape, Values::Normal(0.0, 1.0)));
        tensors.push(changed(draw, &format!("first moment {i}"), &shape, Values::Normal(0.0, 1.0)));
        tensors.push(changed(draw, &format!("second moment {i}"), &shape, Values::Positive));
    }
    tensors.push(structured("step", &[], vec![t as f64]));
    if scaled {
        tensors.push(structured("scale", &[], vec![1.5]));
    }
    let lists = move |x: &[Tensor]| -> [Vec<Tensor>; 4] {
        [0, 1, 2, 3].map(|k| {
            let list = x[..4 * count].chunks(4).enumerate();
            list.map(|(i, of)| if k == 1 && i as i64 == without { Tensor::new() } else { of[k].shallow_clone() })
                .collect()
        })
    };
    let changed = move |x: &[Tensor]| -> Vec<Tensor> {
        x[..4 * count].chunks(4).flat_map(|of| [&of[0], &of[2], &of[3]]).map(Tensor::detach).collect()
    };
    let ours = move |x: &[Tensor]| {
        // An undefined gradient counts as none, and its input is ignored.
        let unseen = x[..4 * count].get(1 + 4 * without.max(0) as usize).filter(|_| without >= 0);
        let is_odd = |x: &Tensor| x.is_sparse() || x.device() != CPU || !x.is_floating_point();
        if x.iter().any(|x| !x.defined()) || unseen.is_some_and(is_odd) {
            return Err(TchError::Torch("undefined".to_owned()));
        }
        let [p, g, m, v] = lists(x);
        // The step and the scale are floats for all kinds of parameters.
        let float = |x: &Tensor| if x.kind() == Kind::Double { x.to_kind(Kind::Float) } else { x.shallow_clone() };
        let step = float(&x[4 * count]);
        let scale = scaled.then(|| float(&x[4 * count + 1]));
        // Gradients may be changed.
        let g: Vec<Tensor> =
            g.iter().map(|g| if g.defined() && scaled { like(g) } else { g.shallow_clone() }).collect();
        adam_step(&p, &g, &m, &v, &step, scale.as_ref(), settings)?;
        Ok(changed(x))
    };
    let theirs = move |x: &[Tensor]| {
        let AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay } = settings;
        let t = scalar(&x[4 * count]);
        for (i, of) in x[..4 * count].chunks(4).enumerate() {
            if i as i64 == without {
                continue;
            }
            let [mut p, mut m, mut v] = [0, 2, 3].map(|k| of[k].detach());
            assert!([&p, &m, &v].iter().all(|x| x.size() == of[1].size()));
            let g = if scaled { &of[1] / scalar(&x[4 * count + 1]) } else { of[1].shallow_clone() };
            m.copy_(&(&m * beta1 + &g * (1.0 - beta1)));
            v.copy_(&(&v * beta2 + g.square() * (1.0 - beta2)));
            let (m_hat, v_hat) = (&m / (1.0 - beta1.powf(t)), &v / (1.0 - beta2.powf(t)));
            p.copy_(&(&p * (1.0 - learning_rate * weight_decay) - m_hat / (v_hat.sqrt() + epsilon) * learning_rate));
        }
        changed(x)
    };
    let text = format!("{count} parameters, without a gradient: {without}, {settings:?}");
    Case::new(text, tensors, ours, theirs).tolerances([1e-5, 1e-6], [1.0, 1.0])
}

/// The number of a tensor with one entry.
fn scalar(x: &Tensor) -> f64 {
    x.reshape([1]).double_value(&[0])
}

/// A copy of `x` in the same layout.
fn like(x: &Tensor) -> Tensor {
    let mut copy = x.empty_like();
    copy.copy_(x);
    copy
}

pub(crate) fn global_norm_of(draw: &mut Draw) -> Case {
    let count = draw.from(1..=4);
    let tensors = (0..count)
        .map(|i| {
            let dimensions = draw.from(0..=3);
            let shape: Vec<i64> = (0..dimensions).map(|_| draw.few(5)).collect();
            fixed(draw, &format!("tensor {i}"), &shape, Values::Grid)
        })
        .collect();
    let ours = |x: &[Tensor]| Ok(vec![global_norm(x)?]);
    let theirs = |x: &[Tensor]| {
        let squares: Tensor = x.iter().map(|x| x.square().sum(Kind::Double)).sum();
        vec![squares.sqrt()]
    };
    // An undefined tensor counts as none.
    Case::new(
        String::new(),
        tensors,
        move |x| {
            if x.iter().any(|x| !x.defined()) {
                return Err(TchError::Torch("undefined".to_owned()));
            }
            ours(x)
        },
        theirs,
    )
}

pub(crate) fn lerp_of(draw: &mut Draw) -> Case {
    let (count, weight) = (draw.from(1..=3) as usize, draw.pick(&[0.0, 0.25, 0.999, 1.0]));
    let mut tensors = Vec::new();
    for i in 0..count {
        let dimensions = draw.from(0..=3);
        let shape: Vec<i64> = (0..dimensions).map(|_| draw.few(6)).collect();
        tensors.push(written(draw, &format!("start {i}"), &shape, Values::Grid));
        tensors.push(fixed(draw, &format!("end {i}"), &shape, Values::Grid));
    }
    let pairs = move |x: &[Tensor]| -> [Vec<Tensor>; 2] {
        [0, 1].map(|k| x[..2 * count].chunks(2).map(|pair| pair[k].shallow_clone()).collect())
    };
    let ours = move |x: &[Tensor]| {
        let [start, end] = pairs(x);
        lerp(&start, &end, weight)?;
        Ok(start.iter().map(Tensor::detach).collect())
    };
    let theirs = move |x: &[Tensor]| {
        let [start, end] = pairs(x);
        start
            .iter()
            .zip(&end)
            .map(|(a, b)| {
                assert_eq!(a.size(), b.size());
                let a = a.detach();
                &a + (b - &a) * weight
            })
            .collect()
    };
    Case::new(format!("weight {weight}"), tensors, ours, theirs)
}

pub(crate) fn with_gradient_of(draw: &mut Draw) -> Case {
    let dimensions = draw.from(0..=3);
    let shape: Vec<i64> = (0..dimensions).map(|_| draw.few(6)).collect();
    let tensors = vec![learned(draw, "x", &shape, Values::Grid), learned(draw, "y", &shape, Values::Grid)];
    let ours = |x: &[Tensor]| {
        if x.iter().any(|x| !x.defined()) {
            return with_gradient(&[&x[0], &x[1]], Vec::new(), |_| Ok(Vec::new()));
        }
        let (a, b) = (x[0].detach(), x[1].detach());
        if a.size() != b.size() || a.kind() != b.kind() || a.device() != b.device() {
            return Err(TchError::Torch("this closure is not made for it".to_owned()));
        }
        let results = vec![a.f_mul(&b)?, a.f_add(&b)?];
        with_gradient(&[&x[0], &x[1]], results, move |g| Ok(vec![Some(&g[0] * &b + &g[1]), Some(&g[0] * &a + &g[1])]))
    };
    let theirs = |x: &[Tensor]| vec![&x[0] * &x[1], &x[0] + &x[1]];
    Case { second: None, forward: false, ..Case::new(String::new(), tensors, ours, theirs) }
}

/// Draws after a generator was set to a state in the layout of the input.
pub(crate) fn set_state_of(draw: &mut Draw) -> Case {
    let seed = draw.from(0..=1000);
    let rng = Generator::seeded(seed);
    let drawn = draw.pick(&[0_i64, 1, 311, 623, 624, 625, 2000]);
    let _ = rng.rand([drawn], (Kind::Float, CPU));
    let state = rng.state().unwrap();
    let mut bytes = Vec::<f64>::try_from(state.to_kind(Kind::Double)).unwrap();
    let next = following(&rng);
    // Offsets in the block that no generator has.
    let spoilt = draw.chance(20);
    if spoilt {
        let [left, next] = draw.pick(&[[624, 624], [0, 1], [-1, 1], [1, 625], [600, 26], [2, -1_i64]]);
        let said = [(8, (left as i32).to_le_bytes().to_vec()), (16, next.to_le_bytes().to_vec())];
        for (at, value) in said {
            for (byte, value) in bytes[at..].iter_mut().zip(value) {
                *byte = f64::from(value);
            }
        }
    }
    let offset = draw.from(0..=9);
    let wanted = bytes.clone();
    let ours = move |x: &[Tensor]| {
        let x = &x[0];
        let rng = Generator::seeded(seed + 1);
        let before = following(&rng.clone());
        let plain = x.defined() && !x.is_sparse() && x.device() == CPU && x.is_floating_point();
        let set = if plain && !x.internal_is_zerotensor() {
            let [base, view] = bytes_like(x, offset);
            let untouched = base.copy();
            let set = rng.set_state(&view);
            assert_eq!(base, untouched);
            set
        } else if plain {
            rng.set_state(&Tensor::internal_efficientzerotensor(x.size(), (Kind::Uint8, CPU)))
        } else if x.defined() && x.is_floating_point() {
            rng.set_state(&x.f_to_kind(Kind::Uint8)?)
        } else {
            rng.set_state(x)
        };
        let after = following(&rng);
        if set.is_err() {
            assert_eq!(after, before, "what is refused changes nothing");
        }
        set.map(|()| vec![after.to_kind(x.kind())])
    };
    let theirs = move |x: &[Tensor]| {
        assert!(!spoilt && Vec::<f64>::try_from(x[0].flatten(0, -1)).unwrap() == wanted);
        vec![next.shallow_clone()]
    };
    let text = format!("seed {seed}, {drawn} numbers drawn before, spoilt: {spoilt}, bytes from {offset} on");
    let size = bytes.len() as i64;
    Case::new(text, vec![structured("state", &[size], bytes)], ours, theirs)
}

/// The next numbers of a generator, including those that it caches.
fn following(rng: &Generator) -> Tensor {
    let some = [rng.randn([3], (Kind::Double, CPU)), rng.randn([3], (Kind::Float, CPU)).to_kind(Kind::Double)];
    Tensor::cat(&[&some[0], &some[1], &rng.rand([640], (Kind::Double, CPU))], 0)
}

/// Bytes of these values in the layout of `x`, and their buffer, in which they begin at `offset`.
fn bytes_like(x: &Tensor, offset: i64) -> [Tensor; 2] {
    let reach: i64 = x.size().iter().zip(x.stride()).map(|(size, stride)| (size - 1).max(0) * stride).sum();
    let base = Tensor::full([offset + reach + 40], 85, (Kind::Uint8, CPU));
    let mut view = base.as_strided(x.size(), x.stride(), offset);
    let negated = x.is_neg();
    let values = x.resolve_neg();
    view.copy_(&if negated { (values * -1.0 + 256.0).remainder(256.0) } else { values });
    [base, if negated { view.internal_neg_view() } else { view }]
}

/// Draws do not depend on the layout of the pattern, and panic as documented.
pub(crate) fn generator_of(draw: &mut Draw) -> Case {
    let shape = [draw.rows(), draw.few(4), draw.few(4), draw.few(4)];
    let seed = draw.from(0..=1000);
    let tensors = vec![Input { role: Role::Learned, ..learned(draw, "x", &shape, Values::Grid) }];
    let ours = move |x: &[Tensor]| {
        let x = x[0].shallow_clone();
        if !x.defined() || x.is_sparse() || x.device() != CPU || x.kind() == Kind::ComplexFloat {
            return Err(TchError::Torch("not drawn for".to_owned()));
        }
        let run = move || {
            let plain = Tensor::zeros(x.size(), (x.kind(), CPU));
            let rng = Generator::seeded(seed);
            let other = rng.clone();
            let mut apart = vec![
                rng.randn_like(&x) - other.randn(x.size(), (x.kind(), CPU)),
                rng.rand_like(&x) - other.rand_like(&plain),
                rng.bernoulli_like(&x, 0.3) - other.bernoulli_like(&plain, 0.3),
            ];
            let kept = other.bernoulli_like(&plain, 0.75) / 0.75;
            let dropped = rng.dropout(&x, 0.25);
            apart.push(&dropped - &x * &kept);
            // Otherwise the mask is contiguous, and libtorch chooses between two layouts.
            if x.numel() > 0 && is_batch_innermost(&x) && prefers_batch_innermost(&x) {
                assert!(is_batch_innermost(&dropped) || x.requires_grad());
            }
            apart
        };
        catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|_| TchError::Torch("it panics".to_owned()))
    };
    let theirs = |x: &[Tensor]| {
        let nothing = x[0].detach().zeros_like();
        let mut apart: Vec<Tensor> = (0..3).map(|_| nothing.shallow_clone()).collect();
        apart.push(&x[0] * nothing);
        apart
    };
    Case::new(format!("seed {seed}"), tensors, ours, theirs)
}
