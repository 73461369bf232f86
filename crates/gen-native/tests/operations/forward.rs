//! Derivatives in forward mode, beside central differences in double precision.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use gen_native::{
    Activation, Direction, Factors, Instructions, Operands, Order, Statistics, Way, affine_coupling, batch_innermost,
    batch_norm, conv_stack, conv2d, group_norm, jvp, jvp_many, masked_perceptron, mixing, perceptron, use_instructions,
    with_gradient,
};
use tch::{Kind, TchError, Tensor};

use crate::shared::{DOUBLE, Function, assert_close, score};

/// Random directions for each of the inputs.
fn directions(inputs: &[Tensor]) -> Vec<Tensor> {
    inputs.iter().map(Tensor::randn_like).collect()
}

/// Values and tangents.
fn along(f: Function<'_>, inputs: &[Tensor], tangents: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    let (x, v): (Vec<_>, Vec<_>) = (inputs.iter().collect(), tangents.iter().collect());
    jvp_many(|x| Ok::<_, TchError>(f(x)), &x, &v).unwrap()
}

/// (f(x + h v) - f(x - h v)) / 2h. The step is small, so that hardly a value crosses the kink of an activation.
fn differences(f: Function<'_>, inputs: &[Tensor], tangents: &[Tensor]) -> Vec<Tensor> {
    const H: f64 = 1e-6;
    let moved = |h: f64| f(&inputs.iter().zip(tangents).map(|(x, v)| x + v * h).collect::<Vec<_>>());
    moved(H).iter().zip(moved(-H)).map(|(a, b)| (a - b).detach() / (2.0 * H)).collect()
}

/// Values, tangents, and gradients of a score of the tangents.
#[track_caller]
fn check(f: Function<'_>, inputs: &[Tensor]) {
    check_forward(f, inputs);
    check_gradients(f, inputs);
}

/// Reverse over forward, where the direction itself depends on the inputs.
#[track_caller]
fn check_gradients(f: Function<'_>, inputs: &[Tensor]) {
    let tangents = directions(inputs);
    let of_tangents = |inputs: &[Tensor]| {
        let v: Vec<Tensor> = inputs.iter().zip(&tangents).map(|(x, v)| x * 0.5 + v).collect();
        score(&along(f, inputs, &v).1)
    };
    let leaves: Vec<Tensor> = inputs.iter().map(|x| x.copy().set_requires_grad(true)).collect();
    let gradients = Tensor::run_backward(&[of_tangents(&leaves)], &leaves, false, false);
    let steps = directions(inputs);
    let slope: Tensor = gradients.iter().zip(&steps).map(|(g, v)| (g * v).sum(Kind::Double)).sum();
    let expected = differences(&|x| vec![of_tangents(x)], inputs, &steps);
    assert_close(&[slope], &expected, 1e-6);
}

/// Values and tangents.
#[track_caller]
fn check_forward(f: Function<'_>, inputs: &[Tensor]) {
    let tangents = directions(inputs);
    let (values, found) = along(f, inputs, &tangents);
    assert_close(&values, &f(inputs), 1e-12);
    assert_close(&found, &differences(f, inputs, &tangents), 1e-7);

    // In single precision, with the loops of all instruction sets.
    let single = |list: &[Tensor]| list.iter().map(|x| x.to_kind(Kind::Float)).collect::<Vec<_>>();
    for which in [Instructions::Avx512, Instructions::Avx2, Instructions::Portable, Instructions::Best] {
        if use_instructions(which).unwrap() {
            let (singles, rates) = along(f, &single(inputs), &single(&tangents));
            assert_close(&singles, &values, 1e-5);
            assert_close(&rates, &found, 3e-5);
        }
    }
}

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, DOUBLE)
}

