//! `org.warren1.Domain`: one virtual machine.

use std::sync::Arc;

use zbus::OwnedObjectPath;
use zbus::interface;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use super::descriptor::Descriptor;
use super::dict::{Dict, dict, list};
use super::error::Error;
use super::options::{Given, Options};
use super::service::{Call, Service};
use crate::domain::{Command, GraphicsInfo, Handle, Info, NetworkRights, StartOptions, View};
use crate::manager::{self, GuestAddress, Object};
use crate::model::DomainDoc;
use crate::plan::{privileges, taps};
use crate::reason::Reason;

/// One domain on the bus.
#[derive(Debug)]
pub(super) struct DomainInterface {
    service: Arc<Service>,
    domain: Handle,
}

impl DomainInterface {
    pub(super) fn new(service: Arc<Service>, domain: Handle) -> Self {
        Self { service, domain }
    }

    fn view(&self) -> Arc<View> {
        self.domain.view()
    }

    async fn work(
        &self,
        call: &Call<'_>,
        operation: &'static str,
        no_wait: bool,
        work: impl Future<Output = Result<(), manager::Error>> + Send + 'static,
    ) -> Result<OwnedObjectPath, Error> {
        let object = Object::Domain(self.domain.uuid());
        let cancel = (operation == "Start").then(|| self.domain.clone());
        call.work(operation, object, no_wait, cancel, work).await
    }

    /// The answer to what the contract names and this version cannot do, for those who may ask for it.
    async fn not_yet<T>(&self, what: &str, _unread: impl Send, header: &Header<'_>) -> Result<T, Error> {
        let call = self.service.call(header).await?;
        call.may_manage_domain(&self.domain).await?;
        Err(Error::not_yet(what))
    }

    async fn command(&self, command: Command, options: Given, header: &Header<'_>) -> Result<(), Error> {
        let call = self.service.call(header).await?;
        call.may_manage_domain(&self.domain).await?;
        Options::none(options)?;
        let result = self.domain.command(command).await;
        self.service.manager.told().await;
        Ok(result?)
    }
}

#[interface(name = "org.warren1.Domain", introspection_docs = false)]
impl DomainInterface {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.view().name.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn uuid(&self) -> String {
        self.view().uuid.to_string()
    }

    #[zbus(property)]
    fn title(&self) -> String {
        self.view().title.clone()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.view().state.as_str().to_owned()
    }

    #[zbus(property)]
    fn state_reason(&self) -> String {
        self.view().reason.as_str().to_owned()
    }

    #[zbus(property)]
    fn persistent(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn autostart(&self) -> bool {
        self.view().autostart
    }

    #[zbus(property)]
    fn pending_changes(&self) -> bool {
        self.view().pending_changes
    }

    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.view().generation
    }

    #[zbus(property)]
    fn owner(&self) -> u32 {
        self.view().owner
    }

    #[zbus(property)]
    fn pid(&self) -> u32 {
        self.view().pid
    }

    #[zbus(property)]
    fn vcpus(&self) -> u32 {
        self.view().vcpus
    }

    #[zbus(property)]
    fn memory_bytes(&self) -> u64 {
        self.view().memory_bytes
    }

    #[zbus(out_args("info"))]
    async fn get_info(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<Dict, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        Options::none(options)?;
        Ok(info(self.domain.info(call.caller.uid).await?))
    }

    #[zbus(out_args("job"))]
    async fn start(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        let mut options = Options::new(options);
        let no_wait = options.flag("no-wait")?;
        let files = options.is_given("files");
        let (paused, start_networks) = (options.flag("paused")?, options.flag_or_true("start-networks")?);
        options.end()?;
        if files {
            return Err(Error::not_yet("the option 'files'"));
        }
        // What a network allows may have changed since the definition was taken.
        let wanted = |doc: &DomainDoc| (privileges::networks(doc.def()), taps::beyond_prefix(doc.def()));
        let ((networks, places), edition) = self.domain.judge(call.caller.uid, wanted).await?;
        // A person may take minutes to answer: what networks allow is looked at last.
        let naming = call.naming(&self.view().name, self.view().owner, &places).await?;
        call.may_use_networks(&networks).await?;
        let start = StartOptions {
            paused,
            start_networks,
            network_rights: NetworkRights::Checked,
            reason: Reason::Requested,
            judged: Some(edition),
            naming,
        };
        let domain = self.domain.clone();
        self.work(&call, "Start", no_wait, async move { Ok(domain.start(start).await?) }).await
    }

    #[zbus(out_args("job"))]
    async fn stop(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        let mut options = Options::new(options);
        let (no_wait, graceful) = (options.flag("no-wait")?, options.flag("graceful")?);
        options.end()?;
        let domain = self.domain.clone();
        self.work(&call, "Stop", no_wait, async move { Ok(domain.stop(graceful).await?) }).await
    }

    #[zbus(out_args("job"))]
    async fn undefine(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        let no_wait = Options::only_flag(options, "no-wait")?;
        let (manager, uuid) = (self.service.manager.clone(), self.domain.uuid());
        self.work(&call, "Undefine", no_wait, async move { manager.undefine_domain(&uuid).await }).await
    }

    async fn shutdown(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.command(Command::Shutdown, options, &header).await
    }

    async fn reboot(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.command(Command::Reboot, options, &header).await
    }

