//! Colours, where somebody sees them: on a terminal, unless `NO_COLOR` is set. Owns which word has which;
//! must never put them into what a script reads.

use std::io::IsTerminal;

use comfy_table::{Cell, Color};

/// Whether standard output may have colours.
pub(super) fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !set("NO_COLOR") && !dumb && std::io::stdout().is_terminal()
}

/// Good, waiting, bad; other words have no colour.
fn of(word: &str) -> Option<(Color, &'static str)> {
    match word {
        "running" | "active" | "completed" | "yes" => Some((Color::DarkGreen, "32")),
        "starting" | "stopping" | "paused" | "pmsuspended" | "cancelled" | "unsupported" | "warning"
        | "challenge" => Some((Color::DarkYellow, "33")),
        "crashed" | "failed" | "error" => Some((Color::DarkRed, "31")),
        _ => None,
    }
}

/// A word of a line.
pub(super) fn word(word: &str) -> String {
    match of(word).filter(|_| wanted()) {
        Some((_, code)) => format!("\x1b[{code}m{word}\x1b[0m"),
        None => word.to_owned(),
    }
}

/// A word of a table, which must know its width and so adds the colour itself.
pub(super) fn cell(word: String) -> Cell {
    match of(&word) {
        Some((colour, _)) => Cell::new(word).fg(colour),
        None => Cell::new(word),
    }
}
