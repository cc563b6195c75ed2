//! Completion for shells. Owns the scripts and the names that are offered; must never start the service,
//! wait long or say anything but candidates.

use std::ffi::OsStr;
use std::io::Write;
use std::time::Duration;

use clap::{CommandFactory, ValueEnum};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};
use zbus::fdo::ManagedObjects;

use super::args::{Args, Scope, default_scope};
use super::error::CliError;
use super::kind::Kind;
use super::output;
use super::proxy::{Bus, JOB, Map, having};

/// Says to this program that a shell asks for candidates, and which shell.
const VARIABLE: &str = "WARRENCTL_COMPLETE";
/// Who types is not kept waiting.
const PATIENCE: Duration = Duration::from_millis(700);

/// A shell with completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// The GNU shell
    Bash,
    /// The Z shell
    Zsh,
    /// The friendly shell
    Fish,
}

/// Answers a shell that asks for candidates, and tells whether one did. It must be called first.
pub(super) fn answer() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let here = std::env::current_dir().ok();
    // What goes wrong here would only spoil the line that is being typed.
    CompleteEnv::with_factory(Args::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), here.as_deref())
        .unwrap_or(true)
}

/// Prints the script that makes a shell ask.
pub(super) fn script(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let name = "warrenctl";
    let mut write = || {
        completer.write_registration(VARIABLE, name, name, name, &mut script)?;
        if shell == Shell::Zsh {
            // Found by zsh in a directory of functions, the script runs as the function at the first time.
            writeln!(script, r#"[[ "$funcstack[1]" != _{name} ]] || _clap_dynamic_completer_{name}"#)?;
        }
        Ok(())
    };
    write().map_err(|e| CliError::Local { what: "cannot write the script".into(), source: e })?;
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        script = script.replacen(ASKS, &format!("{UNCUT}{ASKS}"), 1);
    }
    output::write(script.as_bytes())
}

/// Where the script for bash asks this program.
const ASKS: &str = "    COMPREPLY=( ";
/// bash cuts `--state=x` into three words, of which the program must get two.
const UNCUT: &str = r#"    local i
    for ((i = _CLAP_COMPLETE_INDEX - 1; i > 0; i--)); do
        if [[ "${words[i]}" == "=" ]]; then
            words=("${words[@]:0:i}" "${words[@]:i+1}")
            ((_CLAP_COMPLETE_INDEX--))
        fi
    done
"#;

/// Names of networks.
pub(super) fn networks() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, |objects| names(objects, Kind::Network)))
}

/// Names of machines.
pub(super) fn machines() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, |objects| names(objects, Kind::Domain)))
}

/// Numbers of jobs.
pub(super) fn jobs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, numbers))
}

/// A word that may be meant, and what it stands for.
type Word = (String, String);

fn candidates(typed: &OsStr, pick: fn(ManagedObjects) -> Vec<Word>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    // It comes as it is written, perhaps between quotes.
    let plain: String = typed.chars().filter(|c| !matches!(c, '\\' | '\'' | '"')).collect();
    let quoted = typed.starts_with(['\'', '"']);
    let words = objects().map(pick).unwrap_or_default();
    words
        .into_iter()
        .filter(|(word, _)| word.starts_with(&plain))
        .map(|(word, help)| {
            let word = if is_bash() && !quoted { escape(&word) } else { word };
            CompletionCandidate::new(word).help(Some(help.into()))
        })
        .collect()
}

/// All objects, if the service runs already and answers at once.
fn objects() -> Option<ManagedObjects> {
    let scope = scope(std::env::args())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = async { Bus::connect(scope, None).await?.running_objects().await };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await }).ok()?.ok()
}

/// The scope that is typed already; `None` for another host, since ssh may ask something.
fn scope(words: impl Iterator<Item = String>) -> Option<Scope> {
    let mut said = None;
    for word in words {
        match word.as_str() {
            "--system" => said = Some(Scope::System),
            "--session" => said = Some(Scope::Session),
            word if word.starts_with("--host") || word.starts_with("-H") => return None,
            _ => {}
        }
    }
    said.or_else(|| default_scope(false).ok())
}

fn names(objects: ManagedObjects, kind: Kind) -> Vec<Word> {
    let me = rustix::process::getuid().as_raw();
    words(having(objects, kind.interface()).map(|(_, map)| name(kind, &map, me)))
}

/// A machine of others has no name that means it: it goes by its UUID.
fn name(kind: Kind, object: &Map, me: u32) -> Word {
    let part = |key| output::part(object, key);
    let is_named = kind == Kind::Network || [me, 0].map(|uid| uid.to_string()).contains(&part("Owner"));
    if is_named { (part("Name"), part("State")) } else { (part("Uuid"), part("Name")) }
}

fn numbers(objects: ManagedObjects) -> Vec<Word> {
    let number = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    words(having(objects, JOB).map(|(path, map)| (number(path.as_str()), output::part(&map, "Operation"))))
}

/// In order, and each once: names of machines are unique only for each owner.
fn words(words: impl Iterator<Item = Word>) -> Vec<Word> {
    let mut words: Vec<Word> = words.collect();
    words.sort();
    words.dedup_by(|a, b| a.0 == b.0);
    words
}

/// zsh and fish quote what they insert; bash takes it as it comes.
fn is_bash() -> bool {
    std::env::var_os(SHELL_IS_BASH).is_some()
}

/// Set by the script for bash alone. The variable that names the shell is gone when candidates are asked.
const SHELL_IS_BASH: &str = "_CLAP_COMPLETE_COMP_TYPE";

/// A word as it must be written in a shell.
pub(super) fn escape(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-+,:@%/".contains(c);
    word.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use zbus::OwnedVariant;

    use super::*;

    #[test]
    fn the_typed_scope_counts_and_another_host_is_left_alone() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter();
        assert_eq!(scope(words("warrenctl vm --session start")), Some(Scope::Session));
        assert_eq!(scope(words("warrenctl --system vm start")), Some(Scope::System));
        assert_eq!(scope(words("warrenctl --host a vm start")), None);
        assert_eq!(scope(words("warrenctl --host=a vm start")), None);
        assert_eq!(scope(words("warrenctl -Ha vm start")), None);
    }

    #[test]
    fn only_names_that_mean_something_are_offered() {
        let text = |text: &str| OwnedVariant::try_from(zbus::Variant::from(text)).unwrap();
        let of = |owner: u32| {
            let texts = [("Name", "web"), ("State", "running"), ("Uuid", "u-1")];
            let mut map: Map = texts.map(|(key, value)| (key.to_owned(), text(value))).into();
            map.insert("Owner".into(), owner.into());
            map
        };
        let word = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        for owner in [0, 1000] {
            assert_eq!(name(Kind::Domain, &of(owner), 1000), word("web", "running"));
        }
        assert_eq!(name(Kind::Domain, &of(1001), 1000), word("u-1", "web"));
        assert_eq!(name(Kind::Network, &of(1001), 1000), word("web", "running"));
    }

    #[test]
    fn a_word_is_escaped_for_the_shell() {
        assert_eq!(escape("web-1.example"), "web-1.example");
        assert_eq!(escape("my guest's"), "my\\ guest\\'s");
    }
}
