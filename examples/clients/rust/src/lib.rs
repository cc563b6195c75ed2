//! D-Bus proxies of Warren's interfaces, for clients in Rust.
//!
//! Rendered from the contract, `dbus/*.xml`, by `make docs`. The file needs nothing but zbus: depend on this
//! crate, or copy it. [`ManagerProxy`] is at its place by default; the paths of the others come from its
//! methods, or from [`zbus::fdo::ObjectManagerProxy`] at [`ROOT`], which tells of all objects.

#![warn(missing_docs)]

use std::collections::HashMap;

use zbus::{OwnedFd, OwnedObjectPath, OwnedVariant, Result, Variant};

pub use domain::DomainProxy;
pub use job::JobProxy;
pub use manager::ManagerProxy;
pub use network::NetworkProxy;

/// The service's name on the system bus or a session bus.
pub const SERVICE: &str = "org.warren1";
/// Where the Manager is, and org.freedesktop.DBus.ObjectManager.
pub const ROOT: &str = "/org/warren1";

/// What goes with a call, by name. `Options::new()` for nothing.
pub type Options<'a> = HashMap<&'a str, Variant<'a>>;
/// A record of the service, by name.
pub type Map = HashMap<String, OwnedVariant>;

/// `org.warren1.Manager`: the proxy, and what its signals carry.
pub mod manager {
    use super::*;

