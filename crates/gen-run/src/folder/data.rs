use gen_core::data::{DataSpec, Dataset};
use gen_core::number::plain;
use gen_core::{Error, Result};

use super::RunFolder;

impl RunFolder {
    /// `data` with the options of the run and under the name in its configuration. The files may lie in another place,
    /// but must have the same content.
    ///
    /// # Errors
    /// When the data is not what the run was trained on.
    pub fn prepare(&self, data: Dataset) -> Result<Dataset> {
        let expected = &self.config.data;
        self.check_same_files(&data.spec)?;
        let mut data = data.with_options(&expected.options)?;
        self.check_data(&data.spec)?;
        data.spec.name.clone_from(&expected.name);
        Ok(data)
    }

    /// Checks that data, with its options, is the data that the run was trained on. The files may lie in another place.
    ///
    /// # Errors
    /// When it differs; the message says how.
    pub fn check_data(&self, found: &DataSpec) -> Result<()> {
        self.check_same_files(found)?;
        match difference(found, &self.config.data) {
            None => Ok(()),
            Some(how) => Err(Error::invalid(format!(
                "`{}` is the data that the run in {} was trained on, but read in another way: {how}; give it the same \
                 options",
                found.name,
                self.path.display()
            ))),
        }
    }

    fn check_same_files(&self, found: &DataSpec) -> Result<()> {
        let expected = &self.config.data;
        let is_same = match (expected.sha256.is_empty(), found.sha256.is_empty()) {
            (true, true) => expected.name == found.name,
            _ => expected.sha256 == found.sha256,
        };
        if is_same {
            return Ok(());
        }
        let hash = |spec: &DataSpec| match spec.sha256.as_str() {
            "" => "no SHA-256, since they are made by formula".to_owned(),
            sha256 => format!("the SHA-256 {sha256}"),
        };
        Err(Error::invalid(format!(
            "the run in {} was trained on other data: the files of `{}` have {}, those of `{}`, which it was trained \
             on, have {}; it needs the same files, wherever they lie",
            self.path.display(),
            found.name,
            hash(found),
            expected.name,
            hash(expected)
        )))
    }
}

/// How the rows of the same files, as `found`, differ from the `expected` ones of a run.
fn difference(found: &DataSpec, expected: &DataSpec) -> Option<String> {
    if found.shape != expected.shape || found.values != expected.values {
        return Some(format!(
            "as {:?} {:?}, not as {:?} {:?}",
            found.values, found.shape, expected.values, expected.shape
        ));
    }
    // Other columns of the same number, or in another order, have other moments.
    let columns = || (1..).zip(found.mean.iter().zip(&found.std).zip(expected.mean.iter().zip(&expected.std)));
    let other = columns().find(|(_, ((mean, std), (mean_then, std_then)))| {
        let scale = std.max(**std_then).max(1e-6 * mean_then.abs()).max(f64::MIN_POSITIVE);
        (*mean - *mean_then).abs() > 1e-3 * scale || (*std - *std_then).abs() > 1e-3 * scale
    });
    other.map(|(column, ((mean, _), (mean_then, _)))| {
        format!("the mean of column {column} is {}, not {}", plain(*mean), plain(*mean_then))
    })
}
