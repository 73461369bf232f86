//! The layout of a table: its separator and its comments.

use super::style::Style;

/// The separator of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    Character(u8),
    /// Any number of spaces and tabs.
    Spaces,
}

/// The way in which a file is divided into cells.
pub(super) struct Layout {
    pub(super) separator: Separator,
    /// The offset of the table in bytes.
    pub(super) start: usize,
    /// The names in a first comment such as `# x,y` with as many cells as the line after it.
    pub(super) names: Option<Vec<String>>,
    /// The number of comment lines, without the one that holds the names.
    pub(super) comments: usize,
}

/// The number of lines that decide the separator.
const LOOKED_AT: usize = 100;
/// The separators, in order of precedence.
const CHARACTERS: [u8; 4] = [b'\t', b';', b'|', b','];

impl Layout {
    /// The layout of `text`. With `decimal_commas`, a comma never separates cells.
    pub(super) fn of(text: &str, decimal_commas: bool) -> Self {
        let (start, declared) = match text.split(['\r', '\n']).next() {
            // Spreadsheets may write the separator into the first line: sep=;
            Some(line) if line.len() == 5 && line.to_ascii_lowercase().starts_with("sep=") => {
                (line.len(), line.bytes().last().map(Separator::Character))
            }
            _ => (0, None),
        };
        let lines = || text[start..].split(['\r', '\n']).filter(|line| !line.trim().is_empty());
        let is_comment = |line: &&str| line.trim_start().starts_with('#');
        let of_cells: Vec<&str> = lines().filter(|line| !is_comment(line)).take(LOOKED_AT).collect();
        let separator = declared.unwrap_or_else(|| separator(&of_cells, decimal_commas));
        let first_comment = lines().next().filter(is_comment);
        let names = first_comment.and_then(|line| names(line, of_cells.first()?, separator));
        let comments = lines().filter(is_comment).count() - usize::from(names.is_some());
        Layout { separator, start, names, comments }
    }
}

/// The cells of a comment, if they could be the names of the cells in the line after it.
fn names(comment: &str, next: &str, separator: Separator) -> Option<Vec<String>> {
    let comment = comment.trim().trim_start_matches('#');
    let cells: Vec<String> = cells(comment, separator);
    let is_number = |cell: &String| cell.parse::<f64>().is_ok();
    (cells.len() == self::cells(next, separator).len() && !cells.iter().any(is_number)).then_some(cells)
}

fn cells(line: &str, separator: Separator) -> Vec<String> {
    match separator {
        Separator::Spaces => line.split_whitespace().map(str::to_owned).collect(),
        Separator::Character(character) => {
            line.split(char::from(character)).map(|cell| cell.trim().trim_matches('"').to_owned()).collect()
        }
    }
}

/// The character that occurs equally often in all lines; else one that occurs in the first line; else spaces, if they
/// divide all lines into the same number of cells.
fn separator(lines: &[&str], decimal_commas: bool) -> Separator {
    // A single column has decimal commas where a name without commas stands above such numbers.
    let is_decimal = |line: &&str| Style::DecimalComma.number(line.trim()).is_some();
    let one_column = match lines {
        [name, rest @ ..] => !rest.is_empty() && !is_decimal(name) && rest.iter().all(is_decimal),
        [] => false,
    };
    let comma = !(decimal_commas || one_column && outside_quotes(lines[0], b',') == 0);
    let characters = || CHARACTERS.into_iter().filter(move |character| comma || *character != b',');
    let counts = |character: u8| -> Vec<usize> { lines.iter().map(|line| outside_quotes(line, character)).collect() };
    let is_even = |counts: &Vec<usize>| counts.first().is_some_and(|n| *n > 0 && counts.iter().all(|m| m == n));
    if let Some(found) = characters().find(|character| is_even(&counts(*character))) {
        return Separator::Character(found);
    }
    let in_first = |character: &u8| lines.first().is_some_and(|line| outside_quotes(line, *character) > 0);
    if let Some(found) = characters().collect::<Vec<_>>().into_iter().rev().find(in_first) {
        return Separator::Character(found);
    }
    let words: Vec<usize> = lines.iter().map(|line| line.split_whitespace().count()).collect();
    let has_quotes = lines.iter().any(|line| line.contains('"'));
    match words.first() {
        Some(n) if *n > 1 && !has_quotes && words.iter().all(|m| m == n) => Separator::Spaces,
        _ if comma => Separator::Character(b','),
        _ => Separator::Character(b';'),
    }
}

fn outside_quotes(line: &str, character: u8) -> usize {
    let mut quoted = false;
    let mut count = 0;
    for byte in line.bytes() {
        quoted ^= byte == b'"';
        count += usize::from(byte == character && !quoted);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Separator {
        Layout::of(text, false).separator
    }

    #[test]
    fn the_separator_is_the_one_that_lines_agree_on() {
        let character = |c: char| Separator::Character(c as u8);
        assert_eq!(found("1,2\n3,4\n"), character(','));
        assert_eq!(found("1,5;2,5\n3,5;4,5\n"), character(';'));
        assert_eq!(found("a;b\n1,5;2,25\n"), character(';'));
        assert_eq!(found("\"a;b\",c\n1,2\n"), character(','));
        assert_eq!(found("1\t2\r3\t4\r"), character('\t'));
        assert_eq!(found("1|2\n3|4\n"), character('|'));
        assert_eq!(found("a,b\n1,2\n3\n"), character(','));
        assert_eq!(found("sep=;\n1;2\n"), character(';'));
        assert_eq!(found(" 1.0e+00  2.0\n 3.0 4.0\n"), Separator::Spaces);
        assert_eq!(found("1\n2\n"), character(','));
        assert_eq!(found("x\n1,5\n2,25\n"), character(';'));
        assert_eq!(Layout::of("1,5\n2,5\n", true).separator, character(';'));
        assert_eq!(found(""), character(','));
    }

    #[test]
    fn a_comment_may_hold_the_names() {
        let layout = Layout::of("# made by hand\n#x,y\n1,2\n# the end\n", false);
        assert_eq!((layout.names, layout.comments), (None, 3));
        let layout = Layout::of("# x, y\n1,2\n#3,4\n", false);
        assert_eq!((layout.names, layout.comments), (Some(vec!["x".to_owned(), "y".to_owned()]), 1));
        assert_eq!(Layout::of("# 1,2\n3,4\n", false).names, None);
    }
}
