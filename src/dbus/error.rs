//! The one table from errors to names on the bus.
//!
//! Owns the closed list of `org.warren1.Error.*`. Must never lose a cause: the message is the whole
//! chain, in one line.

use std::borrow::Cow;
use std::io;

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::auth::AuthError;
use crate::model::DocError;
use crate::network::PortError;
use crate::sys::images::ImagesError;
use crate::sys::process::SpawnError;
use crate::sys::tap::TapError;
use crate::{domain, manager, network};

/// An error as it goes over the bus.
#[derive(Debug, Clone)]
pub struct Error {
    name: Cow<'static, str>,
    message: String,
}

macro_rules! warren {
    ($name:literal) => {
        concat!("org.warren1.Error.", $name)
    };
}

const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
const LIMIT_EXCEEDED: &str = warren!("LimitExceeded");
const INTERACTION_REQUIRED: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

impl Error {
    fn new(name: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let name = if is_limit(error) { LIMIT_EXCEEDED } else { name };
        Self { name: name.into(), message: crate::chain(error) }
    }

    /// `InvalidArgs`.
    pub fn invalid_args(message: impl Into<String>) -> Self {
        Self { name: warren!("InvalidArgs").into(), message: message.into() }
    }

    /// `NotSupported`.
    pub fn not_supported(message: impl Into<String>) -> Self {
        Self { name: warren!("NotSupported").into(), message: message.into() }
    }

    /// `NotSupported`, of something in the contract that this version cannot do.
    pub fn not_yet(what: &str) -> Self {
        Self::not_supported(format!("{what} cannot be had yet, in version {}", env!("CARGO_PKG_VERSION")))
    }

    /// `LimitExceeded`.
    pub fn limit_exceeded(message: impl Into<String>) -> Self {
        Self { name: LIMIT_EXCEEDED.into(), message: message.into() }
    }

    /// `LimitExceeded`, of descriptors.
    pub(super) fn no_descriptors(error: &io::Error) -> Self {
        Self::limit_exceeded(format!(
            "the service has no room for another descriptor: {error}; close some, or raise LimitNOFILE= of its unit"
        ))
    }

    /// The same error with what it is about before it.
    pub fn about(mut self, reason: &str) -> Self {
        self.message = format!("{reason}: {}", self.message);
        self
    }

    /// Name and message, for a job's `Completed`.
    pub fn into_parts(self) -> (String, String) {
        (self.name.into_owned(), self.message)
    }
}

/// Whether something failed because a limit was reached, whatever it was: the caller can try again later.
fn is_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustix::io::Errno;
    let is_limit = |e: &io::Error| match Errno::from_io_error(e) {
        Some(errno) => matches!(errno, Errno::MFILE | Errno::NFILE),
        None => e.kind() == io::ErrorKind::QuotaExceeded,
    };
    let mut causes = std::iter::successors(Some(error), |e| e.source());
    causes.any(|cause| cause.downcast_ref().is_some_and(is_limit))
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl std::error::Error for Error {}

impl zbus::DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&self.message.as_str())
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_str_unchecked(&self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.message)
    }
}

impl From<AuthError> for Error {
    fn from(e: AuthError) -> Self {
        let name = match e {
            AuthError::InteractionRequired { .. } => INTERACTION_REQUIRED,
            AuthError::NoSender
            | AuthError::Denied { .. }
            | AuthError::CallerLeft { .. }
            | AuthError::UnknownCaller { .. } => ACCESS_DENIED,
            AuthError::TooManyQuestions { .. } => warren!("LimitExceeded"),
            AuthError::Timeout { .. } | AuthError::NoTurn { .. } => warren!("Timeout"),
            AuthError::Polkit { .. } => warren!("BackendFailed"),
        };
        Self::new(name, &e)
    }
}

impl From<DocError> for Error {
    fn from(e: DocError) -> Self {
        let name = match e {
            DocError::Xml(_) => warren!("InvalidXml"),
            DocError::Config(_) => warren!("InvalidConfig"),
        };
        Self::new(name, &e)
    }
}

impl From<network::Error> for Error {
    fn from(e: network::Error) -> Self {
        Self::new(network_name(&e), &e)
    }
}

fn network_name(e: &network::Error) -> &'static str {
    use network::Error as E;
    match e {
        E::Denied { .. } => warren!("WrongState"),
        E::InUse { .. } => warren!("InUse"),
        E::SubnetInUse { .. } | E::BridgeInUse { .. } | E::MacInUse { .. } => warren!("AddressInUse"),
        E::NotSupported { .. } | E::NoSuchWayOut { .. } | E::NoSuchAddress { .. } | E::Ground(_) => {
            warren!("NotSupported")
        }
        E::Port { .. } | E::Plug { source: PortError::Address { .. }, .. } => warren!("InvalidConfig"),
        E::Gone(_) => warren!("NoSuchNetwork"),
        E::NoUid(_) | E::Limit(_) => warren!("LimitExceeded"),
        E::Unreadable { .. }
        | E::Netlink { .. }
        | E::Sysctl(_)
        | E::AcceptRa { .. }
        | E::Forwarding(_)
        | E::Firewall(_)
        | E::Dnsmasq(_)
        | E::NotVerified { .. }
        | E::Plug { .. }
        | E::Leases { .. }
        | E::Store(_)
        | E::TearDown(_)
        | E::Unsure { .. }
        | E::Remains { .. } => warren!("BackendFailed"),
    }
}

