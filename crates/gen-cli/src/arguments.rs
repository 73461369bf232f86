//! Values on the command line that several commands take.

/// A seed.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// How many, at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=u32::MAX as usize).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {}", u32::MAX))
}

/// A factor on the spread of noise.
pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite());
    number.ok_or_else(|| "a temperature is a number from 0 up".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told_the_range() {
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        assert!(seed("-1").unwrap_err().contains("from 0 to 18446744073709551615"));
        assert_eq!((count("1"), temperature("0")), (Ok(1), Ok(0.0)));
        for wrong in ["0", "-3", "1.5", "99999999999", ""] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-0.1", "nan", "inf", "warm"] {
            assert!(temperature(wrong).is_err(), "{wrong}");
        }
    }
}
