use std::f64::consts::PI;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::span::{Now, Span};
use crate::error::{Error, Result};

/// The way from one value to another, as a function of the part p of the way in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// from + (to - from) p.
    Linear,
    /// from + (to - from) (1 - cos πp) / 2: half a cosine period, flat at both ends.
    #[default]
    Cosine,
    /// from (to / from)^p: the same factor in the same time. Both values are positive.
    Exponential,
}

/// A number that moves from one value to another and stays there.
///
/// It is a pure function of the place in the run: `from` for the span `after`, then on the way for the span `over`,
/// then `to`.
///
/// ```
/// use gen_core::optim::{Annealed, Now, Shape, Span};
///
/// // The second decay of R3GAN (Huang et al. 2024): a cosine over the first 20 million images.
/// let over = Span::Images(20_000_000);
/// let beta2 = Annealed { from: 0.9, to: 0.99, after: Span::NONE, over, shape: Shape::Cosine };
/// let at = |images| beta2.at(&Now { images, ..Now::default() });
/// assert_eq!([at(0), at(20_000_000), at(30_000_000)], [0.9, 0.99, 0.99]);
/// assert!((at(10_000_000) - 0.945).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annealed {
    /// The value at the start.
    pub from: f64,
    /// The value at the end.
    pub to: f64,
    /// The span at the start in which nothing moves.
    #[serde(default = "none")]
    pub after: Span,
    /// The span of the way; with the length 0 the value jumps.
    #[serde(default = "whole")]
    pub over: Span,
    /// The way between the values.
    #[serde(default)]
    pub shape: Shape,
}

fn none() -> Span {
    Span::NONE
}

fn whole() -> Span {
    Span::WHOLE
}

impl Annealed {
    /// The value at a step. It depends on the part of the run before the step, so the first step has `from`.
    pub fn at(&self, now: &Now) -> f64 {
        let Annealed { from, to, after, over, shape } = *self;
        let passed = over.before(now) - after.length();
        let part = if passed >= over.length() { 1.0 } else { (passed / over.length()).max(0.0) };
        if part == 1.0 {
            return to;
        }
        match shape {
            Shape::Linear => from + (to - from) * part,
            Shape::Cosine => from + (to - from) * 0.5 * (1.0 - (PI * part).cos()),
            Shape::Exponential => from * (to / from).powf(part),
        }
    }

    /// Refuses a schedule that has no values.
    ///
    /// # Errors
    /// When an end is not finite, the ends of an exponential are not positive, or `after` and `over` count in different
    /// units.
    pub fn check(&self) -> Result<()> {
        let Annealed { from, to, after, over, shape } = *self;
        if !(from.is_finite() && to.is_finite()) {
            return Err(Error::invalid(format!("a number cannot change from {from} to {to}")));
        }
        if shape == Shape::Exponential && !(from > 0.0 && to > 0.0) {
            return Err(Error::invalid(format!(
                "an exponential schedule needs positive ends, found {from} and {to}; linear and cosine take any"
            )));
        }
        if after.length() > 0.0 && !after.has_unit_of(over) {
            return Err(Error::invalid(format!("`after` and `over` need one unit, found {after} and {over}")));
        }
        Ok(())
    }
}

/// A number of a configuration that is either the same for the whole run or follows a schedule.
///
/// ```
/// use gen_core::optim::{Annealed, Now, Scheduled, Shape, Span};
/// # use serde::Deserialize;
/// #[derive(Deserialize)]
/// struct Penalty { gamma: Scheduled }
///
/// let fixed: Penalty = toml::from_str("gamma = 0.5")?;
/// assert_eq!(fixed.gamma, Scheduled::from(0.5));
/// let text = "gamma = { from = 2.0, to = 0.2, over = '10Mimages', shape = 'linear' }";
/// let falling: Penalty = toml::from_str(text)?;
/// assert_eq!(falling.gamma.at(&Now { images: 5_000_000, ..Now::default() }), 1.1);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scheduled {
    /// The same value at every step.
    Fixed(f64),
    /// A value that depends on the place in the run.
    Annealed(Annealed),
}

impl Scheduled {
    /// The value at a step.
    pub fn at(&self, now: &Now) -> f64 {
        match self {
            Scheduled::Fixed(value) => *value,
            Scheduled::Annealed(annealed) => annealed.at(now),
        }
    }

    /// The smallest and the largest value, which are those at the ends.
    pub fn range(&self) -> [f64; 2] {
        match self {
            Scheduled::Fixed(value) => [*value; 2],
            Scheduled::Annealed(Annealed { from, to, .. }) => [from.min(*to), from.max(*to)],
        }
    }

    /// Whether the value is 0 at every step.
    pub fn is_zero(&self) -> bool {
        self.range() == [0.0; 2]
    }

    /// Whether the value depends on the place in the run.
    pub fn is_scheduled(&self) -> bool {
        matches!(self, Scheduled::Annealed(_))
    }

    /// Refuses a schedule that has no values.
    ///
    /// # Errors
    /// As [`Annealed::check`]. A fixed number passes; its range is the caller's to check.
    pub fn check(&self) -> Result<()> {
        match self {
            Scheduled::Fixed(_) => Ok(()),
            Scheduled::Annealed(annealed) => annealed.check(),
        }
    }
}

