//! Tests for samples that are copies of training rows. Training rows would all be copies, so test rows give the floor.

use crate::metrics::{NearestTraining, feature_likelihood_score};
use crate::protocol::comparison::Comparison;
use gen_core::Result;

/// Rows of each set of the feature likelihood score but the training rows.
const LIKELIHOOD_ROWS: i64 = 2000;

/// Uses a third of the test rows as test rows, a third as the baseline, and for the floor a third as samples.
pub(crate) fn feature_likelihood(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = (sets.real(), sets.fake());
    let rows = LIKELIHOOD_ROWS.min(real.size()[0] / 3).min(fake.size()[0]);
    if rows < 2 {
        return Ok(());
    }
    let part = |place: i64| real.narrow(0, place * rows, rows);
    let fake = if sets.is_floor { part(2) } else { fake.narrow(0, 0, rows) };
    let found = feature_likelihood_score(&sets.rows.train, &part(1), &part(0), &fake)?;
    sets.add_of("fls", &format!("n={rows}"), found.value, found.standard_error, (rows, rows));
    Ok(())
}

pub(crate) fn memorisation(sets: &mut Comparison<'_>) -> Result<()> {
    let train = &sets.rows.train;
    if train.size()[0] < 2 {
        return Ok(());
    }
    let test = sets.rows.nearest_of_test(sets.observe)?;
    let found = match sets.is_floor {
        true => None,
        false => {
            let fake = sets.fake();
            Some(NearestTraining::find(train, fake, &mut |done, total| sets.progress(done, total))?)
        }
    };
    let fake = found.as_ref().unwrap_or(&test);
    let authentic = fake.auth_pct(train)?;
    let copied = fake.copied_share(&test)?;
    let nearness = fake.against(&test)?;
    sets.add("auth_pct", "", authentic.value, authentic.standard_error);
    sets.add("copied_share", "", copied.share, Some(copied.standard_error));
    sets.add("nearest_train_z", "", nearness.z, nearness.standard_error);
    Ok(())
}