#[test]
fn attention_of_products_and_a_softmax_has_one() {
    tch::manual_seed(1);
    let attention = |x: &[Tensor]| {
        let weights = (x[0].matmul(&x[1].transpose(-2, -1)) / 2.0).softmax(-1, None);
        vec![weights.matmul(&x[2])]
    };
    let inputs = [random(&[2, 3, 5, 4]), random(&[2, 3, 6, 4]), random(&[2, 3, 6, 4])];
    check_forward(&attention, &inputs);
    // With libtorch's softmax, a backward pass through the tangent fails. Written out, it works.
    let written_out = |x: &[Tensor]| {
        let weights = (x[0].matmul(&x[1].transpose(-2, -1)) / 2.0).exp();
        vec![(&weights / weights.sum_dim_intlist(-1, true, weights.kind())).matmul(&x[2])]
    };
    check(&written_out, &inputs);
}

#[test]
fn layers_of_libtorch_have_one() {
    tch::manual_seed(2);
    check(&|x| vec![x[0].linear(&x[1], Some(&x[2]))], &[random(&[3, 7, 5]), random(&[4, 5]), random(&[4])]);
    check(&|x| vec![x[0].silu(), x[0].gelu("none"), x[0].tanh()], &[random(&[6, 5])]);
    check(
        &|x| vec![x[0].conv2d(&x[1], Some(&x[2]), 2, 1, 1, 1)],
        &[random(&[3, 4, 6, 5]), random(&[2, 4, 3, 3]), random(&[2])],
    );
    check(
        &|x| vec![x[0].group_norm(2, Some(&x[1]), Some(&x[2]), 1e-5, false)],
        &[random(&[3, 4, 5, 2]), random(&[4]), random(&[4])],
    );
    check_forward(
        &|x| vec![x[0].layer_norm([5], Some(&x[1]), Some(&x[2]), 1e-5, false)],
        &[random(&[3, 4, 5]), random(&[5]), random(&[5])],
    );
}

#[test]
fn convolutions_have_one() {
    tch::manual_seed(3);
    for (direction, channels) in [(Direction::Down, [5, 4]), (Direction::Up, [4, 5])] {
        for (stride, padding) in [(1, 1), (2, 1), (2, 0), (3, 2)] {
            let f = |x: &[Tensor]| {
                let bias = x.get(2);
                vec![conv2d(&x[0], &x[1], bias, stride, padding, direction, Operands::Exact).unwrap()]
            };
            let mut inputs =
                vec![random(&[17, 4, 6, 7]), random(&[channels[0], channels[1], 3, 3]) * 0.3, random(&[5])];
            check(&f, &inputs);
            inputs[0] = batch_innermost(&inputs[0]).unwrap();
            inputs.truncate(2);
            check(&f, &inputs);
        }
    }
    let stack = |x: &[Tensor]| vec![conv_stack(&x[0], &x[1..].iter().collect::<Vec<_>>(), Operands::Exact).unwrap()];
    let layers = [random(&[6, 2, 3, 3]), random(&[6]), random(&[3, 6, 1, 1]), random(&[3])];
    let mut inputs = vec![random(&[33, 2, 5, 4])];
    inputs.extend(layers);
    check(&stack, &inputs);
}

#[test]
fn normalisations_have_one() {
    tch::manual_seed(4);
    for activation in [Activation::None, Activation::Relu, Activation::LeakyRelu, Activation::Silu] {
        for x in [random(&[17, 6, 3, 5]), batch_innermost(&random(&[16, 6, 4, 4])).unwrap()] {
            let modulation = random(&[x.size()[0], 12]);
            let inputs = [x, random(&[6]), random(&[6]), modulation];
            let of = |x: &[Tensor], with: Option<&Tensor>| {
                vec![group_norm(&x[0], 3, &x[1], &x[2], with, activation).unwrap()]
            };
            check(&|x| of(x, None), &inputs[..3]);
            check(&|x| of(x, x.get(3)), &inputs);
            check(&|x| vec![batch_norm(&x[0], &x[1], &x[2], Statistics::Batch, activation).unwrap()], &inputs[..3]);
            let given = |x: &[Tensor]| {
                let (mean, var) = (x[1].detach().zeros_like() + 0.3, x[1].detach().zeros_like() + 1.7);
                let statistics = Statistics::Running { mean: &mean, var: &var };
                vec![batch_norm(&x[0], &x[1], &x[2], statistics, activation).unwrap()]
            };
            check(&given, &inputs[..3]);
        }
    }
}

