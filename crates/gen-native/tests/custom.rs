//! An operation with a gradient of its own, beside the same of libtorch's operations.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use gen_native::with_gradient;
use tch::{Device, Kind, TchError, Tensor};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// x y and x + y.
fn product_and_sum(x: &Tensor, y: &Tensor) -> Vec<Tensor> {
    let (a, b) = (x.detach(), y.detach());
    let results = vec![&a * &b, &a + &b];
    with_gradient(&[x, y], results, move |g| Ok(vec![Some(&g[0] * &b + &g[1]), Some(&g[0] * &a + &g[1])]))
        .unwrap()
}

fn leaf() -> Tensor {
    Tensor::randn([3, 2], DOUBLE).set_requires_grad(true)
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    a.allclose(b, 1e-12, 1e-12, false)
}

#[test]
fn the_gradient_is_that_of_the_chain_rule() {
    let (x, y) = (leaf(), leaf());
    let gradients = |results: Vec<Tensor>| {
        let loss = (results[0].exp() * &results[1]).sum(Kind::Double);
        Tensor::run_backward(&[loss], &[&x, &y], false, false)
    };
    let ours = gradients(product_and_sum(&x.sin(), &(&x * &y)));
    let theirs = gradients(vec![x.sin() * (&x * &y), x.sin() + &x * &y]);
    assert!(close(&ours[0], &theirs[0]) && close(&ours[1], &theirs[1]));
}

#[test]
fn a_result_that_nobody_used_has_the_gradient_zero_and_a_kept_graph_serves_twice() {
    let (x, y) = (leaf(), leaf());
    let results = product_and_sum(&x, &y);
    for _ in 0..2 {
        let found = Tensor::run_backward(&[results[0].sum(Kind::Double)], &[&x], true, false);
        assert!(close(&found[0], &y));
    }
}

#[test]
fn a_gradient_may_use_autograd_itself() {
    let x = leaf();
    let value = x.detach();
    let square_root = move |of_y: &[Tensor]| {
        tch::with_grad(|| {
            let x = value.detach().copy().set_requires_grad(true);
            let y = (x.exp() * &of_y[0]).sum(Kind::Double);
            Ok(vec![Some(Tensor::f_run_backward(&[y], &[&x], false, false)?.remove(0))])
        })
    };
    let y = with_gradient(&[&x], vec![x.detach().exp()], square_root).unwrap();
    let found = Tensor::run_backward(&[y[0].sum(Kind::Double)], &[&x], false, false);
    assert!(close(&found[0], &x.exp()));
}

#[test]
fn what_a_node_holds_lives_as_long_as_its_results() {
    let held = Arc::new(());
    let node = |x: &Tensor| {
        let held = Arc::clone(&held);
        let value = x.detach() * 2.0;
        let gradient = move |g: &[Tensor]| {
            let _held = &held;
            Ok(vec![Some(&g[0] * 2.0)])
        };
        with_gradient(&[x], vec![value], gradient).unwrap().remove(0)
    };
    let y = node(&leaf());
    assert!(y.requires_grad());
    assert_eq!(Arc::strong_count(&held), 2);
    drop(y);
    assert_eq!(Arc::strong_count(&held), 1);
    // Nothing is kept where no gradient is.
    let without = tch::no_grad(|| node(&leaf()));
    assert!(!without.requires_grad() && Arc::strong_count(&held) == 1);
}

#[test]
fn failures_are_errors_of_the_backward_pass() {
    let x = leaf();
    let node = |gradient: fn() -> Result<Vec<Option<Tensor>>, TchError>| {
        let y = with_gradient(&[&x], vec![x.detach() * 1.0], move |_| gradient()).unwrap();
        Tensor::f_run_backward(&[y[0].sum(Kind::Double)], &[&x], false, false)
    };
    assert!(node(|| Ok(vec![Some(Tensor::ones([3, 2], DOUBLE))])).is_ok());
    assert!(node(|| Ok(Vec::new())).is_err());
    assert!(node(|| Err(TchError::Torch("no".to_owned()))).is_err());
    assert!(node(|| panic!("no")).is_err());
    assert!(node(|| Ok(vec![Some(Tensor::ones([7], DOUBLE))])).is_err());

    let y = product_and_sum(&x, &x);
    let twice = Tensor::f_run_backward(&[y[0].sum(Kind::Double)], &[&x], true, true);
    assert!(twice.unwrap_err().to_string().contains("first derivative"));
}
