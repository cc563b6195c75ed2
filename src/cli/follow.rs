//! Waits for what takes long: a call that answers `/` is done, one that answers a Job goes on. Owns the
//! progress bar; must never start anything itself.

use std::io::IsTerminal;
use std::time::Duration;

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use zbus::{Message, MessageStream, OwnedObjectPath};

use super::error::CliError;
use super::kind::Kind;
use super::output;
use super::proxy::{Bus, Map, Object, Options};

/// Between two looks at a job: its progress, and whether it is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Calls a method that answers `/` or a Job, and waits until all is done.
///
/// At a terminal it asks for a Job at once, so that there is something to watch and to cancel: Ctrl-C
/// cancels and waits for the end; a second one leaves the job alone and ends the waiting.
pub(super) async fn call(
    object: &Object,
    method: &str,
    mut options: Options<'_>,
    what: &str,
) -> Result<(), CliError> {
    if std::io::stderr().is_terminal() {
        options.insert("no-wait", true.into());
    }
    let bus = object.bus();
    let completions = bus.completions().await?;
    let job: OwnedObjectPath = object.act(method, options).await?;
    if job.as_str() == "/" {
        return Ok(());
    }
    until_end(bus, job.as_str(), completions, what, true).await
}

/// Calls a method that answers `/` or a Job, and says which.
pub(super) async fn begin(
    object: &Object,
    method: &str,
    mut options: Options<'_>,
) -> Result<OwnedObjectPath, CliError> {
    options.insert("no-wait", true.into());
    object.act(method, options).await
}

/// Waits for a job that somebody has begun; Ctrl-C ends only the waiting.
pub(super) async fn join(bus: &Bus, job: &str) -> Result<(), CliError> {
    let mut completions = bus.completions().await?;
    let properties = bus.job(job).await?;
    let part = |name: &str| properties.get(name).map_or(String::new(), |v| output::text(v));
    match part("State").as_str() {
        "completed" => Ok(()),
        "failed" => {
            // It may have failed a moment ago, and be about to say why.
            let said = async {
                while let Some(message) = completions.next().await {
                    if let Some(end) = message.ok().and_then(|m| end_of(job, &m)) {
                        return end;
                    }
                }
                Err(closed())
            };
            if let Ok(end) = tokio::time::timeout(LOOK, said).await {
                return end;
            }
            let why = failure_of(bus, &part("Object")).await.unwrap_or_else(|| {
                "before it was waited for; its object says no more of it by now".to_owned()
            });
            let message = format!("{job} ({}) failed: {why}", part("Operation"));
            Err(CliError::Waited { name: "JobFailed", message })
        }
        "cancelled" => verdict("cancelled", String::new(), format!("{job} was cancelled")),
        _ => until_end(bus, job, completions, &part("Operation"), false).await,
    }
}

/// What went wrong with an object last, for those who may know.
async fn failure_of(bus: &Bus, path: &str) -> Option<String> {
    let kind = if path.starts_with("/org/warren1/network/") { Kind::Network } else { Kind::Domain };
    let object = bus.object(kind, OwnedObjectPath::try_from(path.to_owned()).ok()?);
    let info: Map = object.act("GetInfo", Options::new()).await.ok()?;
    Some(output::part(&info, "failure")).filter(|failure| !failure.is_empty())
}

async fn until_end(
    bus: &Bus,
    job: &str,
    completions: MessageStream,
    what: &str,
    ours: bool,
) -> Result<(), CliError> {
    let bar = bar(what);
    let end = wait(bus, job, completions, &bar, ours).await;
    bar.finish_and_clear();
    end
}

/// Shown while nobody knows how far it is.
const WAITING: &str = "{msg} {spinner} {elapsed}";
/// Shown as soon as the job tells.
const GOING: &str = "{msg} [{bar:30}] {percent}% {elapsed}";

/// A bar on stderr; indicatif draws nothing where that is no terminal.
pub(super) fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(1000).with_message(what.to_owned());
    shape(&bar, WAITING);
    bar
}

fn shape(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        // Every terminal has these, whatever its locale.
        bar.set_style(style.tick_chars("|/-\\ ").progress_chars("=> "));
    }
}

async fn wait(
    bus: &Bus,
    job: &str,
    mut completions: MessageStream,
    bar: &ProgressBar,
    ours: bool,
) -> Result<(), CliError> {
    // One for all the time: a Ctrl-C during a look at the job must not be lost.
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|e| CliError::Local { what: "cannot hear Ctrl-C".into(), source: e })?;
    let mut look = tokio::time::interval(LOOK);
    let mut cancelled = false;
    loop {
        tokio::select! {
            // A completion that has come is taken before a look at a job that may have gone since.
            biased;
            message = completions.next() => match message {
                Some(message) => if let Some(end) = message.ok().and_then(|m| end_of(job, &m)) {
                    return end;
                },
                None => return Err(closed()),
            },
            _ = interrupts.recv() => {
                if cancelled || !ours {
                    return Err(CliError::Unreachable(format!("not waited for; {job} may go on")));
                }
                cancelled = true;
                match bus.job_cancel(job).await {
                    Ok(()) => bar.set_message("cancelling"),
                    Err(e) => bar.suspend(|| output::tell(format_args!("it goes on: {e}"))),
                }
            }
            _ = look.tick() => match bus.job_progress(job).await {
                Ok(done) if done >= 0.0 => {
                    shape(bar, GOING);
                    bar.set_position((done * 1000.0) as u64);
                }
                Ok(_) => bar.tick(),
                Err(e) => return Err(CliError::Unreachable(format!("{job} is not there any more: {e}"))),
            },
        }
    }
}

fn closed() -> CliError {
    CliError::Unreachable("the bus closed the connection".into())
}

/// What a `Completed` signal says, if it is of this job.
fn end_of(job: &str, message: &Message) -> Option<Result<(), CliError>> {
    if message.header().path()?.as_str() != job {
        return None;
    }
    let body = message.body();
    let end = body.deserialize::<(String, String, String)>();
    Some(end.map_err(CliError::from).and_then(|(state, name, text)| verdict(&state, name, text)))
}

fn verdict(state: &str, name: String, message: String) -> Result<(), CliError> {
    match state {
        "completed" => Ok(()),
        // Who has cancelled it knows why: the signal says nothing more.
        "cancelled" => {
            let message = if message.is_empty() { "the job was cancelled".into() } else { message };
            Err(CliError::Refused { name: "org.warren1.Error.Cancelled".into(), message })
        }
        _ => Err(CliError::Refused { name, message }),
    }
}