impl From<domain::Error> for Error {
    fn from(e: domain::Error) -> Self {
        Self::new(domain_name(&e), &e)
    }
}

fn domain_name(e: &domain::Error) -> &'static str {
    use domain::Error as E;
    match e {
        E::Denied { .. } | E::NetworkInactive { .. } | E::Lost { .. } => warren!("WrongState"),
        E::NotSupported { .. } | E::Ground { .. } => warren!("NotSupported"),
        E::Config { .. } | E::Plug { source: PortError::Address { .. }, .. } => warren!("InvalidConfig"),
        E::Changed { .. } => warren!("Conflict"),
        E::NoSuchNetwork { .. } => warren!("NoSuchNetwork"),
        E::NetworkDenied { .. } => ACCESS_DENIED,
        E::Network { source, .. } => network_name(source),
        E::Tap { source: TapError::Exists(_), .. } | E::DisplayPort { .. } => warren!("AddressInUse"),
        E::NoSuchConsole { .. } | E::NoSuchDisplay { .. } => warren!("NoSuchDevice"),
        E::NoUid(_) | E::Limit(_) | E::Images(ImagesError::TooLarge { .. } | ImagesError::Limit(_)) => {
            warren!("LimitExceeded")
        }
        E::Cancelled => warren!("Cancelled"),
        E::Gone(_) => warren!("NoSuchDomain"),
        E::Qmp { source: crate::sys::qmp::QmpError::Timeout { .. }, .. }
        | E::Images(ImagesError::Timeout { .. })
        | E::NoMonitor
        | E::ScriptRun { source: SpawnError::Timeout { .. }, .. } => warren!("Timeout"),
        E::Unreadable { .. }
        | E::NoSuchBridge { .. }
        | E::NoSuchTap { .. }
        | E::Vhost { .. }
        | E::Tap { .. }
        | E::Link { .. }
        | E::Plug { .. }
        | E::BridgeHelper { .. }
        | E::ScriptRun { .. }
        | E::ScriptFailed { .. }
        | E::NoPeer { .. }
        | E::Peer { .. }
        | E::PeerIsDisplay { .. }
        | E::DisplayNameSlow { .. }
        | E::DisplayName { .. }
        | E::DisplayAddress { .. }
        | E::NoDisplayPort { .. }
        | E::Loopback(_)
        | E::Images(_)
        | E::Spawn(_)
        | E::QemuEnded(_)
        | E::Qmp { .. }
        | E::End(_)
        | E::Run(_)
        | E::Firmware { .. }
        | E::NoVariables
        | E::Remains { .. }
        | E::Unsure(_)
        | E::Store(_) => warren!("BackendFailed"),
    }
}

impl From<manager::Error> for Error {
    fn from(e: manager::Error) -> Self {
        use manager::Error as E;
        let name = match e {
            E::Document(e) => return e.into(),
            E::Network(e) => return e.into(),
            E::Domain(e) => return e.into(),
            E::Invalid(_) => warren!("InvalidConfig"),
            E::NameTaken { .. } | E::UuidTaken { .. } => warren!("AlreadyExists"),
            E::Conflict { .. } | E::Changed(_) => warren!("Conflict"),
            E::NoSuchNetwork(_) => warren!("NoSuchNetwork"),
            E::NoSuchDomain(_) | E::OthersDomain { .. } => warren!("NoSuchDomain"),
            E::TooManyObjects { .. } | E::Limit(_) => warren!("LimitExceeded"),
            E::NotCancellable(_) => warren!("NotSupported"),
            E::JobEnded(_) => warren!("WrongState"),
            E::Complete(_) | E::BridgeTaken { .. } => warren!("AddressInUse"),
            E::Subnets(_) | E::Store(_) | E::JobLost => warren!("BackendFailed"),
        };
        Self::new(name, &e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_has_its_own_name() {
        let named = |e: io::Error| Error::from(domain::Error::Run(e)).into_parts().0;
        for e in [rustix::io::Errno::MFILE.into(), io::ErrorKind::QuotaExceeded.into()] {
            assert_eq!(named(e), LIMIT_EXCEEDED);
        }
        assert_eq!(named(rustix::io::Errno::NOENT.into()), warren!("BackendFailed"));
    }
}
