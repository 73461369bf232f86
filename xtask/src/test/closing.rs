//! The closing lines of test programs.

/// The closing lines of test programs, each with the program's name.
#[derive(Debug, Default)]
pub(super) struct Closing {
    program: String,
    pub(super) lines: Vec<String>,
}

impl Closing {
    pub(super) fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("Running ") {
            // `Running unittests src/lib.rs (target/debug/deps/gen_core-0123456789abcdef)`
            let file = rest.rsplit(['/', '(']).next().unwrap_or(rest).trim_end_matches(')');
            file.rsplit_once('-').map_or(file, |(name, _)| name).clone_into(&mut self.program);
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.program = format!("{name} (documentation)");
        } else if line.starts_with("test result: ") {
            self.lines.push(format!("{:<32} {line}", self.program));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_carry_the_names_of_their_programs() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/gen_core-0123456789abcdef)\n\
                      test a ... ok\n\
                      test result: ok. 1 passed; 0 failed\n\
                      \x20  Doc-tests gen_core\n\
                      test result: ok. 3 passed; 0 failed\n";
        let mut closing = Closing::default();
        output.lines().for_each(|line| closing.read(line));
        let lines: Vec<String> =
            closing.lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "gen_core test result: ok. 1 passed; 0 failed",
                "gen_core (documentation) test result: ok. 3 passed; 0 failed"
            ]
        );
    }
}
