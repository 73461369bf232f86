use serde::{Deserialize, Serialize};

use super::rules::{Adam, AdamW, Adamax, Range, RmsProp, Rule, Sgd};
use crate::error::Result;

/// The kind of an [`Optimizer`](super::Optimizer) with its hyperparameters.
///
/// A table names the `kind`; other keys have PyTorch's defaults. Rates, decays and weight decay take a number or a
/// schedule ([`Scheduled`](super::Scheduled)).
///
/// ```
/// use gen_core::optim::{OptimizerConfig, rules};
///
/// let text = "
///     kind = \"sgd\"
///     momentum = 0.9
///     learning_rate = { from = 0.1, to = 0.001, over = \"0.5\", shape = \"exponential\" }
/// ";
/// let OptimizerConfig::Sgd(sgd) = toml::from_str(text)? else { panic!("another kind") };
/// assert_eq!(sgd.momentum, 0.9.into());
/// assert_eq!(OptimizerConfig::default(), rules::Adam::default().into());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Adam, with weight decay as part of the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// Adam with the largest gradient in the place of the second moment.
    Adamax(Adamax),
    /// Division by the root of the mean square.
    RmsProp(RmsProp),
    /// Gradient descent, with momentum or without.
    Sgd(Sgd),
}

impl Default for OptimizerConfig {
    /// Adam with the defaults of Kingma & Ba (2015).
    fn default() -> Self {
        Adam::default().into()
    }
}

impl OptimizerConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// When a number is out of its range at either end of its schedule, or settings contradict each other.
    pub fn check(&self) -> Result<()> {
        let rule = self.rule();
        for (name, value, range) in rule.numbers() {
            value.check()?;
            let [least, largest] = value.range();
            range.check(name, largest)?;
            // A rate may start or end at 0.
            let range = if range == Range::Positive && least != largest { Range::NotNegative } else { range };
            range.check(name, least)?;
        }
        for (name, value) in [("clip_norm", rule.clip_norm()), ("skip_above", rule.skip_above())] {
            if let Some(value) = value {
                Range::Positive.check(name, value)?;
            }
        }
        rule.check()
    }

    pub(super) fn rule(&self) -> &dyn Rule {
        match self {
            OptimizerConfig::Adam(adam) => adam,
            OptimizerConfig::AdamW(adamw) => adamw,
            OptimizerConfig::Adamax(adamax) => adamax,
            OptimizerConfig::RmsProp(rmsprop) => rmsprop,
            OptimizerConfig::Sgd(sgd) => sgd,
        }
    }
}

impl From<Adam> for OptimizerConfig {
    fn from(adam: Adam) -> Self {
        OptimizerConfig::Adam(adam)
    }
}

impl From<AdamW> for OptimizerConfig {
    fn from(adamw: AdamW) -> Self {
        OptimizerConfig::AdamW(adamw)
    }
}

impl From<Adamax> for OptimizerConfig {
    fn from(adamax: Adamax) -> Self {
        OptimizerConfig::Adamax(adamax)
    }
}

impl From<RmsProp> for OptimizerConfig {
    fn from(rmsprop: RmsProp) -> Self {
        OptimizerConfig::RmsProp(rmsprop)
    }
}

impl From<Sgd> for OptimizerConfig {
    fn from(sgd: Sgd) -> Self {
        OptimizerConfig::Sgd(sgd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{from_table, to_table};
    use crate::optim::{Annealed, Shape, Span};

    fn all() -> [OptimizerConfig; 5] {
        [
            Adam::default().into(),
            AdamW::default().into(),
            Adamax::default().into(),
            RmsProp::default().into(),
            Sgd::default().into(),
        ]
    }

    #[test]
    fn every_kind_is_read_back() {
        let kinds = ["adam", "adamw", "adamax", "rmsprop", "sgd"];
        for (config, kind) in all().into_iter().zip(kinds) {
            let table = to_table(&config).unwrap();
            assert_eq!(table["kind"].as_str(), Some(kind));
            assert_eq!(from_table::<OptimizerConfig>(&table).unwrap(), config);
            let mut bare = toml::Table::new();
            bare.insert("kind".to_owned(), kind.into());
            assert_eq!(from_table::<OptimizerConfig>(&bare).unwrap(), config);
        }
        let limited = OptimizerConfig::from(Sgd { clip_norm: Some(1.0), skip_above: Some(100.0), ..Sgd::default() });
        assert_eq!(from_table::<OptimizerConfig>(&to_table(&limited).unwrap()).unwrap(), limited);
    }

    #[test]
    fn unknown_kinds_and_keys_are_refused() {
        let message = |table: toml::Table| from_table::<OptimizerConfig>(&table).unwrap_err().to_string();
        let kind = message(toml::toml! { kind = "adma" });
        assert_eq!(kind, "unknown value `kind=adma`: did you mean `kind=adam`?");
        let key = message(toml::toml! { kind = "sgd"
        beta1 = 0.5 });
        assert!(key.contains("unknown key `beta1`"), "{key}");
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        assert!(all().iter().all(|config| config.check().is_ok()));
        let message = |config: OptimizerConfig| config.check().unwrap_err().to_string();
        let rate = Sgd { learning_rate: (-1.0).into(), ..Sgd::default() };
        assert_eq!(message(rate.into()), "`learning_rate` of an optimizer must be a positive number, found -1");
        let decay = Adam { beta2: 1.0.into(), ..Adam::default() };
        assert_eq!(message(decay.into()), "`beta2` of an optimizer must be in [0, 1), found 1");
        let clip = RmsProp { clip_norm: Some(0.0), ..RmsProp::default() };
        assert_eq!(message(clip.into()), "`clip_norm` of an optimizer must be a positive number, found 0");
        let skip = Adamax { skip_above: Some(f64::INFINITY), ..Adamax::default() };
        assert_eq!(message(skip.into()), "`skip_above` of an optimizer must be a positive number, found inf");
        let nesterov = Sgd { nesterov: true, ..Sgd::default() };
        assert!(message(nesterov.into()).contains("`momentum`"));
    }

    #[test]
    fn both_ends_of_a_schedule_are_checked() {
        let from = |from, to| Annealed { from, to, after: Span::NONE, over: Span::WHOLE, shape: Shape::Linear };
        let beta2 = AdamW { beta2: from(0.9, 1.0).into(), ..AdamW::default() };
        assert!(OptimizerConfig::from(beta2).check().unwrap_err().to_string().contains("`beta2`"));
        let beta2 = AdamW { beta2: from(0.9, 0.99).into(), ..AdamW::default() };
        assert!(OptimizerConfig::from(beta2).check().is_ok());
        let rate = AdamW { learning_rate: from(1e-3, 0.0).into(), ..AdamW::default() };
        assert!(OptimizerConfig::from(rate).check().is_ok());
        let rate = AdamW { learning_rate: 0.0.into(), ..AdamW::default() };
        assert!(OptimizerConfig::from(rate).check().is_err());
    }
}
