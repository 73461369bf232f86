//! What samples and densities of a trained model are given, from the command line.

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::data::{Condition, DataSpec};
use gen_core::model::ModelCard;
use tch::Tensor;

/// Options of commands that draw samples of one trained model.
#[derive(clap::Args)]
pub(crate) struct GivenArgs {
    /// The class of the samples: its number or its name, or `each` for as many of every class [default: random classes]
    #[arg(long, value_name = "CLASS")]
    label: Option<String>,

    /// A value for each column that the model is given, such as age=40,income=30000, the same for all samples
    #[arg(long, value_name = "COLUMN=VALUE,...", value_delimiter = ',', allow_hyphen_values = true)]
    context: Vec<String>,
}

impl GivenArgs {
    /// The number of classes of `--label each`, otherwise `None`.
    pub(crate) fn classes(&self, data: &DataSpec) -> Option<usize> {
        self.is_each().then_some(data.classes.len())
    }

    /// The condition of `n` rows. With `--label each` the classes follow one another.
    ///
    /// # Errors
    /// When the model does not learn from what is given, or the data has no such class or column.
    pub(crate) fn condition(&self, card: &ModelCard, n: usize) -> anyhow::Result<Condition> {
        let data = &card.data;
        let refuse = |what: &str| bail!("`{}` was not trained to be given {what}", card.name);
        let labels = match &self.label {
            None => None,
            Some(_) if !card.conditioning.labels => return refuse("a class"),
            Some(_) if self.is_each() => {
                let classes = data.classes.len();
                Some((0..n).map(|row| (row * classes / n.max(1)) as i64).collect::<Vec<_>>())
            }
            Some(label) => Some(vec![class(label, data)?; n]),
        };
        let context = match self.context.is_empty() {
            true if card.conditioning.context => {
                let columns = data.context.iter().map(|column| format!("{}=...", column.name));
                bail!(
                    "`{}` needs what samples are given: --context {}",
                    card.name,
                    columns.collect::<Vec<_>>().join(",")
                )
            }
            true => None,
            false if !card.conditioning.context => return refuse("a context"),
            false => Some(context(&self.context, data)?),
        };
        if card.conditioning.image {
            bail!("`{}` makes an image of another one, which cannot be given here", card.name);
        }
        Ok(Condition {
            labels: labels.map(|labels| Tensor::from_slice(&labels)),
            context: context.map(|row| Tensor::from_slice(&row).unsqueeze(0).expand([n as i64, -1], false)),
            image: None,
        })
    }

    fn is_each(&self) -> bool {
        self.label.as_deref() == Some("each")
    }
}

/// The number of the class of this number or name.
fn class(label: &str, data: &DataSpec) -> anyhow::Result<i64> {
    let of_name = data.classes.iter().position(|name| name == label);
    let of_number = || label.parse::<usize>().ok().filter(|number| *number < data.classes.len());
    match of_name.or_else(of_number) {
        Some(class) => Ok(class as i64),
        None => Err(Error::unknown("class", label, data.classes.iter().map(String::as_str)).into()),
    }
}

/// The values of the columns of the context, in their order.
fn context(assignments: &[String], data: &DataSpec) -> anyhow::Result<Vec<f64>> {
    let mut row = vec![None; data.context.len()];
    for assignment in assignments {
        let (name, value) = assignment
            .split_once('=')
            .with_context(|| format!("--context takes COLUMN=VALUE, found `{assignment}`"))?;
        let Some(place) = data.context.iter().position(|column| column.name == name) else {
            return Err(Error::unknown("column", name, data.context.iter().map(|column| column.name.as_str())).into());
        };
        let value: f64 = value.parse().with_context(|| format!("--context {name}: `{value}` is no number"))?;
        if !value.is_finite() {
            bail!("--context {name}: {value} is not finite");
        }
        if row[place].replace(value).is_some() {
            bail!("--context gives `{name}` twice");
        }
    }
    let missing = data.context.iter().zip(&row).find(|(_, value)| value.is_none());
    match missing {
        Some((column, _)) => bail!("--context lacks `{}`", column.name),
        None => Ok(row.into_iter().flatten().collect()),
    }
}
