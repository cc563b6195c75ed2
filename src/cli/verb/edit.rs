//! `edit NAME [--no-secrets]`
//!
//! The file that is edited is the user's own and is removed only when the service has taken what is in it,
//! or when nothing was changed: what somebody wrote is never lost.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::Session;
use super::define::tell;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Object, Options};
use crate::cli::source::Source;

/// Lets a person change an object's document, and defines what comes of it.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    secrets: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    // Read before the document: a change between the two is refused rather than overwritten.
    let mut generation = generation(&object).await?;
    let before = document(&object, secrets).await?;
    let file = write_out(kind, &before)?;
    loop {
        let after = match edited(&file).await {
            Ok(after) => after,
            Err(e) => return Err(kept(&file, &before, e)),
        };
        if after.text == before {
            let _ = fs_err::remove_file(&file);
            return tell(session, kind, &object, "not changed").await;
        }
        let options = Options::from([("if-generation", generation.into())]);
        match session.bus.define(kind, &after.text, options).await {
            Ok(path) => {
                let _ = fs_err::remove_file(&file);
                return tell(session, kind, &session.bus.object(kind, path), "changed").await;
            }
            Err(e) => {
                let conflict = e.is("Conflict");
                let e = after.explain(e);
                if !again(&e, conflict)? {
                    return Err(kept(&file, &before, e));
                }
                if conflict {
                    generation = self::generation(&object).await.map_err(|e| kept(&file, &before, e))?;
                }
            }
        }
    }
}

/// The document, with its secrets where `secrets` and the caller may read them: what such a caller leaves out is
/// removed. What one leaves out who may not, the service keeps.
async fn document(object: &Object, secrets: bool) -> Result<String, CliError> {
    let with = || Options::from([("secrets", true.into())]);
    if !secrets {
        return object.act("GetXml", Options::new()).await;
    }
    match object.try_act("GetXml", with()).await {
        Err(e) if e.is_denied() => {
            let options = if object.is_own().await? { with() } else { Options::new() };
            object.act("GetXml", options).await
        }
        other => other,
    }
}

async fn generation(object: &Object) -> Result<u64, CliError> {
    let properties = object.properties().await?;
    Ok(output::part(&properties, "Generation").parse().unwrap_or(0))
}

/// A file that only its owner can read: there may be passwords in it.
fn write_out(kind: Kind, document: &str) -> Result<PathBuf, CliError> {
    let file = std::env::temp_dir().join(format!("warrenctl-{}-{}.xml", kind.noun(), uuid::Uuid::new_v4()));
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().mode(0o600);
    let written = options.write(true).create_new(true).open(&file);
    written
        .and_then(|mut out| out.write_all(document.as_bytes()))
        .map_err(|e| CliError::Local { what: "the document cannot be edited".into(), source: e })?;
    Ok(file)
}

/// Runs the editor and reads what it left.
async fn edited(file: &Path) -> Result<Source, CliError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
    let cannot = |e| CliError::Local { what: format!("the editor '{}'", editor.display()), source: e };
    // Ctrl-C in the editor is meant for the editor.
    let _deaf = signal(SignalKind::interrupt()).map_err(cannot)?;
    // It may be more than one word, as `emacs -nw`.
    let mut script = editor.clone();
    script.push(" \"$@\"");
    let status =
        Command::new("sh").arg("-c").arg(script).arg("sh").arg(file).status().await.map_err(cannot)?;
    if !status.success() {
        return Err(cannot(io::Error::other(format!("it ended with {status}"))));
    }
    Source::read(file)
}

/// Asks whether the refused document is to be edited again; without a person to ask it is not.
fn again(refusal: &CliError, conflict: bool) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    output::tell(refusal);
    if conflict {
        output::tell("Somebody else has changed it meanwhile; what you define now replaces that.");
    }
    eprint!("Edit again? [Y/n] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let read = read.map_err(|e| CliError::Local { what: "no answer".into(), source: e })?;
    Ok(read > 0 && !answer.trim_start().starts_with(['n', 'N']))
}

/// The error, with the name of the file that keeps what was written, if anything was.
fn kept(file: &Path, before: &str, error: CliError) -> CliError {
    if fs_err::read(file).is_ok_and(|after| after == before.as_bytes()) {
        let _ = fs_err::remove_file(file);
        return error;
    }
    error.with(&format!("\nwhat you wrote is kept in {}", file.display()))
}
