//! What can go wrong for the caller of `warrenctl`, and the exit status of each. Must never print.

use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};
use zbus::DBusError;
use zbus::fdo;

/// Where it stands why a service could not be started.
const LOG: &str = "; its log says why: journalctl -u warrend, for the session service with --user";

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The service, or the bus for it, answered with an error.
    #[error("{}", for_people(name, message))]
    Refused { name: String, message: String },
    /// Nobody answered.
    #[error("the Warren service cannot be reached: {0}")]
    Unreachable(String),
    /// The command cannot mean anything here.
    #[error("{0}")]
    Usage(String),
    /// This side of the bus failed.
    #[error("{what}: {source}")]
    Local { what: String, source: io::Error },
    /// What was waited for has not come, or not as it should. `name` is for scripts.
    #[error("{message}")]
    Waited { name: &'static str, message: String },
}

/// What people read of an error: the names of the contract, and of polkit's refusals, are for scripts, which ask for
/// JSON; of any other error the name says more than its message.
pub(super) fn for_people(name: &str, message: &str) -> String {
    let ours = name.starts_with("org.warren1.Error.");
    let denied = ["AccessDenied", "InteractiveAuthorizationRequired"]
        .map(|n| format!("org.freedesktop.DBus.Error.{n}"));
    if !message.is_empty() && (ours || denied.iter().any(|n| n == name)) {
        return message.to_owned();
    }
    format!("{name}: {message}")
}

impl CliError {
    /// The exit status that is promised for it.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Local { .. } | Self::Waited { .. } => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// For scripts: `name` is the D-Bus error's, or one word for what is no answer of the service.
    pub(super) fn to_json(&self) -> Value {
        let (name, message) = match self {
            Self::Refused { name, message } => (name.as_str(), message.clone()),
            Self::Unreachable(_) => ("Unreachable", self.to_string()),
            Self::Usage(_) => ("Usage", self.to_string()),
            Self::Local { .. } => ("Local", self.to_string()),
            Self::Waited { name, message } => (*name, message.clone()),
        };
        json!({ "name": name, "message": message, "exit-status": self.status() })
    }

    /// The same with more words at its end.
    pub(super) fn with(self, more: &str) -> Self {
        match self {
            Self::Refused { name, message } => Self::Refused { name, message: message + more },
            Self::Unreachable(message) => Self::Unreachable(message + more),
            Self::Usage(message) => Self::Usage(message + more),
            Self::Waited { name, message } => Self::Waited { name, message: message + more },
            Self::Local { what, source } => {
                Self::Local { what, source: io::Error::new(source.kind(), format!("{source}{more}")) }
            }
        }
    }

    /// Whether it is the service's error of this short name, as `NoSuchNetwork`.
    pub(super) fn is(&self, short: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.rsplit('.').next() == Some(short))
    }

    /// Whether the caller was not allowed to do it.
    pub(super) fn is_denied(&self) -> bool {
        self.is("AccessDenied") || self.is("InteractiveAuthorizationRequired")
    }
}

impl From<zbus::Error> for CliError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, message, _) => {
                Self::Refused { name: name.to_string(), message: message.unwrap_or_default() }
            }
            zbus::Error::FDO(error) => (*error).into(),
            zbus::Error::InputOutput(e) => Self::Unreachable(e.to_string()),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

impl From<fdo::Error> for CliError {
    fn from(error: fdo::Error) -> Self {
        if let fdo::Error::ZBus(error) = error {
            return error.into();
        }
        let name = error.name().to_string();
        let message = error.description().unwrap_or_default().to_owned();
        // These come from the bus, which found no service, could not start it or lost it.
        const NOBODY: [&str; 7] = [
            "ServiceUnknown",
            "NameHasNoOwner",
            "NoReply",
            "NoServer",
            "Timeout",
            "TimedOut",
            "Disconnected",
        ];
        let short = name.strip_prefix("org.freedesktop.DBus.Error.").unwrap_or(&name);
        if NOBODY.contains(&short) || short.starts_with("Spawn.") {
            let remedy = match short {
                "ServiceUnknown" => "; is the package warren installed there?",
                "NoReply" | "Disconnected" => {
                    "; it may have ended in the middle, so look before doing it again"
                }
                "TimedOut" => LOG,
                _ if short.starts_with("Spawn.") => LOG,
                _ => "",
            };
            Self::Unreachable(message + remedy)
        } else {
            Self::Refused { name, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_service_is_unreachable_and_a_denial_is_not() {
        let absent: CliError = fdo::Error::ServiceUnknown("no".into()).into();
        assert!(absent.to_string().ends_with("no; is the package warren installed there?"), "{absent}");
        let broken: CliError = fdo::Error::SpawnChildExited("no".into()).into();
        assert!(broken.to_string().ends_with(&format!("no{LOG}")), "{broken}");
        let denied: CliError = fdo::Error::AccessDenied("not you".into()).into();
        assert!(denied.is_denied());
        assert_eq!(denied.to_string(), "not you");
        assert_eq!(denied.to_json()["name"], "org.freedesktop.DBus.Error.AccessDenied");
        let foreign: CliError = fdo::Error::UnknownMethod("no such method".into()).into();
        assert_eq!(foreign.to_string(), "org.freedesktop.DBus.Error.UnknownMethod: no such method");
    }
}
