//! Numbers as text for messages and tables, never a long row of digits.

/// Numbers of tables from here on have an exponent.
const LARGE: f64 = 1e6;

/// `x` with `digits` digits after the point, or with three digits and an exponent from a million on.
///
/// ```
/// use gen_core::number::fixed;
///
/// assert_eq!([fixed(0.12345, 3), fixed(-3e30, 3)], ["0.123", "-3.00e30"]);
/// ```
pub fn fixed(x: f64, digits: usize) -> String {
    if x.is_finite() && x.abs() >= LARGE { format!("{x:.2e}") } else { format!("{x:.digits$}") }
}

/// `x` with the digits that distinguish it from all other numbers, and an exponent where they begin far from the point.
///
/// ```
/// use gen_core::number::plain;
///
/// assert_eq!([plain(1_000_000.0), plain(0.1), plain(-2.5e-21)], ["1000000", "0.1", "-2.5e-21"]);
/// ```
pub fn plain(x: f64) -> String {
    let size = x.abs();
    if (1e-5..1e16).contains(&size) || size == 0.0 || !x.is_finite() { x.to_string() } else { format!("{x:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_long() {
        for x in [f64::MAX, f64::MIN, 1e300, -1e16, 1.0 / 3.0 * 1e15, f64::MIN_POSITIVE, 1.0 / 3.0 * 1e-4] {
            assert!(plain(x).len() <= 24, "{}", plain(x));
            assert_eq!(plain(x).parse(), Ok(x));
            assert!(fixed(x, 4).len() <= 12, "{}", fixed(x, 4));
        }
    }

    #[test]
    fn infinities_and_nan_have_names() {
        for (x, text) in [(f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf"), (f64::NAN, "NaN")] {
            assert_eq!([fixed(x, 3), plain(x)], [text, text]);
        }
        assert_eq!((fixed(999_999.0, 1), fixed(1e6, 1)), ("999999.0".to_owned(), "1.00e6".to_owned()));
        assert_eq!([plain(0.0), plain(12.0)], ["0", "12"]);
    }
}
