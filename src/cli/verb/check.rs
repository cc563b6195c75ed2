//! `check FILE [--plan]`

use std::path::Path;
use std::process::ExitCode;

use super::Session;
use crate::cli::colour;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::Map;
use crate::cli::source::Source;

/// Prints what the service finds in a document, and with `plan` what it would run.
///
/// The exit status is 1 with a finding of severity `error` (could not be defined) or `unsupported`
/// (could not be started).
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    file: &Path,
    plan: bool,
) -> Result<ExitCode, CliError> {
    let source = Source::read(file)?;
    let report = session.bus.check(kind, &source.text).await.map_err(|e| source.explain(e))?;
    let findings = report.get("findings").and_then(output::rows).unwrap_or_default();
    let stops = |finding: &Map| matches!(output::part(finding, "severity").as_str(), "error" | "unsupported");
    if session.json {
        output::json(&output::record(&report))?;
    } else {
        let mut page: String = findings.iter().map(|finding| paragraph(&source, finding)).collect();
        if findings.is_empty() {
            page += "nothing to object to\n";
        }
        if plan {
            page += &planned(&report);
        }
        output::line(&page)?;
    }
    Ok(if findings.iter().any(stops) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn paragraph(source: &Source, finding: &Map) -> String {
    let part = |key| output::part(finding, key);
    let severity = colour::word(&part("severity"));
    let mut text = format!("{severity}: {}: {}", part("path"), part("message"));
    let remedy = part("remedy");
    if !remedy.is_empty() {
        text += &format!("; {remedy}");
    }
    text.push('\n');
    let at = |key| part(key).parse().unwrap_or(0);
    text + &source.excerpt(at("line"), at("column"), &part("path")).unwrap_or_default()
}

/// The command line, one argument a line, the commands over QMP, and the texts for QEMU, dnsmasq and nft.
fn planned(report: &Map) -> String {
    let mut page = String::new();
    for key in ["argv", "qmp"] {
        let lines: Vec<String> =
            report.get(key).and_then(|list| list.try_clone().ok()?.try_into().ok()).unwrap_or_default();
        if !lines.is_empty() {
            page += &format!("\n{key}:\n  {}\n", lines.join("\n  "));
        }
    }
    for key in ["options", "dnsmasq", "ruleset"] {
        let text = output::part(report, key);
        if !text.is_empty() {
            page += &format!("\n{key}:\n  {}\n", text.trim_end().replace('\n', "\n  "));
        }
    }
    page
}
