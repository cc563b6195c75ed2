//! `org.warren1.Network`: one virtual network.

use std::sync::Arc;

use zbus::OwnedObjectPath;
use zbus::interface;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use super::dict::{Dict, dict};
use super::error::Error;
use super::options::{Given, Options};
use super::paths;
use super::service::Service;
use crate::manager::{self, Object};
use crate::network::{Handle, View};
use crate::sys::dnsmasq::Lease;

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
        operation: &'static str,
        no_wait: bool,
        work: impl Future<Output = Result<(), manager::Error>> + Send + 'static,
    ) -> Result<OwnedObjectPath, Error> {
        let object = Object::Network(self.network.uuid());
        self.service.work(operation, object, no_wait, None, work).await
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
        self.view().reason.clone()
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
        self.work("Start", no_wait, async move { Ok(network.start("requested").await?) }).await
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
        self.work("Stop", no_wait, async move { Ok(network.stop(force).await?) }).await
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
        self.work("Undefine", no_wait, async move { manager.undefine_network(&uuid).await }).await
    }

    #[zbus(out_args("xml"))]
    async fn get_xml(&self, options: Given, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let call = self.service.call(&header).await?;
        call.may_read_network(&self.network).await?;
        let live = Options::only_flag(options, "live")?;
        Ok(self.network.document(live).await?.to_xml())
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
        let doc = self.network.document(true).await?;
        let prefix = |lease: &Lease| {
            let nets = doc.def().ips.iter().filter_map(|ip| ip.net);
            nets.filter(|net| net.contains(&lease.address)).map(|net| net.prefix_len()).next().unwrap_or(0)
        };
        Ok(leases.iter().map(|lease| self.lease(lease, prefix(lease))).collect())
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

    // Not `state_changed`, which is the name that the property takes.
    #[zbus(signal, name = "StateChanged")]
    pub(super) async fn state_entered(
        emitter: &SignalEmitter<'_>,
        new: &str,
        old: &str,
        reason: &str,
    ) -> zbus::Result<()>;
}

impl NetworkInterface {
    fn lease(&self, lease: &Lease, prefix: u8) -> Dict {
        let (domain, interface) = self.service.manager.nic_of(&lease.mac);
        dict([
            ("address", lease.address.to_string().into()),
            ("prefix", u32::from(prefix).into()),
            ("mac", lease.mac.clone().into()),
            ("hostname", lease.hostname.clone().unwrap_or_default().into()),
            ("client-id", lease.client_id.clone().unwrap_or_default().into()),
            ("expires-usec", lease.expires_usec.into()),
            ("domain", domain.map_or_else(paths::done, |uuid| paths::domain(&uuid)).into_inner().into()),
            ("interface", interface.into()),
        ])
    }
}
