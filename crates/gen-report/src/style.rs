//! The style of figures: with variables for a page, which may be light or dark, and without for files.
//!
//! Programs other than browsers know neither variables nor media queries, so a file names every colour.

/// The style with variables; the page has it once.
pub(crate) const VARIABLE: &str = include_str!("figure.css");

const FAMILIES: [&str; 5] = ["gan", "vae", "flow", "diffusion", "other"];

/// Light colours.
pub(crate) fn light() -> String {
    flat(0)
}

/// Light colours, and dark ones for programs that know what a reader prefers.
pub(crate) fn adaptive() -> String {
    format!("{}@media (prefers-color-scheme: dark) {{\n{}}}\n", flat(0), flat(1))
}

/// The rules of figures with the colours of one of the two palettes.
fn flat(palette: usize) -> String {
    let palette: Vec<(&str, &str)> = VARIABLE
        .split(":root {")
        .nth(palette + 1)
        .and_then(|block| block.split('}').next())
        .unwrap_or_default()
        .split(';')
        .filter_map(|declaration| declaration.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("--"))
        .collect();
    let coloured = |rule: &str| {
        palette.iter().fold(rule.to_owned(), |rule, (name, colour)| rule.replace(&format!("var({name})"), colour))
    };
    let mut style = String::new();
    for rule in VARIABLE.lines().filter(|line| line.starts_with(".figure")) {
        if !rule.contains("var(--family)") {
            style += &coloured(rule);
            style.push('\n');
            continue;
        }
        let (selector, declarations) = rule.split_once(" {").unwrap_or((rule, "}"));
        for family in FAMILIES {
            let declarations = declarations.replace("var(--family)", &format!("var(--{family})"));
            style += &coloured(&format!("{selector}.family-{family} {{{declarations}"));
            style.push('\n');
        }
    }
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_every_colour() {
        let (light, adaptive) = (light(), adaptive());
        assert!(!light.contains("var(") && !adaptive.contains("var("), "{adaptive}");
        assert!(light.contains(".figure .mark.family-vae { fill: #"), "{light}");
        assert!(adaptive.starts_with(&light) && adaptive.contains("dark"));
        assert_eq!(adaptive.matches('{').count(), adaptive.matches('}').count());
    }
}
