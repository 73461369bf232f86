//! Numbers as people write them: with decimal commas, groups of thousands, or as truth values.

/// A cell as a plain number, finite or not.
pub(super) fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

/// The style of the numbers in a column that has no plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// 1,5 is 1.5; 1.234,5 is 1234.5.
    DecimalComma,
    /// 1,234.5 is 1234.5.
    Thousands,
    /// True is 1.
    Truth,
}

impl Style {
    /// A cell as a number in this style.
    pub(super) fn number(self, cell: &str) -> Option<f64> {
        match self {
            Style::DecimalComma => decimal_comma(cell),
            Style::Thousands => grouped(cell, ',', '.'),
            Style::Truth => match cell.to_ascii_lowercase().as_str() {
                "true" => Some(1.0),
                "false" => Some(0.0),
                _ => None,
            },
        }
    }

    /// The style of all of `cells`, none of which is a plain number. Where 1,234 could be either, its comma groups
    /// thousands if commas also separate cells, and is decimal otherwise.
    pub(super) fn of<'c>(cells: impl Iterator<Item = &'c str> + Clone, commas_separate: bool) -> Option<Self> {
        let mut styles = [Style::DecimalComma, Style::Thousands, Style::Truth];
        if commas_separate {
            styles.swap(0, 1);
        }
        styles.into_iter().find(|style| cells.clone().all(|cell| style.number(cell).is_some()))
    }

    /// Whether a cell could be a number in some style.
    pub(super) fn fits_any(cell: &str) -> bool {
        Style::of(std::iter::once(cell), true).is_some()
    }

    /// How the cells were read, for a warning.
    pub(super) fn note(self) -> &'static str {
        match self {
            Style::DecimalComma => "was read as a number with a decimal comma",
            Style::Thousands => "was read as a number with commas between thousands",
            Style::Truth => "was read as 1 for true and 0 for false",
        }
    }
}

fn decimal_comma(cell: &str) -> Option<f64> {
    if let Some(whole) = grouped(cell, '.', ',') {
        return Some(whole);
    }
    let (before, after) = cell.split_once(',')?;
    let is_plain = |text: &str| !text.contains([',', '.']);
    let is_digit = |text: &str| text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    if !is_plain(before) || !is_plain(after) || !is_digit(after) {
        return None;
    }
    format!("{before}.{after}").parse().ok()
}

/// 1,234,567.8 for the group separator `,` and the decimal point `.`. At least one separator is needed.
fn grouped(cell: &str, group: char, point: char) -> Option<f64> {
    let (whole, fraction) = match cell.split_once(point) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (cell, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.trim_start_matches(['+', '-']).split(group);
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let sound = digits(first) && first.len() <= 3 && !rest.is_empty();
    if !sound || !rest.iter().all(|part| part.len() == 3 && digits(part)) {
        return None;
    }
    let whole = whole.replace(group, "");
    match fraction {
        Some(fraction) if fraction.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) => {
            format!("{whole}.{fraction}").parse().ok()
        }
        Some(_) => None,
        None => whole.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_read_as_the_column_allows() {
        let style = |cells: &[&str], commas_separate| Style::of(cells.iter().copied(), commas_separate);
        assert_eq!(style(&["1,5", "-0,25", "3,0e-2"], true), Some(Style::DecimalComma));
        assert_eq!(style(&["1,234", "12,345,678.9"], true), Some(Style::Thousands));
        assert_eq!(style(&["1,234", "0,5"], true), Some(Style::DecimalComma));
        assert_eq!(style(&["1,234"], false), Some(Style::DecimalComma));
        assert_eq!(style(&["True", "FALSE"], true), Some(Style::Truth));
        assert_eq!(style(&["1,5", "true"], true), None);
        assert_eq!(Style::DecimalComma.number("1.234,5"), Some(1234.5));
        assert_eq!(Style::Thousands.number("-1,234.5"), Some(-1234.5));
        for cell in ["1,2,3", ",", "1,", "a,b", "12,34,567", "", "x"] {
            assert!(!Style::fits_any(cell), "{cell}");
        }
    }
}