impl From<f64> for Scheduled {
    fn from(value: f64) -> Self {
        Scheduled::Fixed(value)
    }
}

impl From<Annealed> for Scheduled {
    fn from(annealed: Annealed) -> Self {
        Scheduled::Annealed(annealed)
    }
}

impl<'de> Deserialize<'de> for Scheduled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived untagged enum would not name the wrong key of a schedule.
        deserializer.deserialize_any(NumberOrSchedule)
    }
}

struct NumberOrSchedule;

impl<'de> Visitor<'de> for NumberOrSchedule {
    type Value = Scheduled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a schedule with `from` and `to`")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scheduled, E> {
        Ok(Scheduled::Fixed(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scheduled, E> {
        Ok(Scheduled::Fixed(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scheduled, E> {
        Ok(Scheduled::Fixed(value as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scheduled, A::Error> {
        Annealed::deserialize(MapAccessDeserializer::new(map)).map(Scheduled::Annealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{from_table, to_table};
    use crate::testing::assert_close_f64;

    fn at_image(annealed: &Annealed, images: u64) -> f64 {
        annealed.at(&Now { images, ..Now::default() })
    }

    #[test]
    fn a_shape_has_its_ends_and_its_middle() {
        let over = Span::Images(1000);
        for (shape, quarter, middle) in [
            (Shape::Linear, 6.25, 4.5),
            // 8 - 7 (1 - cos π/4) / 2
            (Shape::Cosine, 6.974_873_734_152_916, 4.5),
            // 8^(3/4), 8^(1/2)
            (Shape::Exponential, 4.756_828_460_010_884, 2.828_427_124_746_190_3),
        ] {
            let falling = Annealed { from: 8.0, to: 1.0, after: Span::NONE, over, shape };
            assert_eq!([0, 1000, 5000].map(|images| at_image(&falling, images)), [8.0, 1.0, 1.0], "{shape:?}");
            assert_close_f64(at_image(&falling, 250), quarter, 1e-14, 0.0);
            assert_close_f64(at_image(&falling, 500), middle, 1e-14, 0.0);
        }
    }

    #[test]
    fn a_value_waits_before_it_moves() {
        let (after, over) = (Span::Images(100), Span::Images(200));
        let late = Annealed { from: 0.0, to: 1.0, after, over, shape: Shape::Linear };
        assert_eq!([0, 100, 150, 300, 301].map(|images| at_image(&late, images)), [0.0, 0.0, 0.25, 1.0, 1.0]);
        let jump = Annealed { over: Span::Images(0), ..late };
        assert_eq!([0, 99, 100].map(|images| at_image(&jump, images)), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_budget_is_the_span_unless_another_is_given() {
        let read: Annealed = from_table(&toml::toml! { from = 1.0
        to = 3.0 })
        .unwrap();
        assert_eq!(read, Annealed { from: 1.0, to: 3.0, after: Span::NONE, over: Span::WHOLE, shape: Shape::Cosine });
        assert_close_f64(read.at(&Now { share: 0.5, ..Now::default() }), 2.0, 1e-15, 0.0);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        gamma: Scheduled,
    }

    #[test]
    fn a_number_or_a_schedule_is_read_back() {
        let annealed =
            Annealed { from: 2.0, to: 0.2, after: Span::Steps(5), over: Span::Steps(10), shape: Shape::Linear };
        for gamma in [Scheduled::Fixed(0.25), annealed.into()] {
            let settings = Settings { gamma };
            assert_eq!(from_table::<Settings>(&to_table(&settings).unwrap()).unwrap(), settings);
        }
        let whole: Settings = from_table(&toml::toml! { gamma = 3 }).unwrap();
        assert_eq!(whole.gamma, Scheduled::Fixed(3.0));
    }

    #[test]
    fn a_wrong_key_of_a_schedule_is_named() {
        let message = |table: toml::Table| from_table::<Settings>(&table).unwrap_err().to_string();
        let unknown = message(toml::toml! { gamma = { from = 1.0, to = 2.0, width = 3 } });
        assert!(unknown.contains("unknown key `gamma.width`"), "{unknown}");
        let missing = message(toml::toml! { gamma = { from = 1.0 } });
        assert!(missing.contains("missing field `to`"), "{missing}");
        let text = message(toml::toml! { gamma = "high" });
        assert!(text.contains("expected a number, or a schedule with `from` and `to`"), "{text}");
    }

    #[test]
    fn a_schedule_without_values_is_refused() {
        let good = Annealed { from: 1.0, to: 0.0, after: Span::NONE, over: Span::WHOLE, shape: Shape::Linear };
        assert!(good.check().is_ok());
        let message = |annealed: Annealed| Scheduled::from(annealed).check().unwrap_err().to_string();
        assert!(message(Annealed { to: f64::NAN, ..good }).contains("cannot change from 1 to NaN"));
        assert!(message(Annealed { shape: Shape::Exponential, ..good }).contains("positive ends"));
        assert!(message(Annealed { after: Span::Steps(3), ..good }).contains("found 3steps and 1"));
    }
}
