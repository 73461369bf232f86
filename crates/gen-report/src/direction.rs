//! Which of two values of a metric is the better one.

/// What a metric declares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    Higher,
    Lower,
    /// The nearer to this number the better.
    Target(f64),
    /// Neither of two values is the better one.
    Neither,
}

impl Direction {
    /// From the columns `direction` and `target` of a `metrics.csv`; an error is what is wrong with them.
    pub(crate) fn read(direction: &str, target: &str) -> Result<Self, String> {
        match (direction, target.parse::<f64>()) {
            ("higher", _) => Ok(Direction::Higher),
            ("lower", _) => Ok(Direction::Lower),
            ("", _) => Ok(Direction::Neither),
            ("target", Ok(target)) if target.is_finite() => Ok(Direction::Target(target)),
            ("target", _) => {
                Err(format!("`target` should be a number where the direction is `target`, found {target:?}"))
            }
            (other, _) => Err(format!("`direction` should be higher, lower, target or empty, found {other:?}")),
        }
    }

    /// As the column `direction` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
            Direction::Target(_) => "target",
            Direction::Neither => "",
        }
    }

    /// As the column `target` has it.
    pub(crate) fn target(self) -> Option<f64> {
        match self {
            Direction::Target(target) => Some(target),
            _ => None,
        }
    }

    /// The distance from the best: of two values, the one with the lower loss is better. `None` without a direction.
    pub(crate) fn loss(self, value: f64) -> Option<f64> {
        match self {
            Direction::Higher => Some(-value),
            Direction::Lower => Some(value),
            Direction::Target(target) => Some((value - target).abs()),
            Direction::Neither => None,
        }
    }

    /// The arrow after the name of a number, with a non-breaking space before it.
    pub(crate) fn arrow(self) -> String {
        match self {
            Direction::Higher => "\u{a0}\u{2191}".to_owned(),
            Direction::Lower => "\u{a0}\u{2193}".to_owned(),
            Direction::Target(target) => format!("\u{a0}\u{2192}\u{a0}{target}"),
            Direction::Neither => String::new(),
        }
    }

    /// The same in words.
    pub(crate) fn words(self) -> String {
        match self {
            Direction::Higher => "higher is better".to_owned(),
            Direction::Lower => "lower is better".to_owned(),
            Direction::Target(target) => format!("{target} is best"),
            Direction::Neither => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_and_written_back() {
        for (direction, target) in [("higher", ""), ("lower", ""), ("target", "0.5"), ("", "")] {
            let read = Direction::read(direction, target).unwrap();
            assert_eq!(read.name(), direction);
            assert_eq!(read.target().map(|target| target.to_string()).unwrap_or_default(), target);
        }
        for (direction, target, why) in [
            ("target", "", "`target` should be a number"),
            ("target", "NaN", "a number"),
            ("true", "", "higher, lower"),
        ] {
            assert!(Direction::read(direction, target).unwrap_err().contains(why), "{direction} {target}");
        }
    }

    #[test]
    fn the_nearer_to_a_target_the_better() {
        let loss = |direction: Direction, value| direction.loss(value).unwrap();
        assert!(loss(Direction::Target(0.5), 0.4) < loss(Direction::Target(0.5), 0.7));
        assert!(loss(Direction::Higher, 2.0) < loss(Direction::Higher, 1.0));
        assert!(loss(Direction::Lower, 1.0) < loss(Direction::Lower, 2.0));
        assert_eq!(Direction::Neither.loss(1.0), None);
    }
}
