//! `org.freedesktop.LogControl1`: what `systemctl service-log-level warrend` and `busctl` set.
//!
//! A standard interface, with properties that are written, which ours never are. The bus policy lets root
//! alone speak to its path in system scope. Must never change more than the level.

use zbus::interface;

use super::error::Error;
use crate::logging::Logging;

/// Where the interface is.
pub(super) const PATH: &str = "/org/freedesktop/LogControl1";

/// The log of the service.
#[derive(Debug)]
pub(super) struct LogControl(pub(super) Logging);

#[interface(name = "org.freedesktop.LogControl1", introspection_docs = false)]
impl LogControl {
    #[zbus(property(emits_changed_signal = "false"))]
    fn log_level(&self) -> String {
        self.0.level()
    }

    #[zbus(property)]
    fn set_log_level(&self, level: &str) -> Result<(), Error> {
        self.0.set_level(level).map_err(|e| Error::invalid_args(e.to_string()))?;
        tracing::info!("the log level is '{level}' now");
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn log_target(&self) -> String {
        self.0.target().to_owned()
    }

    #[zbus(property)]
    fn set_log_target(&self, target: &str) -> Result<(), Error> {
        if target == self.0.target() || target == "auto" {
            return Ok(());
        }
        Err(Error::not_supported(format!(
            "the log goes to the {}, as was settled when the service was started",
            self.0.target()
        )))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn syslog_identifier(&self) -> String {
        "warrend".to_owned()
    }
}
