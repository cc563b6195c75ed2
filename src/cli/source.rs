//! The document that a person wrote: reading it, and showing the line that a message speaks of. Must
//! never judge it; that is the service's part.

use std::io::Read;
use std::ops::Range;
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
        let excerpts: String = places(&message)
            .into_iter()
            .filter_map(|(l, c, path)| self.excerpt(l, c, path))
            .take(SHOWN)
            .collect();
        let message = format!("{message}\n{excerpts}").trim_end().to_owned();
        CliError::Refused { name, message }
    }

    /// The line, with the start tag at `column` underlined, or the attribute of it that `path` ends with
    /// (`…/@name`). Line and column are from 1, the column in characters; `None` where the document has no
    /// such line.
    pub(super) fn excerpt(&self, line: usize, column: usize, path: &str) -> Option<String> {
        let mut text = self.text.lines().nth(line.checked_sub(1)?)?;
        let (mut line, mut start, mut width) = (line, column.saturating_sub(1), 1);
        if let Some(range) = self.offset(line, column).and_then(|at| self.extent(at, path)) {
            let before = self.text.get(..range.start)?;
            let line_start = before.rfind('\n').map_or(0, |n| n + 1);
            line = before.matches('\n').count() + 1;
            text = self.text.lines().nth(line - 1)?;
            start = before.get(line_start..)?.chars().count();
            // A tag of several lines is underlined in its first.
            width = self.text.get(range)?.lines().next()?.chars().count().max(1);
        }
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs are kept before the line, so that it stands right however wide they are drawn.
        let indent: String = text.chars().take(start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let under =
            if column > 0 { format!("{margin} | {indent}{}\n", "^".repeat(width)) } else { String::new() };
        Some(format!(
            "{margin}--> {}:{line}:{}\n{number} | {text}\n{under}",
            self.name,
            if column > 0 { start + 1 } else { 0 }
        ))
    }

    /// Where a line and a column are in the text.
    fn offset(&self, line: usize, column: usize) -> Option<usize> {
        let line_start = match line.checked_sub(2) {
            None => 0,
            Some(earlier) => self.text.match_indices('\n').nth(earlier)?.0 + 1,
        };
        let rest = self.text.get(line_start..)?;
        Some(line_start + rest.char_indices().nth(column.checked_sub(1)?)?.0)
    }

    /// What is meant at a place where a start tag begins: the attribute that `path` ends with, else the tag.
    fn extent(&self, at: usize, path: &str) -> Option<Range<usize>> {
        let tag = self.text.get(at..)?.strip_prefix('<')?;
        let wanted = path.rsplit_once("/@").map(|(_, name)| name);
        let mut quote = None;
        // Where the current attribute begins; the tag's name ends at the first white space.
        let mut begin = None;
        let mut found = None;
        let named = tag.find(|c: char| c.is_whitespace() || c == '>')?;
        for (i, c) in tag.char_indices().skip_while(|(i, _)| *i < named) {
            match quote {
                Some(q) if c == q => {
                    quote = None;
                    let start = begin.take()?;
                    let attribute = tag.get(start..=i)?;
                    let name = attribute.split(|c: char| c == '=' || c.is_whitespace()).next()?;
                    if found.is_none() && Some(name) == wanted {
                        found = Some(at + 1 + start..at + 1 + i + 1);
                    }
                }
                Some(_) => {}
                None if c == '"' || c == '\'' => quote = Some(c),
                None if c == '>' => return Some(found.unwrap_or(at..at + 1 + i + 1)),
                None if begin.is_none() && !c.is_whitespace() => begin = Some(i),
                None => {}
            }
        }
        None
    }
}

/// Every `line N` and `line N, column M` in a message, with the path before it where there is one; the column
/// is 0 where there is none.
fn places(message: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    for (at, word) in message.match_indices("line ") {
        // A deadline is no line.
        let before = &message[..at];
        if before.ends_with(char::is_alphanumeric) {
            continue;
        }
        let rest = &message[at + word.len()..];
        let Some((line, rest)) = number(rest) else { continue };
        let column = rest.strip_prefix(", column ").and_then(number).map_or(0, |(column, _)| column);
        let path = before.strip_suffix(" (").and_then(|b| b.split_whitespace().next_back());
        let place = (line, column, path.filter(|p| p.starts_with('/')).unwrap_or_default());
        if !found.contains(&place) {
            found.push(place);
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

    fn source(text: &str) -> Source {
        Source { name: "guest.xml".into(), text: text.into() }
    }

    #[test]
    fn the_place_in_a_message_is_underlined() {
        let refused = CliError::Refused {
            name: "org.warren1.Error.InvalidConfig".into(),
            message: "/domain/interface/@type (line 2, column 2): no such type".into(),
        };
        assert_eq!(
            source("<domain>\n\t<interface type='foo'/>\n").explain(refused).to_string(),
            "/domain/interface/@type (line 2, column 2): no such type\n\
             \x20--> guest.xml:2:13\n2 | \t<interface type='foo'/>\n  | \t           ^^^^^^^^^^"
        );
    }

    #[test]
    fn tags_and_attributes_over_several_lines() {
        let text = "<a>\n  <b x = '>' y='x=1'\n     z=\"3\"/>\n</a>";
        let under = |line, column, path: &str| {
            let excerpt = source(text).excerpt(line, column, path).unwrap();
            excerpt.split_once('\n').unwrap().1.to_owned()
        };
        assert_eq!(under(2, 3, "/a/b/@z"), "3 |      z=\"3\"/>\n  |      ^^^^^\n");
        assert_eq!(under(2, 3, "/a/b/@x"), "2 |   <b x = '>' y='x=1'\n  |      ^^^^^^^\n");
        assert_eq!(under(2, 3, "/a/b/@y"), "2 |   <b x = '>' y='x=1'\n  |              ^^^^^^^\n");
        assert_eq!(under(2, 3, "/a/b"), "2 |   <b x = '>' y='x=1'\n  |   ^^^^^^^^^^^^^^^^^^\n");
        assert_eq!(under(2, 3, "/a/b/@missing"), under(2, 3, "/a/b"));
        assert_eq!(under(1, 3, ""), "1 | <a>\n  |   ^\n");
        assert_eq!(source(text).excerpt(1, 0, "").unwrap(), " --> guest.xml:1:0\n1 | <a>\n");
    }

    #[test]
    fn a_message_without_a_place_stays_as_it_is() {
        assert_eq!(places("the deadline 10 passed; no line here"), vec![]);
        assert_eq!(
            places("line 3: x\n/a/@b (line 4, column 7): y\nline 3: z"),
            vec![(3, 0, ""), (4, 7, "/a/@b")]
        );
        assert_eq!(source("<a>").excerpt(9, 1, ""), None);
        assert_eq!(source("<a>").excerpt(0, 0, ""), None);
    }
}
