//! Adversarial objectives as pure functions of logits.
//!
//! Each game is a module of two functions, one a player; both return the scalar that the player minimises, a
//! mean over the batch. `real: [batch]` are the discriminator's logits D(x) of data, `fake: [batch]` its logits
//! D(G(z)) of generated samples; the probability that the discriminator gives to "data" is their sigmoid.

use gen_core::distributions::sum_rows;
use tch::{Kind, Tensor};

/// The game of Goodfellow et al. (2014) with the generator's non-saturating loss, which DCGAN plays.
///
/// ```
/// use gen_gan::losses::non_saturating;
/// use tch::Tensor;
///
/// // A discriminator that cannot tell one from the other: D is at 2 ln 2, G at ln 2.
/// let undecided = Tensor::from_slice(&[0.0, 0.0]);
/// let loss_d = non_saturating::discriminator(&undecided, &undecided).double_value(&[]);
/// let loss_g = non_saturating::generator(&undecided).double_value(&[]);
/// assert!((loss_d - 4f64.ln()).abs() < 1e-12 && (loss_g - 2f64.ln()).abs() < 1e-12);
/// ```
pub mod non_saturating {
    use super::{Tensor, mean};

    /// -E log σ(D(x)) - E log(1 - σ(D(G(z)))) = E softplus(-D(x)) + E softplus(D(G(z))).
    ///
    /// Goodfellow et al. (2014), equation 1, negated.
    pub fn discriminator(real: &Tensor, fake: &Tensor) -> Tensor {
        mean(&(-real).softplus()) + mean(&fake.softplus())
    }

    /// -E log σ(D(G(z))) = E softplus(-D(G(z))).
    ///
    /// Goodfellow et al. (2014), section 3: unlike E log(1 - σ(D(G(z)))) it keeps its gradient where the
    /// discriminator is sure that a sample is generated.
    pub fn generator(fake: &Tensor) -> Tensor {
        mean(&(-fake).softplus())
    }
}

/// ‖∇ₓ D(x)‖² of each row: the zero-centred gradient penalty.
///
/// `x: [batch, ...]` must require gradients and `logits: [batch]` be computed from it, each from its own row: a
/// network with batch normalisation has no such gradient. Returns `[batch]`, part of the graph, so that it can
/// itself be minimised. On data, γ/2 times its mean is the penalty R₁ of Mescheder et al. (2018), equation 9.
///
/// ```
/// use gen_gan::losses::gradient_penalty;
/// use tch::Tensor;
///
/// // A linear discriminator has the same gradient everywhere: 3² + 4².
/// let x = Tensor::from_slice2(&[[1.0, 2.0], [-5.0, 0.5]]).set_requires_grad(true);
/// let logits = x.mv(&Tensor::from_slice(&[3.0, 4.0]));
/// assert_eq!(gradient_penalty(&x, &logits), Tensor::from_slice(&[25.0, 25.0]));
/// ```
///
/// # Panics
/// When `logits` do not depend on `x`.
pub fn gradient_penalty(x: &Tensor, logits: &Tensor) -> Tensor {
    let gradient = Tensor::run_backward(&[logits.sum(logits.kind())], &[x], true, true).remove(0);
    sum_rows(&gradient.square())
}

