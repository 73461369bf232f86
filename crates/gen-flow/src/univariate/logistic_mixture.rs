use tch::Tensor;

use super::map::Univariate;

/// Halvings of the interval in which an inverse lies, before Newton's steps.
const HALVINGS: usize = 30;
/// Newton's steps: each doubles the digits.
const POLISHING: usize = 3;
/// With zero parameters the means lie between minus this and this.
const SPREAD: f64 = 1.5;
/// The log of a component's slope lies within this of 0, so that no cell of the grid is too narrow for it.
const STEEPEST: f64 = 12.0;

/// The quantile of a mixture of K logistic distributions on the real line, then an affine map,
///
/// > y = exp(s) logit(Σₖ πₖ σ((x - μₖ) / σₖ)) + t
///
/// with parameters (ln πₖ up to a constant, μₖ - mₖ, -ln σₖ for each k; a, t) and s = 2 tanh(a / 2). It can make any
/// smooth density of the line Gaussian: a network that is monotone in x by construction. The inverse is found by
/// bisection, and its slope is exact. With zero parameters the components lie around the places mₖ, apart from each
/// other (equal ones would stay equal), and the map is close to the identity.
///
/// Ho et al. 2019 (Flow++), section 3.2, equations 4 to 6; Huang et al. 2018 (NAF), section 3, call it a deep sigmoidal
/// flow.
#[derive(Debug, Clone, Copy)]
pub struct LogisticMixture {
    components: i64,
}

/// The numbers behind the map of each value: `[batch, K, n, ...]` and `[batch, n, ...]`.
struct Components {
    log_weight: Tensor,
    mean: Tensor,
    log_steepness: Tensor,
    log_scale: Tensor,
    shift: Tensor,
}

impl LogisticMixture {
    /// With this many components.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(components: i64) -> Self {
        assert!(components > 0, "a mixture has at least 1 component, found {components}");
        LogisticMixture { components }
    }

    /// mₖ, in a shape that broadcasts over `[batch, K, n, ...]`.
    fn places(&self, like: &Tensor) -> Tensor {
        let ends = if self.components > 1 { SPREAD } else { 0.0 };
        let places = Tensor::linspace(-ends, ends, self.components, (like.kind(), like.device()));
        let mut size = vec![1; like.dim() + 1];
        size[1] = self.components;
        places.view(size.as_slice())
    }

    fn components(&self, parameters: &Tensor) -> Components {
        let k = self.components;
        let n = parameters.size()[1] / self.parameters();
        let mut size = parameters.size();
        size.splice(1..2, [k, n]);
        let block = |i: i64| parameters.narrow(1, i * k * n, k * n).reshape(&size);
        let last = |i: i64| parameters.narrow(1, (3 * k + i) * n, n);
        Components {
            log_weight: block(0).log_softmax(1, parameters.kind()),
            mean: block(1) + self.places(parameters),
            log_steepness: (block(2) / STEEPEST).tanh() * STEEPEST,
            log_scale: (last(0) * 0.5).tanh() * 2.0,
            shift: last(1),
        }
    }
}

impl Components {
    /// logit of the mixture's distribution function at x, and ln of its slope: `[batch, n, ...]` each.
    fn logit(&self, x: &Tensor) -> (Tensor, Tensor) {
        let scaled = (x.unsqueeze(1) - &self.mean) * self.log_steepness.exp();
        let (log_p, log_q) = (scaled.log_sigmoid(), (-&scaled).log_sigmoid());
        let sum = |terms: Tensor| terms.logsumexp([1], false);
        let (below, above) = (sum(&self.log_weight + &log_p), sum(&self.log_weight + &log_q));
        let density = sum(&self.log_weight + &log_p + &log_q + &self.log_steepness);
        let log_slope = density - &below - &above;
        (below - above, log_slope)
    }

    /// x with logit(x) = `logit`. It lies between the places where the components alone would have it.
    fn quantile(&self, logit: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let alone = &self.mean + logit.unsqueeze(1) * (-&self.log_steepness).exp();
        let (mut low, mut high) = (alone.amin([1], false), alone.amax([1], false));
        for _ in 0..HALVINGS {
            let middle = (&low + &high) * 0.5;
            let is_below = self.logit(&middle).0.lt_tensor(logit);
            low = middle.where_self(&is_below, &low);
            high = high.where_self(&is_below, &middle);
        }
        let mut x = (&low + &high) * 0.5;
        for _ in 0..POLISHING {
            let (at, log_slope) = self.logit(&x);
            x = (&x - (at - logit) * (-log_slope).exp()).clamp_tensor(Some(&low), Some(&high));
        }
        x
    }
}

impl Univariate for LogisticMixture {
    fn parameters(&self) -> i64 {
        3 * self.components + 2
    }

    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        let components = self.components(parameters);
        let (logit, log_slope) = components.logit(x);
        let Components { log_scale, shift, .. } = components;
        (shift.addcmul(&logit, &log_scale.exp()), log_slope + log_scale)
    }

    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        let components = self.components(parameters);
        let logit = (y - &components.shift) * (-&components.log_scale).exp();
        let x = components.quantile(&logit);
        // One more Newton step, through which gradients flow: x does not change, and its derivatives are those of the
        // implicit function.
        let (at, log_slope) = components.logit(&x);
        let x = x - (at - logit) * (-log_slope.detach()).exp();
        let (_, log_slope) = components.logit(&x);
        (x, -(log_slope + components.log_scale))
    }
}
