//! Parsers of values on the command line.

use std::str::FromStr;

/// A seed of random numbers.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// A number of things, at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=u32::MAX as usize).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {}", u32::MAX))
}

/// A factor on the standard deviation of noise.
pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite());
    number.ok_or_else(|| "a temperature is a number from 0 up".to_owned())
}

/// A number from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1 is needed".to_owned())
}

/// The ends of an interval, as in `-4,4`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// An interval whose ends are finite numbers, the lower first.
pub(crate) fn interval(text: &str) -> Result<Interval, String> {
    match pair(text) {
        Some([low, high]) if low < high && f64::is_finite(low) && f64::is_finite(high) => Ok(Interval { low, high }),
        _ => Err(format!("two numbers, the lower first, with a comma between, as -1,1; found `{text}`")),
    }
}

/// Two row numbers, as in `3,17`.
pub(crate) fn row_pair(text: &str) -> Result<[usize; 2], String> {
    pair(text).ok_or_else(|| format!("two row numbers with a comma between, as 3,17; found `{text}`"))
}

/// Two values with a comma between.
fn pair<T: FromStr>(text: &str) -> Option<[T; 2]> {
    let (first, second) = text.split_once(',')?;
    Some([first.trim().parse().ok()?, second.trim().parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_states_the_range() {
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        assert!(seed("-1").unwrap_err().contains("from 0 to 18446744073709551615"));
        assert_eq!((count("1"), temperature("0"), share("1")), (Ok(1), Ok(0.0), Ok(1.0)));
        for wrong in ["0", "-3", "1.5", "99999999999", ""] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-0.1", "nan", "inf", "warm"] {
            assert!(temperature(wrong).is_err() && share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interval_has_two_finite_ends_in_order() {
        assert_eq!(interval("-4, 4.5"), Ok(Interval { low: -4.0, high: 4.5 }));
        for wrong in ["", "1", "1,0", "1,1", "0,nan", "0,inf", "0,1,2", "a,b"] {
            assert!(interval(wrong).unwrap_err().contains("the lower first"), "{wrong}");
        }
    }

    #[test]
    fn a_pair_of_rows_is_two_whole_numbers() {
        assert_eq!(row_pair("3, 17"), Ok([3, 17]));
        for wrong in ["3", "3,4,5", "-1,2", "a,b", ""] {
            assert!(row_pair(wrong).is_err(), "{wrong}");
        }
    }
}