fn mean(x: &Tensor) -> Tensor {
    x.mean(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use gen_core::testing::{assert_close, assert_close_f64, assert_gradient};
    use serde_json::Value;

    use super::*;

    type Loss = fn(&Tensor, &Tensor) -> Tensor;

    /// Every game: its name in the vectors, and the losses of its players as functions of (real, fake).
    const GAMES: [(&str, Loss, Loss); 1] =
        [("non_saturating", non_saturating::discriminator, |_, fake| non_saturating::generator(fake))];

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../tests/vectors/losses.json")).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    fn matrix(value: &Value) -> Tensor {
        Tensor::from_slice2(&value.as_array().unwrap().iter().map(numbers).collect::<Vec<_>>())
    }

    fn logits() -> (Tensor, Tensor) {
        let vectors = vectors();
        let logits = |name: &str| Tensor::from_slice(&numbers(&vectors[name]));
        (logits("real"), logits("fake"))
    }

    fn value(loss: &Tensor) -> f64 {
        assert!(loss.size().is_empty(), "a loss is a scalar");
        loss.double_value(&[])
    }

    #[test]
    fn losses_have_their_reference_values() {
        let (vectors, (real, fake)) = (vectors(), logits());
        for (name, discriminator, generator) in GAMES {
            let expected = |player: &str| vectors[name][player].as_f64().unwrap();
            assert_close_f64(value(&discriminator(&real, &fake)), expected("discriminator"), 0.0, 1e-7);
            assert_close_f64(value(&generator(&real, &fake)), expected("generator"), 0.0, 1e-7);
        }
    }

    #[test]
    fn gradients_are_those_of_central_differences() {
        let (real, fake) = logits();
        for (_, discriminator, generator) in GAMES {
            assert_gradient(|real| discriminator(real, &fake), &real, 1e-8);
            assert_gradient(|fake| discriminator(&real, fake), &fake, 1e-8);
            assert_gradient(|fake| generator(&real, fake), &fake, 1e-8);
        }
    }

    #[test]
    fn repeating_the_batch_changes_nothing() {
        let (real, fake) = logits();
        let (real3, fake3) = (real.repeat([3]), fake.repeat([3]));
        for loss in GAMES.into_iter().flat_map(|(_, discriminator, generator)| [discriminator, generator]) {
            assert_close_f64(value(&loss(&real3, &fake3)), value(&loss(&real, &fake)), 1e-12, 0.0);
        }
    }

    #[test]
    fn a_sure_discriminator_neither_overflows_nor_stops_the_generator() {
        let sure = Tensor::from_slice(&[-200.0f32]).set_requires_grad(true);
        let loss = non_saturating::generator(&sure);
        let gradient = Tensor::run_backward(&[&loss], &[&sure], false, false).remove(0);
        assert_eq!((value(&loss), gradient.double_value(&[0])), (200.0, -1.0));
    }

    /// D(x) = xᵀ A x / 2 with symmetric A, whose gradient is A x.
    fn quadratic(x: &Tensor, a: &Tensor) -> Tensor {
        (x.matmul(a) * x).sum_dim_intlist(1, false, None::<Kind>) * 0.5
    }

    #[test]
    fn the_penalty_is_the_squared_norm_of_each_rows_gradient() {
        let case = &vectors()["quadratic"];
        let a = matrix(&case["a"]).set_requires_grad(true);
        let x = matrix(&case["x"]).set_requires_grad(true);
        let penalty = gradient_penalty(&x, &quadratic(&x, &a));
        assert_close(&penalty, &Tensor::from_slice(&numbers(&case["squared_norms"])), 1e-12, 0.0);
        let r1 = mean(&penalty) * (case["gamma"].as_f64().unwrap() / 2.0);
        assert_close_f64(value(&r1), case["r1"].as_f64().unwrap(), 1e-8, 0.0);
        // A and its transpose are one and the same parameter.
        let gradient = Tensor::run_backward(&[r1], &[&a], false, false).remove(0);
        assert_close(&((&gradient + gradient.tr()) / 2.0), &matrix(&case["r1_gradient"]), 1e-8, 0.0);
    }

    #[test]
    fn the_penalty_can_itself_be_differentiated() {
        let case = &vectors()["quadratic"];
        let penalty = |a: &Tensor| {
            let x = matrix(&case["x"]).set_requires_grad(true);
            mean(&gradient_penalty(&x, &quadratic(&x, a).tanh()))
        };
        assert_gradient(penalty, &matrix(&case["a"]), 1e-7);
    }
}