#[test]
fn flows_have_one() {
    tch::manual_seed(5);
    for way in [Way::Forward, Way::Inverse] {
        let coupling = |x: &[Tensor]| {
            let coupled = affine_coupling(Some(&x[0]), &x[1], &x[2], Some(&x[3]), Order::MovedFirst, way).unwrap();
            vec![coupled.values, coupled.log_det]
        };
        check(&coupling, &[random(&[17, 2, 3]), random(&[17, 3, 3]), random(&[17, 6, 3]), random(&[1])]);
        let permutation = Tensor::eye(4, DOUBLE).flip([0]);
        let sign = Tensor::from_slice(&[1.0, -1.0, 1.0, 1.0]);
        let mixed = |x: &[Tensor]| {
            let [permutation, sign] = [&permutation, &sign].map(|constant| constant.to_kind(x[0].kind()));
            let [scale, shift, lower, upper, log_scale] = x else { unreachable!() };
            let factors = Factors { scale, shift, lower, upper, log_scale, permutation: &permutation, sign: &sign };
            let mixing = mixing(factors, way).unwrap();
            vec![mixing.weight, mixing.bias, mixing.log_det]
        };
        let factors = [random(&[4]), random(&[4]), random(&[4, 4]), random(&[4, 4]), random(&[4])];
        check(&mixed, &factors.map(|x| x * 0.4));
    }
    let layers = |width: i64| [random(&[width, 3]), random(&[width]), random(&[4, width]), random(&[4])];
    // Layers of the loops, and those of libtorch's products.
    for width in [20, 140] {
        let mut inputs = vec![random(&[19, 3])];
        inputs.extend(layers(width));
        let list = |x: &[Tensor]| x[1..].iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
        check(&|x| vec![perceptron(&x[0], &list(x).iter().collect::<Vec<_>>()).unwrap()], &inputs);
        let masks = [random(&[width, 3]).gt(0.0), random(&[4, width]).gt(0.0)];
        let masked = |x: &[Tensor]| {
            vec![masked_perceptron(&x[0], &list(x).iter().collect::<Vec<_>>(), &[&masks[0], &masks[1]]).unwrap()]
        };
        check(&masked, &inputs);
    }
}

/// The network of a backward pass sees no tangent; the gradient that comes to it does.
#[test]
fn backward_passes_carry_tangents_of_gradients() {
    tch::manual_seed(6);
    let (x, weight, bias) = (random(&[17, 3, 5, 5]), random(&[4, 3, 3, 3]), random(&[4]));
    for kind in [Kind::Double, Kind::Float] {
        let learns = |x: &Tensor| x.to_kind(kind).copy().set_requires_grad(true);
        let leaves = [learns(&x), learns(&weight), learns(&bias)];
        let y = conv2d(&leaves[0], &leaves[1], Some(&leaves[2]), 2, 1, Direction::Down, Operands::Exact).unwrap();
        let turned = leaves[1].transpose(0, 1).contiguous();
        let y = conv_stack(&y, &[&turned, &leaves[2].narrow(0, 0, 3)], Operands::Exact).unwrap();
        let back = |y: &Tensor, g: &Tensor| Tensor::f_run_backward(&[(y * g).sum(kind)], &leaves, true, false);
        let (g, v) = (y.randn_like(), y.randn_like());
        // The gradients are linear in the gradient of the result.
        let (_, tangents) = jvp_many(|g| back(&y, &g[0]), &[&g], &[&v]).unwrap();
        assert!(tangents.iter().all(|tangent| !tangent.requires_grad()));
        assert_close(&tangents, &back(&y, &v).unwrap(), if kind == Kind::Double { 1e-12 } else { 1e-5 });

        // libtorch has no tangents of a backward pass of normalisations.
        let (scale, shift) = (leaves[2].narrow(0, 0, 3), leaves[2].narrow(0, 1, 3));
        let normed = group_norm(&y, 1, &scale, &shift, None, Activation::None).unwrap();
        let found = jvp_many(|g| back(&normed, &g[0]), &[&g], &[&v]);
        assert!(message(&found.unwrap_err()).contains("forward AD"));
    }
}

