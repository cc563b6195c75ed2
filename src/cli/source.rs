//! The document that a person wrote: reading it, and showing the line that a message speaks of. Must
//! never judge it; that is the service's part.

use std::io::Read;
use std::path::Path;

use super::error::CliError;

/// As much as the service takes; more would only be refused there.
const LIMIT: u64 = 4 << 20;
/// A document that is wrong in more places is shown in these first.
const SHOWN: usize = 10;

/// A document and where it came from.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    /// The text as it is sent.
    pub(super) text: String,
}

impl Source {
    /// Reads a file, `-` being standard input.
    pub(super) fn read(file: &Path) -> Result<Self, CliError> {
        let mut bytes = Vec::new();
        let (name, read) = if file == Path::new("-") {
            ("<stdin>".to_owned(), std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes))
        } else {
            let read = fs_err::File::open(file).and_then(|f| f.take(LIMIT + 1).read_to_end(&mut bytes));
            (file.display().to_string(), read)
        };
        read.map_err(|e| CliError::Usage(format!("cannot read the document: {e}")))?;
        if bytes.len() as u64 > LIMIT {
            return Err(CliError::Usage(format!("{name} is larger than 4 MiB, the most that is taken")));
        }
        let text = String::from_utf8(bytes)
            .map_err(|e| CliError::Usage(format!("{name} is not UTF-8: {}", e.utf8_error())))?;
        Ok(Self { name, text })
    }

    /// Shows on stderr, under an error of the service, the places that its message names.
    pub(super) fn explain(&self, error: CliError) -> CliError {
        let CliError::Refused { name, message } = error else { return error };
        let excerpts: String =
            places(&message).into_iter().filter_map(|(l, c)| self.excerpt(l, c)).take(SHOWN).collect();
        let message = format!("{message}\n{excerpts}").trim_end().to_owned();
        CliError::Refused { name, message }
    }

    /// The line with a caret under the column (both from 1, the column in characters); `None` where
    /// the document has no such line.
    pub(super) fn excerpt(&self, line: usize, column: usize) -> Option<String> {
        let text = self.text.lines().nth(line.checked_sub(1)?)?;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs are kept before the caret, so that it stands right however wide they are drawn.
        let before = text.chars().take(column.saturating_sub(1));
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let caret = if column > 0 { format!("{margin} | {indent}^\n") } else { String::new() };
        Some(format!("{margin}--> {}:{line}:{column}\n{number} | {text}\n{caret}", self.name))
    }
}

/// Every `line N` and `line N, column M` in a message; the column is 0 where there is none.
fn places(message: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, word) in message.match_indices("line ") {
        // A deadline is no line.
        if message[..at].ends_with(char::is_alphanumeric) {
            continue;
        }
        let rest = &message[at + word.len()..];
        let Some((line, rest)) = number(rest) else { continue };
        let column = rest.strip_prefix(", column ").and_then(number).map_or(0, |(column, _)| column);
        if !found.contains(&(line, column)) {
            found.push((line, column));
        }
    }
    found
}

/// A decimal number at the start, and what follows it.
fn number(text: &str) -> Option<(usize, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_a_message_is_shown_with_a_caret() {
        let source =
            Source { name: "guest.xml".into(), text: "<domain>\n\t<interface type='foo'/>\n".into() };
        let refused = CliError::Refused {
            name: "org.warren1.Error.InvalidConfig".into(),
            message: "/domain/interface (line 2, column 2): no such type".into(),
        };
        assert_eq!(
            source.explain(refused).to_string(),
            "org.warren1.Error.InvalidConfig: /domain/interface (line 2, column 2): no such type\n\
             \x20--> guest.xml:2:2\n2 | \t<interface type='foo'/>\n  | \t^"
        );
    }

    #[test]
    fn a_message_without_a_place_stays_as_it_is() {
        assert_eq!(places("the deadline 10 passed; no line here"), vec![]);
        assert_eq!(places("line 3: x\nline 4, column 7: y\nline 3: z"), vec![(3, 0), (4, 7)]);
        let source = Source { name: "x".into(), text: "<a>".into() };
        assert_eq!(source.excerpt(9, 1), None);
        assert_eq!(source.excerpt(0, 0), None);
    }
}
