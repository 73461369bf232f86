use super::level::Level;

/// The distribution of a less noisy x_s given x_t and x_0, N(c₀ x_0 + c_t x_t, variance).
///
/// With s = t - 1 this is Ho et al. (2020), equations 6 and 7. Between any two levels it is the same process
/// with fewer timesteps, its β computed anew (Nichol & Dhariwal 2021, section 4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// The factor c₀ on x_0.
    pub coef_x0: f64,
    /// The factor c_t on x_t.
    pub coef_xt: f64,
    /// The variance, β̃.
    pub variance: f64,
    /// The variance of x_t given x_s: β of this step.
    pub beta: f64,
}

impl Posterior {
    /// q(x_s | x_t, x_0) for the level `from` of x_t and the less noisy level `to` of x_s.
    pub fn between(from: &Level, to: &Level) -> Self {
        let ratio = from.alpha / to.alpha;
        let (from_var, to_var) = (from.sigma.powi(2), to.sigma.powi(2));
        let beta = from_var - ratio.powi(2) * to_var;
        Posterior {
            coef_x0: to.alpha * beta / from_var,
            coef_xt: ratio * to_var / from_var,
            variance: beta * to_var / from_var,
            beta,
        }
    }
}