#[test]
fn what_is_detached_or_apart_is_constant() {
    let x = Tensor::from_slice(&[2.0, 3.0]);
    let f = |x: &[Tensor]| Ok::<_, TchError>(vec![&x[0] * x[0].detach(), x[0].zeros_like() + 1.0, x[0].detach()]);
    let (values, tangents) = jvp_many(f, &[&x], &[&x.ones_like()]).unwrap();
    assert_eq!(values[0], Tensor::from_slice(&[4.0, 9.0]));
    assert_eq!(tangents[0], x);
    for tangent in &tangents[1..] {
        assert_eq!(tangent, &x.zeros_like());
        // Not a tensor without memory.
        assert_eq!(Vec::<f64>::try_from(tangent).unwrap(), [0.0; 2]);
    }
}

/// A loss that contains a derivative with a fixed target, and the network that both share.
#[test]
fn a_loss_may_contain_a_detached_derivative() {
    tch::manual_seed(7);
    let (z, v, e) = (random(&[16, 3]), random(&[16, 3]), random(&[16, 3]));
    let weight = random(&[3, 3]).set_requires_grad(true);
    let u = |weight: &Tensor, z: &Tensor| z.matmul(weight).tanh();
    let (value, rate) = jvp(|x| Ok::<_, TchError>(u(&weight, &x[0])), &[&z], &[&v]).unwrap();
    let target = (&e - rate).detach();
    let gradient = Tensor::run_backward(&[(value - &target).square().sum(Kind::Double)], &[&weight], false, false);
    let plain = (u(&weight, &z) - &target).square().sum(Kind::Double);
    assert_close(&gradient, &Tensor::run_backward(&[plain], &[&weight], false, false), 1e-13);
}

