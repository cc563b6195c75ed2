//! `org.warren1.Network`: one virtual network.

use std::sync::Arc;

use zbus::interface;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedFd, OwnedObjectPath};

use super::dict::{Dict, dict};
use super::error::Error;
use super::options::{Given, Options};
use super::paths;
use super::service::{Call, Service};
use crate::manager::{self, Object};
use crate::network::{Handle, NetworkLease, View};
use crate::reason::Reason;

/// One network on the bus.
#[derive(Debug)]
pub(super) struct NetworkInterface {
    service: Arc<Service>,
    network: Handle,
}

impl NetworkInterface {
    pub(super) fn new(service: Arc<Service>, network: Handle) -> Self {
        Self { service, network }
    }

    fn view(&self) -> Arc<View> {
        self.network.view()
    }

    async fn work(
        &self,
        call: &Call<'_>,
        operation: &'static str,
        no_wait: bool,
        work: impl Future<Output = Result<(), manager::Error>> + Send + 'static,
    ) -> Result<OwnedObjectPath, Error> {
        let object = Object::Network(self.network.uuid());
        call.work(operation, object, no_wait, None, work).await
    }

    /// The answer to what the contract names and this version cannot do, for those who may ask for it.
    async fn not_yet<T>(&self, what: &str, _unread: impl Send, header: &Header<'_>) -> Result<T, Error> {
        let call = self.service.call(header).await?;
        call.may_manage_network(&self.network).await?;
        Err(Error::not_yet(what))
    }
}

#[interface(name = "org.warren1.Network", introspection_docs = false)]
impl NetworkInterface {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.view().name.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn uuid(&self) -> String {
        self.view().uuid.to_string()
    }

    #[zbus(property)]
    fn bridge(&self) -> String {
        self.view().bridge.clone()
    }

    #[zbus(property)]
    fn forward_mode(&self) -> String {
        self.view().forward_mode.clone()
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
    fn access(&self) -> String {
        self.view().access.clone()
    }

    #[zbus(property)]
    fn warnings(&self) -> Vec<String> {
        self.view().warnings.clone()
    }

    #[zbus(out_args("info"))]
    async fn get_info(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<Dict, Error> {
        let call = self.service.call(&header).await?;
        call.may_read_network(&self.network).await?;
        Options::none(options)?;
        let info = self.network.info().await?;
        let addresses: Vec<_> = info.addresses.iter().map(ToString::to_string).collect();
        Ok(dict([("failure", info.failure.into()), ("addresses", addresses.into())]))
    }

    #[zbus(out_args("job"))]
    async fn start(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_network(&self.network).await?;
        let no_wait = Options::only_flag(options, "no-wait")?;
        let network = self.network.clone();
        self.work(&call, "Start", no_wait, async move { Ok(network.start(Reason::Requested).await?) }).await
    }

    #[zbus(out_args("job"))]
    async fn stop(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_network(&self.network).await?;
        let mut options = Options::new(options);
        let (no_wait, force) = (options.flag("no-wait")?, options.flag("force")?);
        options.end()?;
        let network = self.network.clone();
        self.work(&call, "Stop", no_wait, async move { Ok(network.stop(force).await?) }).await
    }

    #[zbus(out_args("job"))]
    async fn undefine(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_network(&self.network).await?;
        let no_wait = Options::only_flag(options, "no-wait")?;
        let (manager, uuid) = (self.service.manager.clone(), self.network.uuid());
        self.work(&call, "Undefine", no_wait, async move { manager.undefine_network(&uuid).await }).await
    }

    #[zbus(out_args("xml"))]
    async fn get_xml(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let call = self.service.call(&header).await?;
        call.may_read_network(&self.network).await?;
        let live = Options::only_flag(options, "live")?;
        let text = self.network.xml(live, call.caller.uid).await?;
        call.answers_with(&header, text.len())?;
        Ok(text)
    }

    #[zbus(out_args("leases"))]
    async fn get_leases(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<Dict>, Error> {
        let call = self.service.call(&header).await?;
        call.may_read_network(&self.network).await?;
        Options::none(options)?;
        let leases = self.network.leases().await?;
        Ok(leases.iter().map(|l| lease(&self.service, l)).collect())
    }

    #[zbus(out_args("result"))]
    async fn update(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, Error> {
        self.not_yet("live changes of a network", (xml, options), &header).await
    }

    async fn confirm(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.not_yet("live changes of a network", options, &header).await
    }

    async fn update_section(
        &self,
        command: String,
        section: String,
        index: i32,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.not_yet("live changes of a network", (command, section, index, xml, options), &header).await
    }

    #[zbus(out_args("id"))]
    async fn add_port_forward(
        &self,
        rule: Given,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, Error> {
        self.not_yet("forwarding of ports", (rule, options), &header).await
    }

    async fn remove_port_forward(
        &self,
        id: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.not_yet("forwarding of ports", (id, options), &header).await
    }

    #[zbus(out_args("port", "facts"))]
    async fn open_port(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, Dict), Error> {
        self.not_yet("ports for a QEMU of one's own", options, &header).await
    }

    async fn set_autostart(
        &self,
        autostart: bool,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_network(&self.network).await?;
        Options::none(options)?;
        self.network.set_autostart(autostart).await?;
        self.service.manager.told().await;
        Ok(())
    }

    async fn set_access(
        &self,
        access: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let call = self.service.call(&header).await?;
        call.may_manage_network(&self.network).await?;
        Options::none(options)?;
        if !matches!(access.as_str(), "admin" | "users") {
            return Err(Error::invalid_args(format!("the access is 'admin' or 'users', not '{access}'")));
        }
        self.network.set_access(access).await?;
        self.service.manager.told().await;
        Ok(())
    }

    #[zbus(signal)]
    pub(super) async fn lease_added(emitter: &SignalEmitter<'_>, lease: Dict) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn lease_removed(emitter: &SignalEmitter<'_>, lease: Dict) -> zbus::Result<()>;

    // Not `state_changed`, which is the name that the property takes.
    #[zbus(signal, name = "StateChanged")]
    pub(super) async fn state_entered(
        emitter: &SignalEmitter<'_>,
        new: &str,
        old: &str,
        reason: &str,
    ) -> zbus::Result<()>;
}

/// As `GetLeases`, `LeaseAdded` and `LeaseRemoved` tell it.
pub(super) fn lease(service: &Service, of: &NetworkLease) -> Dict {
    let NetworkLease { lease, prefix, .. } = of;
    let nic = service.manager.nic_of(&lease.mac);
    let domain = nic.as_ref().map_or_else(paths::done, |nic| paths::domain(&nic.domain));
    let (name, interface) = nic.map_or_else(Default::default, |nic| (nic.name, nic.alias));
    let mut known = dict([
        ("address", lease.address.to_string().into()),
        ("mac", lease.mac.clone().into()),
        ("hostname", lease.hostname.clone().unwrap_or_default().into()),
        ("client-id", lease.client_id.clone().unwrap_or_default().into()),
        ("expires-usec", lease.expires_usec.into()),
        ("domain", domain.into_inner().into()),
        ("domain-name", name.into()),
        ("interface", interface.into()),
    ]);
    if *prefix > 0 {
        known.extend(dict([("prefix", u32::from(*prefix).into())]));
    }
    known
}
