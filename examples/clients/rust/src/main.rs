//! A client of Warren: starts a network and a guest on it, waits for the guest's lease, stops both.
//!
//! usage: warren-client [--system] NETWORK.xml GUEST.xml     (documents as in `examples/`)

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use warren_client::{DomainProxy, JobProxy, ManagerProxy, NetworkProxy, Options, ROOT, SERVICE};
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A guest that asks for no address is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let system = args.first().is_some_and(|word| word == "--system");
    args.drain(..usize::from(system));
    let [network_file, guest_file] = &args[..] else {
        return Err("usage: warren-client [--system] NETWORK.xml GUEST.xml".into());
    };
    let bus = if system { Connection::system().await? } else { Connection::session().await? };

    // The first call starts the service, if it does not run.
    let manager = ManagerProxy::new(&bus).await?;
    println!("Warren {}, {} scope", manager.version().await?, manager.scope().await?);

    let path = manager.define_network(&std::fs::read_to_string(network_file)?, Options::new()).await?;
    let network = NetworkProxy::builder(&bus).path(path).build().await?;
    let path = manager.define_domain(&std::fs::read_to_string(guest_file)?, Options::new()).await?;
    let guest = DomainProxy::builder(&bus).path(path).build().await?;
    show_objects(&bus).await?;

    // Signals are asked for before the call that leads to them, so that none is missed. Leases are not
    // public: they are told to callers that have subscribed and may know them.
    let mut states = guest.receive_state_transition().await?;
    let mut leases = network.receive_lease_added().await?;
    manager.subscribe(&["leases"], Options::new()).await?;

    finish(&bus, network.start(Options::new()).await?).await?;
    finish(&bus, guest.start(Options::new()).await?).await?;
    println!("{} runs as process {}", guest.name().await?, guest.pid().await?);

    if tokio::time::timeout(PATIENCE, leases.next()).await.is_err() {
        println!("no lease in {PATIENCE:?}");
    }
    for lease in network.get_leases(Options::new()).await? {
        println!("lease: {} {}", text(&lease["address"])?, text(&lease["mac"])?);
    }

    finish(&bus, guest.stop(Options::new()).await?).await?;
    while let Some(signal) = states.next().await {
        let change = signal.args()?;
        println!("{}: {} -> {} ({})", guest.name().await?, change.old(), change.new(), change.reason());
        if *change.new() == "shutoff" {
            break;
        }
    }
    finish(&bus, network.stop(Options::new()).await?).await?;
    finish(&bus, guest.undefine(Options::new()).await?).await
}

/// All objects with all their public properties come by one call.
async fn show_objects(bus: &Connection) -> Result<()> {
    let objects = zbus::fdo::ObjectManagerProxy::builder(bus).destination(SERVICE).path(ROOT).build().await?;
    for (path, interfaces) in objects.get_managed_objects().await? {
        for properties in interfaces.values().filter(|properties| properties.contains_key("Name")) {
            println!("{}: {}, {}", path.as_str(), text(&properties["Name"])?, text(&properties["State"])?);
        }
    }
    Ok(())
}

/// A call that answers "/" is done; another path is the Job that goes on.
async fn finish(bus: &Connection, job: OwnedObjectPath) -> Result<()> {
    if job.as_str() == "/" {
        return Ok(());
    }
    let job = JobProxy::builder(bus).path(job).build().await?;
    let mut ends = job.receive_completed().await?;
    // It may have ended before we listened; it stays for a minute.
    if job.state().await? != "running" {
        return if job.state().await? == "completed" { Ok(()) } else { Err("the job failed".into()) };
    }
    let end = ends.next().await.ok_or("the bus is gone")?;
    let end = end.args()?;
    if *end.state() == "completed" { Ok(()) } else { Err((*end.message()).into()) }
}

/// The string in a variant.
fn text(value: &OwnedVariant) -> Result<&str> {
    Ok(<&str>::try_from(&**value)?)
}
