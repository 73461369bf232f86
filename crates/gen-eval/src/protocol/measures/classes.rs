//! Numbers of a classifier's predictions.

use tch::{Kind, Tensor};

use super::distances::frechet_error;
use crate::metrics::{class_histogram_distance, classifier_score, frechet_distance, share_standard_error};
use crate::protocol::comparison::Comparison;
use gen_core::Result;

/// Splits of the classifier score.
const SPLITS: usize = 10;

pub(crate) fn score(sets: &mut Comparison<'_>) -> Result<()> {
    let Some(logits) = &sets.embedded.logits else { return Ok(()) };
    let splits = SPLITS.min(logits.size()[0] as usize);
    let found = classifier_score(logits, splits)?;
    // `standard_deviation` divides by the number of splits, not by one less.
    let error = (splits > 1).then(|| found.standard_deviation / ((splits - 1) as f64).sqrt());
    sets.add("classifier_score", &format!("splits={splits}"), found.score, error);
    sets.add("classifier_entropy_marginal", "", found.marginal_entropy, None);
    sets.add("classifier_entropy_conditional", "", found.conditional_entropy, None);
    Ok(())
}

pub(crate) fn classes(sets: &mut Comparison<'_>) -> Result<()> {
    let (Some(real), Some(fake)) = (&sets.rows.test.logits, &sets.embedded.logits) else { return Ok(()) };
    let count = real.size()[1];
    let predicted = |logits: &Tensor| logits.argmax(1, false).to_kind(Kind::Int64);
    let (real, fake) = (predicted(real), predicted(fake));
    let found = class_histogram_distance(&real, &fake, count)?;
    sets.add("class_kl", "", found.kl.value, found.kl.standard_error);
    sets.add("class_tv", "", found.total_variation.value, found.total_variation.standard_error);
    for class in 0..count {
        let of = |classes: &Tensor| classes.eq(class).nonzero().squeeze_dim(1);
        let (real_rows, fake_rows) = (of(&real), of(&fake));
        let rows = (real_rows.size()[0], fake_rows.size()[0]);
        let parameter = format!("class={class}");
        let all = fake.size()[0];
        let share = rows.1 as f64 / all as f64;
        let error = share_standard_error(share, all as usize);
        sets.add_of("class_share", &parameter, share, Some(error), rows);
        if rows.0 >= 2 && rows.1 >= 2 {
            let real = sets.real().index_select(0, &real_rows);
            let fake = sets.fake().index_select(0, &fake_rows);
            let error = frechet_error(&real, &fake)?;
            sets.add_of("class_fd", &parameter, frechet_distance(&real, &fake)?, error, rows);
        }
    }
    Ok(())
}
