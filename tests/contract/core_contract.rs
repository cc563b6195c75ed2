//! What clients may rely on from the first release: members with their signatures, and errors. Nothing is ever
//! taken away here.

use zbus_xml::{ArgDirection, Interface};

/// `Interface.Method in → out`, `Interface.Property P type`, `Interface.Signal S arguments`.
pub(crate) const CORE: [&str; 90] = [
    "Manager.Version P s",
    "Manager.Features P as",
    "Manager.Scope P s",
    "Manager.Warnings P as",
    "Manager.DefineNetwork sa{sv} → o",
    "Manager.DefineDomain sa{sv} → o",
    "Manager.CheckNetwork sa{sv} → a{sv}",
    "Manager.CheckDomain sa{sv} → a{sv}",
    "Manager.GetNetworkByName s → o",
    "Manager.GetNetworkByUuid s → o",
    "Manager.GetDomainByName s → o",
    "Manager.GetDomainByUuid s → o",
    "Manager.GetHost  → a{sv}",
    "Manager.GetPermissions a{sv} → a{ss}",
    "Manager.GetAllStats asa{sv} → a{oa{sv}}",
    "Manager.ListDomains a{sv} → a{oa{sv}}",
    "Manager.ListNetworks a{sv} → a{oa{sv}}",
    "Manager.Subscribe asa{sv} → ",
    "Manager.Unsubscribe asa{sv} → ",
    "Network.Name P s",
    "Network.Uuid P s",
    "Network.Bridge P s",
    "Network.ForwardMode P s",
    "Network.State P s",
    "Network.StateReason P s",
    "Network.Persistent P b",
    "Network.Autostart P b",
    "Network.PendingChanges P b",
    "Network.Generation P t",
    "Network.Owner P u",
    "Network.Access P s",
    "Network.Warnings P as",
    "Network.Start a{sv} → o",
    "Network.Stop a{sv} → o",
    "Network.Undefine a{sv} → o",
    "Network.Update sa{sv} → a{sv}",
    "Network.Confirm a{sv} → ",
    "Network.UpdateSection ssisa{sv} → ",
    "Network.GetInfo a{sv} → a{sv}",
    "Network.GetXml a{sv} → s",
    "Network.GetLeases a{sv} → aa{sv}",
    "Network.SetAutostart ba{sv} → ",
    "Network.SetAccess sa{sv} → ",
    "Network.AddPortForward a{sv}a{sv} → s",
    "Network.RemovePortForward sa{sv} → ",
    "Network.OpenPort a{sv} → ha{sv}",
    "Network.StateChanged S sss",
    "Network.LeaseAdded S a{sv}",
    "Network.LeaseRemoved S a{sv}",
    "Domain.Name P s",
    "Domain.Uuid P s",
    "Domain.Title P s",
    "Domain.State P s",
    "Domain.StateReason P s",
    "Domain.Persistent P b",
    "Domain.Autostart P b",
    "Domain.PendingChanges P b",
    "Domain.Generation P t",
    "Domain.Owner P u",
    "Domain.Pid P u",
    "Domain.Vcpus P u",
    "Domain.MemoryBytes P t",
    "Domain.GetInfo a{sv} → a{sv}",
    "Domain.GetAddresses a{sv} → aa{sv}",
    "Domain.Start a{sv} → o",
    "Domain.Shutdown a{sv} → ",
    "Domain.Reboot a{sv} → ",
    "Domain.Reset a{sv} → ",
    "Domain.Suspend a{sv} → ",
    "Domain.Resume a{sv} → ",
    "Domain.Stop a{sv} → o",
    "Domain.Undefine a{sv} → o",
    "Domain.GetXml a{sv} → s",
    "Domain.SetAutostart ba{sv} → ",
    "Domain.AttachDevice sa{sv} → o",
    "Domain.DetachDevice sa{sv} → o",
    "Domain.UpdateDevice sa{sv} → o",
    "Domain.OpenConsole a{sv} → h",
    "Domain.OpenGraphics a{sv} → h",
    "Domain.GetStats asa{sv} → a{sv}",
    "Domain.StateChanged S sss",
    "Domain.AddressesChanged S aa{sv}",
    "Domain.DeviceAdded S s",
    "Domain.DeviceRemoved S s",
    "Job.Operation P s",
    "Job.Object P o",
    "Job.State P s",
    "Job.Progress P d",
    "Job.Cancel a{sv} → ",
    "Job.Completed S sss",
];

/// The names after `org.warren1.Error.`.
pub(crate) const ERRORS: [&str; 17] = [
    "InvalidXml",
    "InvalidConfig",
    "InvalidArgs",
    "NoSuchNetwork",
    "NoSuchDomain",
    "NoSuchDevice",
    "AlreadyExists",
    "InUse",
    "WrongState",
    "Conflict",
    "AddressInUse",
    "NotSupported",
    "Busy",
    "Timeout",
    "Cancelled",
    "LimitExceeded",
    "BackendFailed",
];

/// The members of an interface as [`CORE`] writes them.
pub(crate) fn members(interface: &Interface<'_>) -> Vec<String> {
    let full = interface.name().to_string();
    let of = full.trim_start_matches("org.warren1.");
    let mut found = Vec::new();
    for method in interface.methods() {
        let side = |direction| -> String {
            let args =
                method.args().iter().filter(|a| a.direction().unwrap_or(ArgDirection::In) == direction);
            args.map(|a| a.ty().to_string()).collect()
        };
        found.push(format!(
            "{of}.{} {} → {}",
            method.name(),
            side(ArgDirection::In),
            side(ArgDirection::Out)
        ));
    }
    for property in interface.properties() {
        found.push(format!("{of}.{} P {}", property.name(), property.ty().to_string()));
    }
    for signal in interface.signals() {
        let args: String = signal.args().iter().map(|a| a.ty().to_string()).collect();
        found.push(format!("{of}.{} S {args}", signal.name()));
    }
    found
}
