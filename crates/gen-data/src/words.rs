//! Phrases of messages.

/// Names listed in a message.
const LISTED: usize = 5;

/// "1 line", "2 lines".
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The first of `names`, and the number of the others: "a, b, c, d, e and 3 more".
pub(crate) fn list(names: &[String]) -> String {
    let first = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{first} and {} more", names.len() - LISTED) } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|i| i.to_string()).collect();
        assert_eq!((list(&names[..2]), list(&names)), ("0, 1".to_owned(), "0, 1, 2, 3, 4 and 2 more".to_owned()));
        assert_eq!((count(1, "file"), count(2, "file")), ("1 file".to_owned(), "2 files".to_owned()));
    }
}
