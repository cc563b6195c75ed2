//! The manual pages, one a verb, made from the command line's own words. Owns the sections that `--help`
//! does not have; must never say what the parser does not do.

mod sections;

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::args::Args;
use super::error::CliError;

/// Writes all pages into a directory.
pub(super) fn write(dir: &Path) -> Result<(), CliError> {
    let cannot = |e| CliError::Usage(format!("cannot write manual pages into '{}': {e}", dir.display()));
    let mut top = Args::command().disable_help_subcommand(true);
    top.build();
    for command in commands(&top) {
        let name = page_name(command);
        fs_err::write(dir.join(format!("{name}.1")), page(command).map_err(cannot)?).map_err(cannot)?;
    }
    Ok(())
}

/// The command line with the examples of its pages in what `--help` says.
pub(super) fn with_examples(command: Command, page: &str) -> Command {
    let command = command.mut_subcommands(|below| {
        let page = format!("{page}-{}", below.get_name());
        with_examples(below, &page)
    });
    let examples = sections::EXAMPLES.iter().filter(|(of, ..)| *of == page);
    let examples: String = examples.map(|(_, line, text)| format!("  {line}\n      {text}\n")).collect();
    if examples.is_empty() {
        return command;
    }
    let rest = command.get_after_help().map_or(String::new(), |rest| format!("\n{rest}"));
    command.after_help(format!("Examples:\n{examples}{rest}"))
}

/// A command and all below it that people are told of.
fn commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|c| !c.is_hide_set()).flat_map(commands);
    std::iter::once(command).chain(below).collect()
}

fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone()).manual("Warren").source(format!("warren {version}"));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|c| !c.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let name = page_name(command);
    let mut roff = Roff::default();
    for (title, entries) in sections::of(name) {
        roff.control("SH", [title]);
        for (term, text) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*text)]);
        }
    }
    let examples: Vec<_> = sections::EXAMPLES.iter().filter(|(page, ..)| *page == name).collect();
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (_, line, text) in examples {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(*text)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(see_also(name));
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn see_also(name: &str) -> Vec<Inline> {
    let mut pages = vec!["warrend(8)"];
    match name {
        "warrenctl" => pages.extend(["org.warren1(5)", "busctl(1)", "ssh(1)", "polkit(8)"]),
        "warrenctl-vm-display" => pages.extend(["warrenctl(1)", "remote-viewer(1)"]),
        _ => pages.push("warrenctl(1)"),
    }
    vec![roman(pages.join(", "))]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn every_verb_has_an_example_and_every_example_is_right() {
        let mut top = Args::command().disable_help_subcommand(true);
        top.build();
        let pages: Vec<&str> = commands(&top).into_iter().map(page_name).collect();
        for (page, line, _) in sections::EXAMPLES {
            assert!(pages.contains(page), "there is no page {page}");
            // What comes before and behind in a pipe is not ours.
            let ours = line.split(" | ").find_map(|part| part.find("warrenctl").map(|at| &part[at..]));
            let ours = ours.unwrap().split(" > ").next().unwrap();
            if let Err(e) = Args::try_parse_from(ours.split_whitespace()) {
                panic!("{line}: {e}");
            }
        }
        for command in commands(&top).into_iter().filter(|c| !c.has_subcommands()) {
            let name = page_name(command);
            assert!(sections::EXAMPLES.iter().any(|(page, ..)| *page == name), "{name} has no example");
        }
    }
}
