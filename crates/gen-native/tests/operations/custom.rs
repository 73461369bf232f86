//! An operation with its own gradient, beside the same by libtorch's operations.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gen_native::with_gradient;
use tch::{Device, Kind, TchError, Tensor};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// x y and x + y.
fn product_and_sum(x: &Tensor, y: &Tensor) -> Vec<Tensor> {
    let (a, b) = (x.detach(), y.detach());
    let results = vec![&a * &b, &a + &b];
    with_gradient(&[x, y], results, move |g| Ok(vec![Some(&g[0] * &b + &g[1]), Some(&g[0] * &a + &g[1])])).unwrap()
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
fn tensors_of_a_node_live_as_long_as_its_results() {
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
    // Without gradients, nothing is kept.
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

/// The gradient of x 2, by a closure that is `Send` but not `Sync`.
#[test]
fn two_threads_may_go_back_through_one_graph_that_is_kept() {
    let (inside, met) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let x = leaf();
    let calls = Cell::new(0);
    let (busy, together) = (Arc::clone(&inside), Arc::clone(&met));
    let twice = move |g: &[Tensor]| {
        if busy.swap(true, Ordering::SeqCst) {
            together.fetch_add(1, Ordering::SeqCst);
        }
        calls.set(calls.get() + 1);
        thread::sleep(Duration::from_millis(1));
        busy.store(false, Ordering::SeqCst);
        Ok(vec![Some(&g[0] * 2.0)])
    };
    let y = with_gradient(&[&x], vec![x.detach() * 2.0], twice).unwrap().remove(0).sum(Kind::Double);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (x, y) = (x.shallow_clone(), y.shallow_clone());
            thread::spawn(move || {
                for _ in 0..50 {
                    let found = Tensor::run_backward(&[&y], &[&x], true, false).remove(0);
                    assert_eq!(found, Tensor::full([3, 2], 2.0, DOUBLE));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(met.load(Ordering::SeqCst), 0, "two threads were in the closure at once");
}

/// A graph that is not retained serves the first thread; the other gets an error.
#[test]
fn of_two_threads_that_free_a_graph_one_is_refused() {
    for _ in 0..50 {
        let (x, y) = (leaf(), leaf());
        let score = product_and_sum(&x, &y)[0].sum(Kind::Double);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (x, score) = (x.shallow_clone(), score.shallow_clone());
                thread::spawn(move || Tensor::f_run_backward(&[score], &[x], false, false).is_ok())
            })
            .collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        assert!(done.filter(|&done| done).count() >= 1);
    }
}

#[test]
fn the_error_has_the_message_of_the_closure() {
    let x = leaf();
    type Gradient = fn(&[Tensor]) -> Result<Vec<Option<Tensor>>, TchError>;
    let message = |gradient: Gradient| {
        let y = with_gradient(&[&x], vec![x.detach() * 1.0], gradient).unwrap();
        Tensor::f_run_backward(&[y[0].sum(Kind::Double)], &[&x], false, false).unwrap_err().to_string()
    };
    let said = message(|_| Err(TchError::Torch("no step is small enough".to_owned())));
    assert!(said.contains("no step is small enough"), "{said}");
    let said = message(|_| panic!("an index is {} too large", 7));
    assert!(said.contains("an index is 7 too large"), "{said}");
    let said = message(|_| Ok(vec![None, None]));
    assert!(said.contains("2 gradients for 1 input"), "{said}");
}

/// A closure that runs a backward pass through its own node would wait for itself.
#[test]
fn a_node_does_not_wait_for_itself() {
    let x = leaf();
    let own: Arc<Mutex<Option<Tensor>>> = Arc::default();
    let held = Arc::clone(&own);
    let at = x.shallow_clone();
    let y = with_gradient(&[&x], vec![x.detach() * 2.0], move |g| {
        if let Some(y) = held.lock().unwrap().take() {
            let score = tch::with_grad(|| y.sum(Kind::Double));
            Tensor::f_run_backward(&[score], &[&at], true, false)?;
        }
        Ok(vec![Some(&g[0] * 2.0)])
    })
    .unwrap()
    .remove(0);
    *own.lock().unwrap() = Some(y.shallow_clone());
    let found = Tensor::f_run_backward(&[y.sum(Kind::Double)], &[&x], true, false);
    assert!(found.unwrap_err().to_string().contains("itself"));
}

/// Results that are inputs, views, or one tensor twice.
#[test]
fn results_that_others_hold_are_left_as_they_are() {
    let x = leaf();
    let base = Tensor::randn([6, 2], DOUBLE);
    let given = vec![x.shallow_clone(), base.narrow(0, 0, 3), base.narrow(0, 0, 3), &x * 3.0];
    let results = with_gradient(&[&x], given, |g| Ok(vec![Some(&g[0] + &g[1] + &g[2] + &g[3])])).unwrap();
    assert!(x.is_leaf() && !base.requires_grad());
    let score = results.iter().map(|y| y.sum(Kind::Double)).sum::<Tensor>();
    let found = Tensor::run_backward(&[score], &[&x], false, false).remove(0);
    assert_eq!(found, Tensor::full([3, 2], 4.0, DOUBLE));
}

#[test]
fn results_without_a_gradient_of_their_own_are_refused() {
    let x = leaf();
    for wrong in [Tensor::zeros([2], (Kind::Int64, Device::Cpu)), Tensor::new()] {
        let message = with_gradient(&[&x], vec![wrong], |_| Ok(vec![None])).unwrap_err().to_string();
        assert!(message.contains("a result"), "{message}");
    }
    assert!(with_gradient(&[&Tensor::new()], vec![x.detach()], |_| Ok(vec![None])).is_err());
}

/// Values in a closure may panic when they are dropped.
#[test]
fn a_panic_while_a_node_is_freed_stays_inside() {
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let x = leaf();
    let held = Fails;
    let y = with_gradient(&[&x], vec![x.detach() * 2.0], move |g| {
        let _held = &held;
        Ok(vec![Some(&g[0] * 2.0)])
    });
    drop(y);
}