    /// The service as a whole, at /org/warren1, beside org.freedesktop.DBus.ObjectManager, which tells of all networks, domains and jobs. Errors are org.warren1.Error.NAME; a caller who may not gets org.freedesktop.DBus.Error.AccessDenied, or InteractiveAuthorizationRequired where a prompt could change that and the message did not allow one. Every call is answered within 25 s: it has 20 s from its arrival, polkit's answers included, and what takes longer goes on as a Job or is a Timeout. A person who is asked may take as long as the caller waits.
    #[zbus::proxy(
        interface = "org.warren1.Manager",
        default_service = "org.warren1",
        default_path = "/org/warren1"
    )]
    pub trait Manager {
        /// Version of the service.
        #[zbus(property(emits_changed_signal = "const"))]
        fn version(&self) -> Result<String>;

        /// What this service can do beyond the first release, one word each.
        #[zbus(property(emits_changed_signal = "const"))]
        fn features(&self) -> Result<Vec<String>>;

        /// "system" or "session".
        #[zbus(property(emits_changed_signal = "const"))]
        fn scope(&self) -> Result<String>;

        /// What is wrong with this host (no KVM, a foreign firewall that drops the traffic of guests), each with its remedy. After the service has started it is one line that begins with "host probe running"; it changes when the probe is done, and GetHost waits for that.
        #[zbus(property)]
        fn warnings(&self) -> Result<Vec<String>>;

        /// Creates a network, or replaces the definition with the same UUID, or without a UUID the caller's own of that name, whose UUID and MAC addresses stay. It is on disk before the reply. A running network is untouched until it is started again: see PendingChanges. Errors: InvalidXml, InvalidConfig with all findings, InvalidArgs, AlreadyExists, AddressInUse (a subnet, or the name of an interface, of another definition), Conflict, LimitExceeded, NotSupported.
        ///
        /// - `xml`: A network in libvirt's XML, at most 4 MiB.
        /// - `options`: transient b: NotSupported in this release; start b: start it as well; if-generation t: refuse with Conflict unless the definition that is replaced has this generation; dry-run b: do all but take it, and answer "/". An unknown key is InvalidArgs.
        /// - `object`: The network; "/" with dry-run.
        #[zbus(allow_interactive_auth)]
        fn define_network(&self, xml: &str, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Creates a domain, or replaces the definition with the same UUID, or without a UUID the caller's own of that name, whose UUID and MAC addresses stay. It is on disk before the reply. A running domain is untouched until it is started again: see PendingChanges. What the document names on the host is opened with the rights of the domain's owner. A caller who is not the owner needs host-access to add or change such a place; devices that are as they were need none. Conflict, too, if the owner changes the definition meanwhile. A password of a display, or the cookies of a web disk, that the document leaves out are removed if the caller may read them (the owner, root, and whom a rule lets have read-secrets without a question): such a caller asks GetXml for secrets before it edits. Of another caller they stay: on the display of the same type, on the disk of the same target as long as the source is the same. Errors: InvalidXml, InvalidConfig with all findings, InvalidArgs, AlreadyExists, Conflict, LimitExceeded, NotSupported.
        ///
        /// - `xml`: A domain in libvirt's XML, at most 4 MiB.
        /// - `options`: transient b: NotSupported in this release; start b: start it as well; if-generation t: refuse with Conflict unless the definition that is replaced has this generation; dry-run b: do all but take it, and answer "/". An unknown key is InvalidArgs.
        /// - `object`: The domain; "/" with dry-run.
        #[zbus(allow_interactive_auth)]
        fn define_domain(&self, xml: &str, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Says everything that is wrong with a document and what a network made from it would run; changes nothing. Errors: InvalidXml only where there is no tree to speak of.
        ///
        /// - `xml`: In libvirt's XML.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `report`: findings aa{sv}, each with severity s (error, unsupported, warning), path s, line u, column u, message s, remedy s; and what would be run: dnsmasq s and ruleset s (a script for nft).
        #[zbus(allow_interactive_auth)]
        fn check_network(&self, xml: &str, options: Options<'_>) -> Result<Map>;

        /// Says everything that is wrong with a document and what a domain made from it would run; changes nothing. A document that would replace another's domain needs the right to that, and an <emulator> that Warren would not choose itself needs host-access, since it is run to see what it can do. Errors: InvalidXml only where there is no tree to speak of.
        ///
        /// - `xml`: In libvirt's XML.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `report`: findings aa{sv}, each with severity s (error, unsupported, warning), path s, line u, column u, message s, remedy s; and what would be run: argv as; options s, which QEMU reads by -readconfig, since others on the host can read argv; and qmp as, what QEMU is then told, each command in JSON. What argv names as a file in /proc/self/fd is handed over open.
        #[zbus(allow_interactive_auth)]
        fn check_domain(&self, xml: &str, options: Options<'_>) -> Result<Map>;

        /// The network of this name. Errors: NoSuchNetwork.
        ///
        /// - `name`: Its name.
        /// - `network`: The network.
        fn get_network_by_name(&self, name: &str) -> Result<OwnedObjectPath>;

        /// The network of this UUID. Errors: NoSuchNetwork.
        ///
        /// - `uuid`: With dashes or without.
        /// - `network`: The network.
        fn get_network_by_uuid(&self, uuid: &str) -> Result<OwnedObjectPath>;

        /// The domain of this name among the caller's own, then among root's. Errors: NoSuchDomain.
        ///
        /// - `name`: Its name.
        /// - `domain`: The domain.
        fn get_domain_by_name(&self, name: &str) -> Result<OwnedObjectPath>;

        /// The domain of this UUID. Errors: NoSuchDomain.
        ///
        /// - `uuid`: With dashes or without.
        /// - `domain`: The domain.
        fn get_domain_by_uuid(&self, uuid: &str) -> Result<OwnedObjectPath>;

        /// All domains, with what a list of them shows, in one call.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `domains`: Of each domain, to everybody: name s, uuid s, title s, state s, state-reason s, persistent b, autostart b, pending-changes b, generation t, owner u, pid u, vcpus u, memory-bytes t, and started-usec t, when QEMU was started in microseconds since 1970, 0 while there is none. Of those that the caller may ask for their addresses without a prompt, its own or with org.warren1.domain.manage all: addresses aa{sv} as GetAddresses has them, graphics aa{sv} as GetInfo has them, and networks as, on which its NICs are.
        #[zbus(allow_interactive_auth)]
        fn list_domains(&self, options: Options<'_>) -> Result<HashMap<OwnedObjectPath, Map>>;

        /// All networks, with what a list of them shows, in one call.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `networks`: Of each network, to everybody: name s, uuid s, bridge s, forward-mode s, state s, state-reason s, persistent b, autostart b, pending-changes b, generation t, owner u, access s, warnings as. Of those whose leases the caller may ask for without a prompt: addresses as, those of its bridge, as in 192.168.122.1/24.
        #[zbus(allow_interactive_auth)]
        fn list_networks(&self, options: Options<'_>) -> Result<HashMap<OwnedObjectPath, Map>>;

        /// What this host has to offer. It waits until the service has looked at the host.
        ///
        /// - `host`: cpus u; memory-bytes t; emulators aa{sv}, each QEMU with path s, version s, arch s, machines as, machine-aliases a{ss}, default-machine s, cpu-models as and accelerators as; firmware aa{sv}, the first that fits goes first, each with path s, interfaces as, archs as, machines as (patterns), features as and with variables nvram-template s, in the words of QEMU's firmware.json; bridges as; interfaces as, the other NICs; firewall-backend s; warnings as, as in the property Warnings.
        fn get_host(&self) -> Result<Map>;

        /// What polkit would answer the caller for each action. Never prompts. read-secrets of a domain of the caller's own is answered as domain.manage-own, which is all that is needed there. Errors: NoSuchNetwork, NoSuchDomain.
        ///
        /// - `options`: object o: for a call on this network or domain, whose name and owner rules see. An unknown key is InvalidArgs.
        /// - `permissions`: From polkit action to "yes", "no" or "challenge".
        #[zbus(allow_interactive_auth)]
        fn get_permissions(&self, options: Options<'_>) -> Result<HashMap<String, String>>;

        /// NotSupported in this release. It will answer the statistics of all domains that the caller may see, in one call.
        ///
        /// - `groups`: Which statistics; none means all.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `stats`: From domain to its statistics, as in Domain.GetStats.
        #[zbus(allow_interactive_auth)]
        fn get_all_stats(
            &self,
            groups: &[&str],
            options: Options<'_>,
        ) -> Result<HashMap<OwnedObjectPath, Map>>;

        /// Admits the caller to unicast signals until it leaves the bus; the service stays as long. It is told only of objects that it could ask about without a prompt when it subscribed: own domains and those of others, shared networks and all networks, each by its polkit action. Calling it again adds topics and looks at these rights anew. Errors: InvalidArgs, NotSupported, LimitExceeded.
        ///
        /// - `topics`: leases: LeaseAdded and LeaseRemoved of networks; addresses: AddressesChanged of domains. The topics devices and console are NotSupported in this release.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn subscribe(&self, topics: &[&str], options: Options<'_>) -> Result<()>;

        /// Ends the signals of these topics for the caller.
        ///
        /// - `topics`: leases: LeaseAdded and LeaseRemoved of networks; addresses: AddressesChanged of domains. The topics devices and console are NotSupported in this release.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn unsubscribe(&self, topics: &[&str], options: Options<'_>) -> Result<()>;
    }
}

/// `org.warren1.Network`: the proxy, and what its signals carry.
pub mod network {
    use super::*;

    /// A virtual network: a bridge with its addresses, DHCP and DNS and its firewall rules.
    #[zbus::proxy(interface = "org.warren1.Network", default_service = "org.warren1")]
    pub trait Network {
        /// Unique on the host.
        #[zbus(property(emits_changed_signal = "const"))]
        fn name(&self) -> Result<String>;

        /// With dashes.
        #[zbus(property(emits_changed_signal = "const"))]
        fn uuid(&self) -> Result<String>;

        /// Name of the bridge; empty while none is chosen.
        #[zbus(property)]
        fn bridge(&self) -> Result<String>;

        /// isolated, nat, route, open, bridge, private, vepa, passthrough or hostdev.
        #[zbus(property)]
        fn forward_mode(&self) -> Result<String>;

        /// inactive, starting, active or stopping.
        #[zbus(property)]
        fn state(&self) -> Result<String>;

        /// One of none, requested, autostart, adopted, failed. The list is closed for this interface version. adopted: it was active when the service started; failed: it did not start, or was not stopped completely. What went wrong, in detail, is in GetInfo.
        #[zbus(property)]
        fn state_reason(&self) -> Result<String>;

        /// Its definition is on disk.
        #[zbus(property)]
        fn persistent(&self) -> Result<bool>;

        /// It is started once in each boot of the host.
        #[zbus(property)]
        fn autostart(&self) -> Result<bool>;

        /// It runs on an older definition than the stored one.
        #[zbus(property)]
        fn pending_changes(&self) -> Result<bool>;

        /// Number of changes of the definition, for if-generation.
        #[zbus(property)]
        fn generation(&self) -> Result<u64>;

        /// Uid of who defined it.
        #[zbus(property)]
        fn owner(&self) -> Result<u32>;

        /// Who may put a NIC on it: "admin" or "users".
        #[zbus(property)]
        fn access(&self) -> Result<String>;

        /// What is wrong with it while it runs, each with its remedy; and which of the host's settings differ while it runs.
        #[zbus(property)]
        fn warnings(&self) -> Result<Vec<String>>;

        /// Makes the bridge, the rules and the DHCP server. Errors: WrongState, AddressInUse, AlreadyExists (the bridge), NotSupported, BackendFailed, Timeout. A start that fails at any step undoes all earlier steps.
        ///
        /// - `options`: no-wait b: answer at once, with a Job. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn start(&self, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Takes all of it down again. Errors: WrongState; InUse, naming the guests on it.
        ///
        /// - `options`: force b: even with running guests on it; no-wait b: answer at once, with a Job. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn stop(&self, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Forgets the definition, on disk and here. What a stop could not remove is tried again first; while something of the network is left, it stays defined. Errors: WrongState, BackendFailed (what is left).
        ///
        /// - `options`: no-wait b: answer at once, with a Job. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn undefine(&self, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// The definition as written, plus what Warren completed.
        ///
        /// - `options`: live b: add run-time facts. An unknown key is InvalidArgs.
        /// - `xml`: In libvirt's XML.
        #[zbus(allow_interactive_auth)]
        fn get_xml(&self, options: Options<'_>) -> Result<String>;

        /// What a page about the network shows. For those who may read its definition, as GetXml.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `info`: failure s: what StateReason and Warnings are too short for, with all causes, empty where nothing failed; addresses as: the host's addresses on the network, each with its prefix, as it runs.
        #[zbus(allow_interactive_auth)]
        fn get_info(&self, options: Options<'_>) -> Result<Map>;

        /// The addresses that its DHCP server gave and that have not run out.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `leases`: Each: address s, prefix u (left out where it is not known), mac s, hostname s, client-id s, expires-usec t (since 1970; 0 without end), domain o, domain-name s, interface s; what is not known is empty, and domain then "/". The interface is the NIC's alias in the machine as it runs.
        #[zbus(allow_interactive_auth)]
        fn get_leases(&self, options: Options<'_>) -> Result<Vec<Map>>;

        /// Whether it is started once in each boot of the host. Errors: WrongState if it is transient.
        ///
        /// - `autostart`: Whether it is.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn set_autostart(&self, autostart: bool, options: Options<'_>) -> Result<()>;

        /// Who may put a NIC on it: administrators, or every user who has network.use. Errors: InvalidArgs.
        ///
        /// - `access`: "admin" or "users".
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn set_access(&self, access: &str, options: Options<'_>) -> Result<()>;

        /// NotSupported in this release. It will take the whole new definition of the network, live and stored, without cutting guests off.
        ///
        /// - `xml`: The whole new definition, in libvirt's XML.
        /// - `options`: dry-run b, if-generation t, rollback-after u (seconds, unless Confirm comes), apply s: live, config or both. An unknown key is InvalidArgs.
        /// - `result`: What was changed.
        #[zbus(allow_interactive_auth)]
        fn update(&self, xml: &str, options: Options<'_>) -> Result<Map>;

        /// NotSupported in this release. It will keep an update that was made with rollback-after.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn confirm(&self, options: Options<'_>) -> Result<()>;

        /// NotSupported in this release. It will change a part of the definition, as libvirt's sectioned update does.
        ///
        /// - `command`: modify, delete, add-last or add-first.
        /// - `section`: The part, by libvirt's word, as ip-dhcp-host.
        /// - `index`: Which of several <ip> elements; -1 for the one that fits.
        /// - `xml`: The element.
        /// - `options`: apply s: live, config or both. An unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn update_section(
            &self,
            command: &str,
            section: &str,
            index: i32,
            xml: &str,
            options: Options<'_>,
        ) -> Result<()>;

        /// NotSupported in this release. It will lead a port of the host to one of a guest.
        ///
        /// - `rule`: What is to be led where.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `id`: For RemovePortForward.
        #[zbus(allow_interactive_auth)]
        fn add_port_forward(&self, rule: Options<'_>, options: Options<'_>) -> Result<String>;

        /// NotSupported in this release. It will take such a rule away.
        ///
        /// - `id`: From AddPortForward.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn remove_port_forward(&self, id: &str, options: Options<'_>) -> Result<()>;

        /// NotSupported in this release. It will make a TAP on this network for a QEMU of the caller's own.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `port`: The TAP.
        /// - `facts`: Its name and MAC address.
        #[zbus(allow_interactive_auth)]
        fn open_port(&self, options: Options<'_>) -> Result<(OwnedFd, Map)>;

        /// Comes after the PropertiesChanged that it explains.
        ///
        /// - `new`: The state now.
        /// - `old`: The state before.
        /// - `reason`: As StateReason.
        #[zbus(signal, name = "StateChanged")]
        fn state_transition(&self, new: &str, old: &str, reason: &str) -> Result<()>;

        /// Unicast, to callers that Manager.Subscribe has admitted to the topic leases: a guest got an address, or has told another name. A renewal is no news.
        ///
        /// - `lease`: As in GetLeases.
        #[zbus(signal)]
        fn lease_added(&self, lease: Options<'_>) -> Result<()>;

        /// Unicast, as LeaseAdded: an address was given back or ran out, or the network was stopped.
        ///
        /// - `lease`: As in GetLeases.
        #[zbus(signal)]
        fn lease_removed(&self, lease: Options<'_>) -> Result<()>;
    }
}

/// `org.warren1.Domain`: the proxy, and what its signals carry.
pub mod domain {
    use super::*;

    /// A virtual machine.
    #[zbus::proxy(interface = "org.warren1.Domain", default_service = "org.warren1")]
    pub trait Domain {
        /// Unique for each owner.
        #[zbus(property(emits_changed_signal = "const"))]
        fn name(&self) -> Result<String>;

        /// With dashes.
        #[zbus(property(emits_changed_signal = "const"))]
        fn uuid(&self) -> Result<String>;

        /// As in the document, of at most 1024 bytes; may be empty.
        #[zbus(property)]
        fn title(&self) -> Result<String>;

        /// shutoff, starting, running, paused, pmsuspended, stopping or crashed.
        #[zbus(property)]
        fn state(&self) -> Result<String>;

        /// One of none, requested, autostart, adopted, failed, shutdown, reboot, guest, halted, resumed, panicked, disk-full, io-error. The list is closed for this interface version. adopted: it was running when the service started; failed: it did not start, or QEMU ended by itself; shutdown, reboot: the guest switched itself off, or restarted itself; guest: the guest went to sleep; panicked: the guest's kernel reported a panic; disk-full, io-error: QEMU halted the guest, since a disk has no space left, or cannot be read or written. What went wrong, in detail, is in GetInfo.
        #[zbus(property)]
        fn state_reason(&self) -> Result<String>;

        /// Its definition is on disk.
        #[zbus(property)]
        fn persistent(&self) -> Result<bool>;

        /// It is started once in each boot of the host.
        #[zbus(property)]
        fn autostart(&self) -> Result<bool>;

        /// It runs on an older definition than the stored one.
        #[zbus(property)]
        fn pending_changes(&self) -> Result<bool>;

        /// Number of changes of the definition, for if-generation.
        #[zbus(property)]
        fn generation(&self) -> Result<u64>;

        /// Uid of who defined it, and with whose rights its files are opened.
        #[zbus(property)]
        fn owner(&self) -> Result<u32>;

        /// QEMU's process; 0 when off.
        #[zbus(property)]
        fn pid(&self) -> Result<u32>;

        /// Number of CPUs.
        #[zbus(property)]
        fn vcpus(&self) -> Result<u32>;

        /// Memory in bytes.
        #[zbus(property)]
        fn memory_bytes(&self) -> Result<u64>;

        /// What it is made of, as it runs, and what went wrong.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `info`: interfaces aa{sv} in the order of the document (mac, type, network, target: the TAP, alias, model, link), disks aa{sv}, graphics aa{sv} (type; address and port of one on TCP; socket: the path of one that is a Unix socket, of a running guest; OpenGraphics connects to either), consoles aa{sv}: serial and parallel ports, consoles and channels (alias, type, source, name of a channel, port); failure s: what StateReason is too short for, with all causes, empty where nothing failed.
        #[zbus(allow_interactive_auth)]
        fn get_info(&self, options: Options<'_>) -> Result<Map>;

        /// Done when the guest's CPUs run. Names of TAPs that an ordinary user must not write (in system scope all but wt-*) need host-access of the caller; without it the start is InvalidConfig. Errors: WrongState, InvalidConfig, InUse, NoSuchNetwork, AddressInUse, NotSupported, BackendFailed, Timeout. A start that fails at any step undoes all earlier steps.
        ///
        /// - `options`: paused b: leave the CPUs stopped; start-networks b: start the inactive networks that it needs (default true); files a{sh}: NotSupported in this release; no-wait b: answer at once, with a Job. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn start(&self, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Switches it off; done when QEMU is gone. Errors: WrongState.
        ///
        /// - `options`: graceful b: let QEMU write what it has in its caches; no-wait b: answer at once, with a Job. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn stop(&self, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Forgets the definition, on disk and here. What the end of its guest could not remove is tried again first; while something of it is left, the domain stays defined. Errors: WrongState, BackendFailed (what is left).
        ///
        /// - `options`: no-wait b: answer at once, with a Job. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn undefine(&self, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// Asks the guest to shut down, and answers when it was asked; what the guest does is a StateChanged. Errors: WrongState.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn shutdown(&self, options: Options<'_>) -> Result<()>;

        /// Asks the guest to reboot, as Shutdown does.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn reboot(&self, options: Options<'_>) -> Result<()>;

        /// Presses the reset button. Errors: WrongState.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn reset(&self, options: Options<'_>) -> Result<()>;

        /// Stops the CPUs. Errors: WrongState.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn suspend(&self, options: Options<'_>) -> Result<()>;

        /// Lets stopped CPUs go on. Errors: WrongState.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn resume(&self, options: Options<'_>) -> Result<()>;

        /// The definition as written, plus what Warren completed. Passwords of displays and cookies of web disks are left out, unless they are asked for by one who may read them: the owner, and others by the polkit action org.warren1.read-secrets.
        ///
        /// - `options`: live b: add run-time facts; secrets b: with passwords. An unknown key is InvalidArgs.
        /// - `xml`: In libvirt's XML.
        #[zbus(allow_interactive_auth)]
        fn get_xml(&self, options: Options<'_>) -> Result<String>;

        /// Whether it is started once in each boot of the host. Its owner must then have the right to its networks: root, who owns a network, and everybody where Access is "users". Errors: WrongState if it is transient.
        ///
        /// - `autostart`: Whether it is.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn set_autostart(&self, autostart: bool, options: Options<'_>) -> Result<()>;

        /// Connects to a console: a device of source pty. Errors: WrongState, NoSuchDevice, LimitExceeded.
        ///
        /// - `options`: device s: alias of the console (default: the first); force b: cut off those who have it open. An unknown key is InvalidArgs.
        /// - `console`: A stream socket: first what the console printed last, at most 64 KiB, then what it prints; what is written to it goes to the guest.
        #[zbus(allow_interactive_auth)]
        fn open_console(&self, options: Options<'_>) -> Result<OwnedFd>;

        /// The addresses of its NICs on networks, as its networks know them: by the leases of their DHCP servers, and by the host's table of neighbours. The guest's agent is not asked in this release. Of a domain that is off none. A lease of an earlier run is stale until the guest asks for the address again, or answers for it.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `addresses`: Each: address s, prefix u (left out where it is not known), mac s, interface s (the NIC's alias in the machine as it runs, as net0), source s: lease or arp, stale b.
        #[zbus(allow_interactive_auth)]
        fn get_addresses(&self, options: Options<'_>) -> Result<Vec<Map>>;

        /// Connects to a display of a running guest. The display's own password is not asked for, since the caller was authorised. Errors: WrongState, NoSuchDevice, LimitExceeded, Timeout, BackendFailed.
        ///
        /// - `options`: device s: vnc or spice (default: the first that the guest has). An unknown key is InvalidArgs.
        /// - `display`: A stream socket that speaks the display's protocol, RFB or SPICE.
        #[zbus(allow_interactive_auth)]
        fn open_graphics(&self, options: Options<'_>) -> Result<OwnedFd>;

        /// NotSupported in this release. It will add a device to the definition, to the running guest, or both.
        ///
        /// - `xml`: The device's element, in libvirt's XML.
        /// - `options`: apply s: live, config or both. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn attach_device(&self, xml: &str, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// NotSupported in this release. It will take a device away.
        ///
        /// - `xml`: The device's element, in libvirt's XML.
        /// - `options`: apply s: live, config or both. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn detach_device(&self, xml: &str, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// NotSupported in this release. It will change a device.
        ///
        /// - `xml`: The device's element, in libvirt's XML.
        /// - `options`: apply s: live, config or both. An unknown key is InvalidArgs.
        /// - `job`: "/" when all is done, else the Job that goes on.
        #[zbus(allow_interactive_auth)]
        fn update_device(&self, xml: &str, options: Options<'_>) -> Result<OwnedObjectPath>;

        /// NotSupported in this release. It will answer statistics of the guest.
        ///
        /// - `groups`: Which statistics; none means all.
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        /// - `stats`: A dictionary for each group.
        #[zbus(allow_interactive_auth)]
        fn get_stats(&self, groups: &[&str], options: Options<'_>) -> Result<Map>;

        /// Comes after the PropertiesChanged that it explains.
        ///
        /// - `new`: The state now.
        /// - `old`: The state before.
        /// - `reason`: As StateReason.
        #[zbus(signal, name = "StateChanged")]
        fn state_transition(&self, new: &str, old: &str, reason: &str) -> Result<()>;

        /// Unicast, to callers that Manager.Subscribe has admitted to the topic addresses: the guest got an address by DHCP or lost one, or has shown itself for the first time since it was started.
        ///
        /// - `addresses`: All that it has now, as in GetAddresses.
        #[zbus(signal)]
        fn addresses_changed(&self, addresses: Vec<Options<'_>>) -> Result<()>;

        /// Unicast, for the topic devices. It is never sent in this release, in which devices of a running guest cannot change.
        ///
        /// - `alias`: The device's alias.
        #[zbus(signal)]
        fn device_added(&self, alias: &str) -> Result<()>;

        /// Unicast, for the topic devices. It is never sent in this release, in which devices of a running guest cannot change.
        ///
        /// - `alias`: The device's alias.
        #[zbus(signal)]
        fn device_removed(&self, alias: &str) -> Result<()>;
    }
}

/// `org.warren1.Job`: the proxy, and what its signals carry.
pub mod job {
    use super::*;

    /// What goes on after the call that began it was answered. The object goes a minute after its end; its number is never used again within a boot.
    #[zbus::proxy(interface = "org.warren1.Job", default_service = "org.warren1")]
    pub trait Job {
        /// What is done, by the name of the method.
        #[zbus(property(emits_changed_signal = "const"))]
        fn operation(&self) -> Result<String>;

        /// To what it is done.
        #[zbus(property(emits_changed_signal = "const"))]
        fn object(&self) -> Result<OwnedObjectPath>;

        /// running, completed, failed or cancelled.
        #[zbus(property)]
        fn state(&self) -> Result<String>;

        /// From 0 to 1; -1 where it is not known.
        #[zbus(property)]
        fn progress(&self) -> Result<f64>;

        /// Asks to undo what was begun; the answer is the Completed signal. Errors: WrongState if it has ended, NotSupported.
        ///
        /// - `options`: No option is known yet; an unknown key is InvalidArgs.
        #[zbus(allow_interactive_auth)]
        fn cancel(&self, options: Options<'_>) -> Result<()>;

        /// The end of the job: its state, and for one that failed the name and message of the error that a call would have got. All hear it once, with no more in the message than what is public; who has begun a job that failed hears it before that too, with the whole message, by a signal to its connection alone.
        ///
        /// - `state`: completed, failed or cancelled.
        /// - `error_name`: The error's name; empty unless it failed.
        /// - `message`: The error's message; empty unless it failed.
        #[zbus(signal)]
        fn completed(&self, state: &str, error_name: &str, message: &str) -> Result<()>;
    }
}
