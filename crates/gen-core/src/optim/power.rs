//! The power-function average of weights (Karras et al. 2024, section 3.1 and appendix C.1).
//!
//! At the time t its profile, the weight of the weights of time τ, is
//!
//! p(τ) = (γ + 1) τ^γ / t^(γ + 1) for τ in [0, t], and 0 elsewhere.
//!
//! Its width is proportional to t, so that initial weights are forgotten at any length. The length is given by the
//! standard deviation of the profile relative to t, the *relative width* σ, in place of the exponent γ:
//!
//! σ² = (γ + 1) / ((γ + 2)² (γ + 3))

use crate::error::{Error, Result};

/// The largest relative width: that of the plain mean of all weights, γ = 0.
pub const LARGEST_WIDTH: f64 = 0.288_675_134_594_812_9;

/// The relative width σ of the profile with an exponent γ of 0 or more.
///
/// ```
/// use gen_core::optim::power;
/// assert_eq!(power::relative_width(0.0), (1.0f64 / 12.0).sqrt());
/// ```
pub fn relative_width(exponent: f64) -> f64 {
    ((exponent + 1.0) / ((exponent + 2.0) * (exponent + 2.0) * (exponent + 3.0))).sqrt()
}

/// The exponent γ of the profile with this relative width σ.
///
/// ```
/// use gen_core::optim::power;
/// assert!((power::exponent(0.10)? - 6.94).abs() < 0.005);
/// assert!((power::exponent(0.05)? - 16.97).abs() < 0.005);
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// When the width is not in (0, [`LARGEST_WIDTH`]].
pub fn exponent(relative_width: f64) -> Result<f64> {
    if !(relative_width > 0.0 && relative_width <= LARGEST_WIDTH) {
        return Err(Error::invalid(format!(
            "the relative width of an average must be above 0 and at most {LARGEST_WIDTH:.4}, found {relative_width}"
        )));
    }
    // The width falls with the exponent, and (γ + 1) / (γ + 3) < 1 gives γ < 1/σ - 2. Bisection ends where no number
    // lies between the bounds.
    let (mut low, mut high) = (0.0, 1.0 / relative_width);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return Ok(middle);
        }
        if self::relative_width(middle) > relative_width { low = middle } else { high = middle }
    }
}

/// The factor β on a power-function average, updated at the time `t` for the last time step of length `delta`: the
/// average becomes β average + (1 - β) weights, with
///
/// β = (1 - delta / t)^(γ + 1)
///
/// Times count from the start of training, in steps or images. The first update, with `delta` = `t`, gives 0: the
/// average starts as a copy. For `delta` = 1 it is equation 4.
///
/// ```
/// use gen_core::optim::power;
/// // 128 images a step, after a thousand steps.
/// assert!((power::power_function_beta(128_000.0, 128.0, 0.05)? - 0.982_179_506).abs() < 1e-9);
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// When the width is out of range, or `delta` is not in (0, `t`].
pub fn power_function_beta(t: f64, delta: f64, relative_width: f64) -> Result<f64> {
    let exponent = exponent(relative_width)?;
    if !(delta > 0.0 && delta <= t) {
        return Err(Error::invalid(format!("an average at the time {t} cannot follow a time step of {delta}")));
    }
    Ok((1.0 - delta / t).powf(exponent + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close_f64;

    #[test]
    fn exponents_are_those_of_the_papers_code() {
        // std_to_exp of NVlabs/edm2, training/phema.py
        for (width, expected) in [(0.05, 16.972198602303447), (0.10, 6.937203937601809), (0.15, 3.5578687748994646)] {
            assert_close_f64(exponent(width).unwrap(), expected, 1e-12, 0.0);
            assert_close_f64(relative_width(expected), width, 1e-12, 0.0);
        }
    }

    #[test]
    fn factors_are_those_of_the_papers_code() {
        // power_function_beta(std, t_next, t_delta) of NVlabs/edm2, training/phema.py
        for (width, t, delta, expected) in [
            (0.05, 1000.0, 1.0, 0.9821795062966565),
            (0.05, 128_000.0, 128.0, 0.9821795062966565),
            (0.10, 1000.0, 1.0, 0.9920902726450789),
            (0.10, 50_000.0, 1.0, 0.9998412669332124),
        ] {
            assert_close_f64(power_function_beta(t, delta, width).unwrap(), expected, 1e-13, 0.0);
        }
    }

    #[test]
    fn every_width_has_its_exponent() {
        for width in [1e-6, 1e-3, 0.02, 0.1, 0.25, LARGEST_WIDTH] {
            assert_close_f64(relative_width(exponent(width).unwrap()), width, 1e-9, 0.0);
        }
        assert!(exponent(LARGEST_WIDTH).unwrap() < 1e-7);
    }

    #[test]
    fn the_first_update_is_a_copy() {
        assert_eq!(power_function_beta(64.0, 64.0, 0.05).unwrap(), 0.0);
    }

    /// Updates give each time the weight of the profile, up to the length of a time step.
    #[test]
    fn updates_follow_the_profile() {
        let (steps, width) = (2000, 0.1);
        let exponent = exponent(width).unwrap();
        let mut weights = Vec::new();
        for t in 1..=steps {
            let beta = power_function_beta(f64::from(t), 1.0, width).unwrap();
            weights.iter_mut().for_each(|weight| *weight *= beta);
            weights.push(1.0 - beta);
        }
        assert_close_f64(weights.iter().sum(), 1.0, 1e-12, 0.0);
        for t in [500, 1000, 1900, 2000] {
            let (tau, end) = (f64::from(t), f64::from(steps));
            let profile = (exponent + 1.0) * tau.powf(exponent) / end.powf(exponent + 1.0);
            assert_close_f64(weights[t as usize - 1], profile, (exponent + 1.0).powi(2) / tau, 0.0);
        }
    }

    #[test]
    fn widths_and_times_out_of_range_are_refused() {
        for width in [0.0, -0.1, 0.3, f64::NAN] {
            assert!(exponent(width).unwrap_err().to_string().contains("relative width"), "{width}");
        }
        for (t, delta) in [(10.0, 0.0), (10.0, 11.0), (0.0, 0.0), (f64::NAN, 1.0)] {
            assert!(power_function_beta(t, delta, 0.1).is_err(), "{t} {delta}");
        }
    }
}
