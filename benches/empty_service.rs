//! An empty service: what zbus alone costs. `make bench` measures Warren against it.
//!
//! Owns objects with as many properties as a domain has, and nothing behind them. Must never do any work.

use zbus::{fdo, interface};

struct Domain(u32);

#[interface(name = "org.warren1.Domain")]
impl Domain {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        format!("bench{}", self.0)
    }
    #[zbus(property(emits_changed_signal = "const"))]
    fn uuid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012x}", self.0)
    }
    #[zbus(property)]
    fn title(&self) -> String {
        String::new()
    }
    #[zbus(property)]
    fn state(&self) -> String {
        "shutoff".into()
    }
    #[zbus(property)]
    fn state_reason(&self) -> String {
        "none".into()
    }
    #[zbus(property)]
    fn persistent(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn autostart(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn pending_changes(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn generation(&self) -> u64 {
        1
    }
    #[zbus(property)]
    fn owner(&self) -> u32 {
        0
    }
    #[zbus(property)]
    fn pid(&self) -> u32 {
        0
    }
    #[zbus(property)]
    fn vcpus(&self) -> u32 {
        1
    }
    #[zbus(property)]
    fn memory_bytes(&self) -> u64 {
        100_663_296
    }
}

/// usage: empty-service NUMBER-OF-OBJECTS     (on the bus of `DBUS_SYSTEM_BUS_ADDRESS`)
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = std::env::args().nth(1).ok_or("how many objects?")?.parse()?;
    let bus = zbus::Connection::system().await?;
    let server = bus.object_server();
    for number in 0..count {
        server.at(format!("/org/empty1/domain/{number}"), Domain(number)).await?;
    }
    server.at("/org/empty1", fdo::ObjectManager).await?;
    bus.request_name("org.empty1").await?;
    std::future::pending().await
}
