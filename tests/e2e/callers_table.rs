//! Every method of every object of the service, and what it answers to whom.
//!
//! Owns the table. `callers.rs` makes the calls, and fails for a method that has no row.

use super::callers::{DOMAIN_XML, NETWORK_XML, UUID};

/// The objects of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Root,
    Network,
    Domain,
    Job,
    Log,
}

impl Place {
    pub(crate) const ALL: [Self; 5] = [Self::Root, Self::Network, Self::Domain, Self::Job, Self::Log];
}

/// The arguments of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Args {
    /// None.
    Nothing,
    /// `s`
    Text(&'static str),
    /// `ss`
    Texts(&'static str, &'static str),
    /// `ssv`, with a text.
    Value(&'static str, &'static str, &'static str),
    /// `a{sv}`, which is the last argument of those below too, and empty in all.
    Options,
    /// `s a{sv}`
    TextOptions(&'static str),
    /// `b a{sv}`
    FlagOptions(bool),
    /// `as a{sv}`
    WordsOptions(&'static str),
    /// `a{sv} a{sv}`
    RuleOptions,
    /// `s s i s a{sv}`
    SectionOptions,
}

/// How things are when the call is made, and again for each caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// The object is defined; nothing is known of its state.
    Anything,
    Inactive,
    Active,
    /// Of the domain.
    Paused,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) place: Place,
    /// Interface and method; `org.warren1.` and `org.freedesktop.DBus.` are left out.
    pub(crate) method: &'static str,
    pub(crate) args: Args,
    pub(crate) given: Given,
    /// The state of the object when the call has succeeded; empty: it is gone; `*`: any.
    pub(crate) then: &'static str,
    /// To root, the domain's owner, another user, another user with a rule.
    pub(crate) answers: [&'static str; 4],
}

const OK: &str = "ok";
/// An administrator's password would be asked for.
const ASK: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
/// No property of ours is written, and the library does not tell one that is only read from one that is not there.
const NO_SETTER: &str = "org.freedesktop.DBus.Error.UnknownProperty";
const NOT_YET: &str = "org.warren1.Error.NotSupported";
const NO_DOMAIN: &str = "org.warren1.Error.NoSuchDomain";

/// For all.
const PUBLIC: [&str; 4] = [OK; 4];
/// What the owner of a domain may.
const OWNER: [&str; 4] = [OK, OK, ASK, OK];
/// What the administrator may.
const ADMIN: [&str; 4] = [OK, ASK, ASK, OK];
/// The same, of what cannot be had yet.
const OWNER_NOT_YET: [&str; 4] = [NOT_YET, NOT_YET, ASK, NOT_YET];
const ADMIN_NOT_YET: [&str; 4] = [NOT_YET, ASK, ASK, NOT_YET];
/// What the bus itself keeps from all but root.
const ROOT: [&str; 4] = [OK, DENIED, DENIED, DENIED];

/// A row whose call needs no state and changes none.
const fn row(place: Place, method: &'static str, args: Args, answers: [&'static str; 4]) -> Row {
    Row { place, method, args, given: Given::Anything, then: "*", answers }
}

/// A row whose call needs a state, or changes it.
const fn act(
    place: Place,
    method: &'static str,
    args: Args,
    given: Given,
    then: &'static str,
    answers: [&'static str; 4],
) -> Row {
    Row { place, method, args, given, then, answers }
}

/// Every method, in an order in which they work.
pub(crate) fn rows() -> Vec<Row> {
    use Args::{
        FlagOptions, Nothing, Options, RuleOptions, SectionOptions, Text, TextOptions, Texts, Value,
        WordsOptions,
    };
    use Given::{Active, Inactive, Paused};
    use Place::{Domain, Job, Log, Network, Root};
    const WARREN: &str = "org.warren1.Manager";
    const LOG: &str = "org.freedesktop.LogControl1";
    const NIC: &str = "<interface type='user'/>";
    let mut rows = vec![
        row(Root, "Manager.DefineNetwork", TextOptions(NETWORK_XML), ADMIN),
        row(Root, "Manager.DefineDomain", TextOptions(DOMAIN_XML), OWNER),
        row(Root, "Manager.CheckNetwork", TextOptions(NETWORK_XML), ADMIN),
        row(Root, "Manager.CheckDomain", TextOptions(DOMAIN_XML), OWNER),
        row(Root, "Manager.GetNetworkByName", Text("lab"), PUBLIC),
        row(Root, "Manager.GetNetworkByUuid", Text(UUID), PUBLIC),
        // A name is looked up among the caller's own.
        row(Root, "Manager.GetDomainByName", Text("guest"), [NO_DOMAIN, OK, NO_DOMAIN, NO_DOMAIN]),
        row(Root, "Manager.GetDomainByUuid", Text(UUID), PUBLIC),
        row(Root, "Manager.GetHost", Nothing, PUBLIC),
        row(Root, "Manager.GetPermissions", Options, PUBLIC),
        row(Root, "Manager.ListDomains", Options, PUBLIC),
        row(Root, "Manager.ListNetworks", Options, PUBLIC),
        row(Root, "Manager.GetAllStats", WordsOptions("cpu"), [NOT_YET; 4]),
        row(Root, "Manager.Subscribe", WordsOptions("leases"), OWNER),
        row(Root, "Manager.Unsubscribe", WordsOptions("leases"), PUBLIC),
        row(Root, "ObjectManager.GetManagedObjects", Nothing, PUBLIC),
        act(Network, "Network.Start", Options, Inactive, "active", ADMIN),
        act(Network, "Network.Stop", Options, Active, "inactive", ADMIN),
        act(Network, "Network.Undefine", Options, Inactive, "", ADMIN),
        row(Network, "Network.GetInfo", Options, ADMIN),
        row(Network, "Network.GetXml", Options, ADMIN),
        act(Network, "Network.GetLeases", Options, Active, "active", ADMIN),
        row(Network, "Network.SetAutostart", FlagOptions(true), ADMIN),
        row(Network, "Network.SetAccess", TextOptions("admin"), ADMIN),
        row(Network, "Network.Update", TextOptions(NETWORK_XML), ADMIN_NOT_YET),
        row(Network, "Network.Confirm", Options, ADMIN_NOT_YET),
        row(Network, "Network.UpdateSection", SectionOptions, ADMIN_NOT_YET),
        row(Network, "Network.AddPortForward", RuleOptions, ADMIN_NOT_YET),
        row(Network, "Network.RemovePortForward", TextOptions("1"), ADMIN_NOT_YET),
        row(Network, "Network.OpenPort", Options, ADMIN_NOT_YET),
        act(Domain, "Domain.Start", Options, Inactive, "running", OWNER),
        act(Domain, "Domain.Suspend", Options, Active, "paused", OWNER),
        act(Domain, "Domain.Resume", Options, Paused, "running", OWNER),
        act(Domain, "Domain.Reset", Options, Active, "running", OWNER),
        act(Domain, "Domain.Reboot", Options, Active, "running", OWNER),
        // It is asked, and has no system that could do it.
        act(Domain, "Domain.Shutdown", Options, Active, "running", OWNER),
        act(Domain, "Domain.GetInfo", Options, Active, "running", OWNER),
        act(Domain, "Domain.GetAddresses", Options, Active, "running", OWNER),
        act(Domain, "Domain.OpenConsole", Options, Active, "running", OWNER),
        act(Domain, "Domain.OpenGraphics", Options, Active, "running", OWNER),
        act(Domain, "Domain.Stop", Options, Active, "shutoff", OWNER),
        act(Domain, "Domain.Undefine", Options, Inactive, "", OWNER),
        row(Domain, "Domain.GetXml", Options, OWNER),
        row(Domain, "Domain.SetAutostart", FlagOptions(true), OWNER),
        row(Domain, "Domain.AttachDevice", TextOptions(NIC), OWNER_NOT_YET),
        row(Domain, "Domain.DetachDevice", TextOptions(NIC), OWNER_NOT_YET),
        row(Domain, "Domain.UpdateDevice", TextOptions(NIC), OWNER_NOT_YET),
        row(Domain, "Domain.GetStats", WordsOptions("cpu"), OWNER_NOT_YET),
        act(Job, "Job.Cancel", Options, Inactive, "cancelled", OWNER),
        row(Root, "Properties.Get", Texts(WARREN, "Version"), PUBLIC),
        row(Root, "Properties.GetAll", Text(WARREN), PUBLIC),
        row(Root, "Properties.Set", Value(WARREN, "Version", "2"), [NO_SETTER; 4]),
        row(Network, "Properties.Get", Texts("org.warren1.Network", "State"), PUBLIC),
        row(Network, "Properties.GetAll", Text("org.warren1.Network"), PUBLIC),
        row(Network, "Properties.Set", Value("org.warren1.Network", "Name", "x"), [NO_SETTER; 4]),
        row(Domain, "Properties.Get", Texts("org.warren1.Domain", "State"), PUBLIC),
        row(Domain, "Properties.GetAll", Text("org.warren1.Domain"), PUBLIC),
        row(Domain, "Properties.Set", Value("org.warren1.Domain", "Title", "x"), [NO_SETTER; 4]),
        row(Job, "Properties.Get", Texts("org.warren1.Job", "State"), PUBLIC),
        row(Job, "Properties.GetAll", Text("org.warren1.Job"), PUBLIC),
        row(Job, "Properties.Set", Value("org.warren1.Job", "State", "failed"), [NO_SETTER; 4]),
        row(Log, "Properties.Get", Texts(LOG, "LogLevel"), ROOT),
        row(Log, "Properties.GetAll", Text(LOG), ROOT),
        row(Log, "Properties.Set", Value(LOG, "LogLevel", "debug"), ROOT),
    ];
    for place in Place::ALL {
        let answers = if place == Log { ROOT } else { PUBLIC };
        for method in ["Introspectable.Introspect", "Peer.Ping", "Peer.GetMachineId"] {
            rows.push(row(place, method, Nothing, answers));
        }
    }
    rows
}
