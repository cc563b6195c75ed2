//! The bus of another host. Owns how ssh is called and which names it may be given; must never read what
//! goes over it.

use std::path::PathBuf;

use zbus::Address;
use zbus::address::transport::{Transport, Unixexec};

use super::args::Scope;
use super::error::CliError;

/// `[user@]host`, good to be an argument of ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(String);

impl Host {
    /// Takes a name as typed. ssh and the shells that it may call must find nothing in it but a name.
    pub(super) fn new(typed: &str) -> Result<Self, CliError> {
        let wrong = |why: &str| {
            Err(CliError::Usage(format!("'{typed}' is no host: {why}; it must be as 'host' or 'user@host'")))
        };
        let (user, host) = typed.rsplit_once('@').map_or((None, typed), |(user, host)| (Some(user), host));
        if host.is_empty() || user == Some("") {
            return wrong("a part of it is empty");
        }
        if host.starts_with('-') || typed.starts_with('-') {
            return wrong("it begins with '-'");
        }
        match typed.chars().find(|c| !c.is_alphanumeric() && !"@.-_:%[]".contains(*c)) {
            Some(odd) => wrong(&format!("{odd:?} is in it")),
            None => Ok(Self(typed.to_owned())),
        }
    }

    /// As ssh is told.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the user.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit('@').next().unwrap_or(&self.0)
    }

    /// Where its bus is: behind `systemd-stdio-bridge`, which ssh starts there, as for `busctl --host`.
    pub(super) fn address(&self, scope: Scope) -> Address {
        let command = match scope {
            Scope::System => "systemd-stdio-bridge",
            Scope::Session => SESSION_BRIDGE,
        };
        let args = ["-xT", "--", &self.0, command].map(Into::into).to_vec();
        Address::new(Transport::Unixexec(Unixexec::new(PathBuf::from("ssh"), None, args)))
    }
}

/// The bridge to a session bus. Its own option for that is not heeded before systemd 253; and where the bus
/// is, only a shell of that host knows, whatever shell the user has.
const SESSION_BRIDGE: &str = "sh -c 'exec systemd-stdio-bridge -p \
    \"${DBUS_SESSION_BUS_ADDRESS:-unix:path=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/bus}\"'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_reach_ssh() {
        for good in ["host", "me@host.example", "me@::1", "fe80::1%eth0", "a@b@c", "höhle"] {
            assert!(Host::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "-oProxyCommand=x", "me@", "@host", "me@-x", "a b", "a,b", "a;b", "a\nb", "$(x)", "`x`"]
        {
            assert!(matches!(Host::new(bad), Err(CliError::Usage(_))), "{bad}");
        }
        assert_eq!(Host::new("me@host").unwrap().name(), "host");
    }

    #[test]
    fn ssh_is_called_as_busctl_calls_it() {
        let host = Host::new("me@host").unwrap();
        assert_eq!(
            host.address(Scope::System).to_string(),
            "unixexec:path=ssh,argv1=-xT,argv2=--,argv3=me%40host,argv4=systemd-stdio-bridge"
        );
        assert!(
            host.address(Scope::Session)
                .to_string()
                .contains(",argv4=sh%20-c%20%27exec%20systemd-stdio-bridge")
        );
    }
}
