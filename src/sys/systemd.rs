//! A scope unit for each guest, where systemd runs.
//!
//! Owns the one call that takes a guest's process out of the service's own control group, so that
//! stopping, restarting or limiting the service never concerns its guests. Must never be needed: without
//! systemd, or when it says no, the guest runs all the same.

use std::time::Duration;

use zbus::Variant;

/// How long systemd may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why the guest stays where it is.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ScopeError {
    #[error("systemd did not answer within 5 seconds")]
    Timeout,
    #[error("systemd gave no scope")]
    Refused(#[from] zbus::Error),
}

/// Whether this machine runs systemd, see sd_booted(3).
pub fn is_running() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// Puts a process into a new scope `warren-UUID.scope`, asked of the system's systemd or of the user's. See
/// `StartTransientUnit` in org.freedesktop.systemd1(5).
pub async fn give_scope(system: bool, uuid: &uuid::Uuid, name: &str, pid: u32) -> Result<(), ScopeError> {
    let asked = tokio::time::timeout(DEADLINE, ask(system, uuid, name, pid)).await;
    Ok(asked.map_err(|_| ScopeError::Timeout)??)
}

async fn ask(system: bool, uuid: &uuid::Uuid, name: &str, pid: u32) -> zbus::Result<()> {
    let bus = if system { zbus::Connection::system().await? } else { zbus::Connection::session().await? };
    let unit = format!("warren-{}.scope", uuid.simple());
    let properties = [
        ("Description", Variant::from(format!("Virtual machine {name}"))),
        ("PIDs", Variant::from(vec![pid])),
        // A scope whose guest has failed is not kept to be looked at.
        ("CollectMode", Variant::from("inactive-or-failed")),
    ];
    let none: [(&str, Vec<(&str, Variant<'_>)>); 0] = [];
    bus.call_method(
        Some("org.freedesktop.systemd1"),
        "/org/freedesktop/systemd1",
        Some("org.freedesktop.systemd1.Manager"),
        "StartTransientUnit",
        &(unit, "fail", properties.as_slice(), none.as_slice()),
    )
    .await?;
    Ok(())
}