    async fn reset(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.command(Command::Reset, options, &header).await
    }

    async fn suspend(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.command(Command::Suspend, options, &header).await
    }

    async fn resume(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.command(Command::Resume, options, &header).await
    }

    #[zbus(out_args("xml"))]
    async fn get_xml(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        let mut options = Options::new(options);
        let (live, secrets) = (options.flag("live")?, options.flag("secrets")?);
        options.end()?;
        let xml = self.domain.xml(live, call.caller.uid).await?;
        let text = match xml.whole.filter(|_| secrets) {
            None => xml.public,
            Some(whole) => {
                call.may_read_secrets(&self.domain).await?;
                whole
            }
        };
        call.answers_with(&header, text.len())?;
        Ok(text)
    }

    async fn set_autostart(
        &self,
        autostart: bool,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        Options::none(options)?;
        self.domain.set_autostart(autostart).await?;
        self.service.manager.told().await;
        Ok(())
    }

    #[zbus(out_args("console"))]
    async fn open_console(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Descriptor, Error> {
        let call = self.service.call(&header).await?;
        call.may_use_console(&self.domain).await?;
        let mut options = Options::new(options);
        let (device, force) = (options.text("device")?, options.flag("force")?);
        options.end()?;
        Descriptor::new(self.domain.open_console(device, force, call.caller.uid).await?)
    }

    #[zbus(out_args("display"))]
    async fn open_graphics(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Descriptor, Error> {
        let call = self.service.call(&header).await?;
        call.may_use_console(&self.domain).await?;
        let mut options = Options::new(options);
        let device = options.text("device")?;
        options.end()?;
        Descriptor::new(self.domain.open_graphics(device, call.caller.uid).await?)
    }

    #[zbus(out_args("addresses"))]
    async fn get_addresses(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<Dict>, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_domain(&self.domain).await?;
        Options::none(options)?;
        let found = self.service.manager.addresses(&self.domain, call.caller.uid).await?;
        Ok(found.iter().map(address).collect())
    }

    #[zbus(out_args("job"))]
    async fn attach_device(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.not_yet("adding a device to a domain", (xml, options), &header).await
    }

    #[zbus(out_args("job"))]
    async fn detach_device(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.not_yet("taking a device from a domain", (xml, options), &header).await
    }

    #[zbus(out_args("job"))]
    async fn update_device(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.not_yet("changing a device of a domain", (xml, options), &header).await
    }

    #[zbus(out_args("stats"))]
    async fn get_stats(
        &self,
        groups: Vec<String>,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, Error> {
        self.not_yet("statistics of domains", (groups, options), &header).await
    }

    #[zbus(signal)]
    pub(super) async fn addresses_changed(
        emitter: &SignalEmitter<'_>,
        addresses: Vec<Dict>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn device_added(emitter: &SignalEmitter<'_>, alias: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn device_removed(emitter: &SignalEmitter<'_>, alias: &str) -> zbus::Result<()>;

    // Not `state_changed`, which is the name that the property takes.
    #[zbus(signal, name = "StateChanged")]
    pub(super) async fn state_entered(
        emitter: &SignalEmitter<'_>,
        new: &str,
        old: &str,
        reason: &str,
    ) -> zbus::Result<()>;
}

/// As `GetAddresses` and `AddressesChanged` tell it.
pub(super) fn address(address: &GuestAddress) -> Dict {
    let prefix = address.prefix.map(|prefix| ("prefix", u32::from(prefix).into()));
    let mut known = dict([
        ("address", address.address.to_string().into()),
        ("mac", address.mac.to_string().into()),
        ("interface", address.interface.clone().into()),
        ("source", address.source.as_str().into()),
        ("stale", address.stale.into()),
    ]);
    known.extend(prefix.into_iter().flat_map(|prefix| dict([prefix])));
    known
}

/// A display, as `GetInfo` and `ListDomains` tell it.
pub(super) fn graphics(graphics: GraphicsInfo) -> Dict {
    dict([
        ("type", graphics.kind.into()),
        ("address", graphics.address.into()),
        ("port", graphics.port.into()),
        ("socket", graphics.socket.into()),
    ])
}

fn info(info: Info) -> Dict {
    let interfaces = info.interfaces.into_iter().map(|nic| {
        dict([
            ("mac", nic.mac.into()),
            ("type", nic.kind.into()),
            ("network", nic.network.into()),
            ("target", nic.target.into()),
            ("alias", nic.alias.into()),
            ("model", nic.model.into()),
            ("link", nic.link.into()),
        ])
    });
    let disks = info.disks.into_iter().map(|disk| {
        dict([
            ("target", disk.target.into()),
            ("source", disk.source.into()),
            ("format", disk.format.into()),
            ("readonly", disk.readonly.into()),
        ])
    });
    let graphics = info.graphics.into_iter().map(graphics);
    let consoles = info.consoles.into_iter().map(|console| {
        dict([
            ("alias", console.alias.into()),
            ("type", console.kind.into()),
            ("source", console.source.into()),
            ("name", console.name.into()),
            ("port", console.port.into()),
        ])
    });
    dict([
        ("interfaces", list(interfaces.collect())),
        ("disks", list(disks.collect())),
        ("graphics", list(graphics.collect())),
        ("consoles", list(consoles.collect())),
        ("failure", info.failure.into()),
    ])
}