fn message(error: &TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_missing_derivative_is_an_error() {
    let q = Tensor::randn([2, 2, 8, 4], DOUBLE);
    let v = q.randn_like();
    let fused = |x: &[Tensor]| {
        Tensor::f_scaled_dot_product_attention(&x[0], &x[0], &x[0], None::<Tensor>, 0.0, false, None, false)
    };
    let found = jvp(fused, &[&q], &[&v]);
    assert!(message(&found.unwrap_err()).contains("forward AD"));
    // tch's other operations panic with the message.
    let panics = |x: &[Tensor]| {
        let none = None::<Tensor>;
        Ok::<_, TchError>(Tensor::scaled_dot_product_attention(&x[0], &x[0], &x[0], none, 0.0, false, None, false))
    };
    let found = message(&jvp(panics, &[&q], &[&v]).unwrap_err());
    assert!(found.starts_with("Internal torch error: Trying to use forward AD") && found.ends_with('.'), "{found}");

    let custom = |x: &[Tensor]| {
        let value = x[0].detach();
        Ok(with_gradient(&[&x[0]], vec![value], |g| Ok(vec![Some(g[0].shallow_clone())]))?.remove(0))
    };
    let found: Result<_, TchError> = jvp(custom, &[&q], &[&v]);
    assert!(message(&found.unwrap_err()).contains("has no forward-mode derivative"));
}

/// libtorch takes the statistics for constants in a backward pass.
#[test]
fn a_wrong_gradient_of_a_tangent_is_an_error() {
    let x = Tensor::randn([3, 4, 5], DOUBLE).set_requires_grad(true);
    let [weight, bias] = [4, 4].map(|n| Tensor::randn([n], DOUBLE));
    let layer = |x: &[Tensor]| Ok::<_, TchError>(x[0].layer_norm([5], None::<Tensor>, None::<Tensor>, 1e-5, false));
    let batch = |x: &[Tensor]| {
        let y = x[0].batch_norm(Some(&weight), Some(&bias), None, None, true, 0.1, 1e-5, false);
        Ok::<_, TchError>(y)
    };
    let found = [jvp(layer, &[&x], &[&x.detach()]).unwrap(), jvp(batch, &[&x], &[&x.detach()]).unwrap()];
    for (value, tangent) in found {
        let gradient = |of: &Tensor| Tensor::f_run_backward(&[of.square().sum(Kind::Double)], &[&x], true, false);
        assert!(gradient(&value).is_ok());
        assert!(gradient(&(value * tangent.detach())).is_ok());
        assert!(message(&gradient(&tangent).unwrap_err()).contains("detach the derivative"));
    }
}

#[test]
fn tangents_have_the_form_of_their_primals() {
    let x = Tensor::ones([2, 3], DOUBLE);
    let same = |x: &[Tensor]| Ok::<_, TchError>(x[0].shallow_clone());
    for wrong in [
        Tensor::ones([3, 2], DOUBLE),
        Tensor::ones([1, 3], DOUBLE),
        Tensor::ones([2, 3], (Kind::Float, DOUBLE.1)),
        Tensor::ones([2, 3], (Kind::Int64, DOUBLE.1)),
        Tensor::new(),
    ] {
        assert!(jvp(same, &[&x], &[&wrong]).is_err());
    }
    let whole = Tensor::ones([2, 3], (Kind::Int64, DOUBLE.1));
    assert!(jvp(same, &[&whole], &[&whole]).is_err());
    assert!(jvp(same, &[&x], &[]).is_err());
    // The level is free again.
    assert_eq!(jvp(same, &[&x], &[&x]).unwrap().1, x);
}

#[test]
fn the_level_is_left_however_a_call_ends() {
    let x = Tensor::from_slice(&[1.0, 2.0]);
    let square = |x: &[Tensor]| Ok::<_, TchError>(x[0].square());
    let works = || assert_eq!(jvp(square, &[&x], &[&x]).unwrap().1, x.square() * 2.0);

    let failed = jvp(|_| Err(TchError::Torch("mine".to_owned())), &[&x], &[&x]);
    assert_eq!(message(&failed.unwrap_err()), message(&TchError::Torch("mine".to_owned())));
    works();

    let kept = std::cell::RefCell::new(Tensor::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        jvp::<TchError>(
            |x| {
                *kept.borrow_mut() = &x[0] * 2.0;
                panic!("mine")
            },
            &[&x],
            &[&x],
        )
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
    // What the function left somewhere has no tangent any more.
    let plain = |_: &[Tensor]| Ok::<_, TchError>(kept.borrow().shallow_clone());
    assert_eq!(jvp(plain, &[&x], &[&x]).unwrap().1, x.zeros_like());
    works();

    let nested = jvp(|inner| Ok(jvp(square, &[&inner[0]], &[&x])?.1), &[&x], &[&x]);
    assert!(message(&nested.unwrap_err()).contains("cannot contain each other"));
    works();
}

#[test]
fn threads_take_turns() {
    let run = |scale: f64| {
        for i in 0..50 {
            let x = Tensor::from_slice(&[scale, f64::from(i)]);
            let cube = |x: &[Tensor]| Ok::<_, TchError>(&x[0] * &x[0] * &x[0]);
            let (_, rate) = jvp(cube, &[&x], &[&x]).unwrap();
            assert_close(&[rate], &[x.pow_tensor_scalar(3) * 3.0], 1e-14);
        }
    };
    thread::scope(|scope| {
        for scale in [1.0, 2.0, 3.0] {
            scope.spawn(move || run(scale));
        }
    });
}
