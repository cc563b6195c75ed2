//! `org.warren1.Manager`: the service as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use zbus::OwnedObjectPath;
use zbus::interface;
use zbus::message::Header;

use super::dict::{Dict, dict, list};
use super::error::Error;
use super::lists;
use super::options::{Given, Options};
use super::paths;
use super::service::Service;
use super::subscribe::Topic;
use crate::domain::{NetworkRights, StartOptions};
use crate::manager::{self, DefineOptions, Object, Reading, Report};
use crate::model::{DocError, Finding};
use crate::plan::taps::Naming;
use crate::reason::Reason;

/// What this service can do beyond the first release, one word each.
const FEATURES: [&str; 0] = [];

/// The root object.
#[derive(Debug)]
pub(super) struct ManagerInterface {
    service: Arc<Service>,
}

impl ManagerInterface {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service }
    }
}

/// The options of a definition.
fn define_options(given: Given) -> Result<(DefineOptions, bool), Error> {
    let mut options = Options::new(given);
    let (if_generation, dry_run) = (options.number("if-generation")?, options.flag("dry-run")?);
    let define = DefineOptions { if_generation, dry_run, keep_secrets: false };
    let (start, transient) = (options.flag("start")?, options.flag("transient")?);
    options.end()?;
    if transient {
        return Err(Error::not_supported(
            "transient objects cannot be had yet; define, and undefine in the end",
        ));
    }
    Ok((define, start))
}

fn uuid(text: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::invalid_args(format!("'{text}' is not a UUID")))
}

#[interface(name = "org.warren1.Manager", introspection_docs = false)]
impl ManagerInterface {
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn features(&self) -> Vec<String> {
        FEATURES.iter().map(ToString::to_string).collect()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn scope(&self) -> String {
        self.service.manager.scope().kind.as_str().to_owned()
    }

    #[zbus(property)]
    fn warnings(&self) -> Vec<String> {
        self.service.host.warnings()
    }

    #[zbus(out_args("object"))]
    async fn define_network(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_define_network().await?;
        let (options, start) = define_options(options)?;
        let manager = &self.service.manager;
        let by = call.caller.uid;
        let draft = manager.read_network(xml, Reading::Strict, by).await?;
        if let Some(other) = &draft.replaced {
            call.may_manage_network(other).await?;
        }
        call.network_may_have(draft.name.as_str(), &draft.needs).await?;
        let defined = manager.define_network(draft, by, options).await;
        manager.told().await;
        let Some(uuid) = defined? else { return Ok(paths::done()) };
        if start {
            let network = manager.network(&uuid)?;
            let work = async move { Ok(network.ensure_active().await?) };
            call.work("Start", Object::Network(uuid), false, None, work).await?;
        }
        Ok(paths::network(&uuid))
    }

    #[zbus(out_args("object"))]
    async fn define_domain(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        call.may_define_domain().await?;
        let (mut options, start) = define_options(options)?;
        let manager = &self.service.manager;
        let by = call.caller.uid;
        let draft = manager.read_domain(xml, Reading::Strict, by).await?;
        if let Some(other) = &draft.replaced {
            call.may_manage_domain(other).await?;
            options.keep_secrets = !call.reads_secrets(other).await?;
        }
        let owner = draft.replaced.as_ref().map_or(by, |d| d.view().owner);
        let (name, places) = (draft.name.as_str(), &draft.beyond_prefix);
        call.may_have(name, owner, &draft.needs).await?;
        let naming = if start { call.naming(name, owner, places).await? } else { Naming::Prefixed };
        let defined = manager.define_domain(draft, owner, by, options).await;
        manager.told().await;
        let Some((uuid, edition)) = defined? else { return Ok(paths::done()) };
        if start {
            let domain = manager.domain(&uuid)?;
            let cancel = Some(domain.clone());
            let start = StartOptions {
                paused: false,
                start_networks: true,
                network_rights: NetworkRights::Checked,
                reason: Reason::Requested,
                judged: Some(edition),
                naming,
            };
            let work = async move { Ok(domain.start(start).await?) };
            call.work("Start", Object::Domain(uuid), false, cancel, work).await?;
        }
        Ok(paths::domain(&uuid))
    }

    #[zbus(out_args("report"))]
    async fn check_network(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, Error> {
        let call = self.service.call(&header).await?;
        call.may_define_network().await?;
        Options::none(options)?;
        let (manager, by) = (&self.service.manager, call.caller.uid);
        let report = match manager.read_network(xml, Reading::WithErrors, by).await {
            Ok(draft) => manager.check_network(draft, by).await?,
            Err(manager::Error::Document(DocError::Config(findings))) => {
                Report { findings, ..Report::default() }
            }
            Err(e) => return Err(e.into()),
        };
        Ok(dict([
            ("findings", findings(report.findings)),
            ("dnsmasq", report.dnsmasq.into()),
            ("ruleset", report.ruleset.into()),
        ]))
    }

    #[zbus(out_args("report"))]
    async fn check_domain(
        &self,
        xml: String,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, Error> {
        let call = self.service.call(&header).await?;
        call.may_define_domain().await?;
        Options::none(options)?;
        let (manager, by) = (&self.service.manager, call.caller.uid);
        let report = match manager.read_domain(xml, Reading::WithErrors, by).await {
            Ok(draft) => {
                if let Some(other) = &draft.replaced {
                    call.may_manage_domain(other).await?;
                }
                let owner = draft.replaced.as_ref().map_or(by, |d| d.view().owner);
                call.may_have(draft.name.as_str(), owner, &draft.needs).await?;
                let naming = call.naming_for_a_look(owner, &draft.beyond_prefix).await?;
                manager.check_domain(draft, by, naming).await?
            }
            Err(manager::Error::Document(DocError::Config(findings))) => {
                Report { findings, ..Report::default() }
            }
            Err(e) => return Err(e.into()),
        };
        Ok(dict([
            ("findings", findings(report.findings)),
            ("argv", report.argv.into()),
            ("options", report.options.into()),
            ("qmp", report.qmp.into()),
        ]))
    }

    #[zbus(out_args("network"))]
    async fn get_network_by_name(
        &self,
        name: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let _call = self.service.call(&header).await?;
        Ok(paths::network(&self.service.manager.network_by_name(&name)?.uuid()))
    }

    #[zbus(out_args("network"))]
    async fn get_network_by_uuid(
        &self,
        uuid: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let _call = self.service.call(&header).await?;
        Ok(paths::network(&self.service.manager.network(&self::uuid(&uuid)?)?.uuid()))
    }

    #[zbus(out_args("domain"))]
    async fn get_domain_by_name(
        &self,
        name: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let call = self.service.call(&header).await?;
        Ok(paths::domain(&self.service.manager.domain_by_name(&name, call.caller.uid)?.uuid()))
    }

    #[zbus(out_args("domain"))]
    async fn get_domain_by_uuid(
        &self,
        uuid: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        let _call = self.service.call(&header).await?;
        Ok(paths::domain(&self.service.manager.domain(&self::uuid(&uuid)?)?.uuid()))
    }

    #[zbus(out_args("domains"))]
    async fn list_domains(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<HashMap<OwnedObjectPath, Dict>, Error> {
        let call = self.service.call(&header).await?;
        Options::none(options)?;
        lists::domains(&call, &header).await
    }

    #[zbus(out_args("networks"))]
    async fn list_networks(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<HashMap<OwnedObjectPath, Dict>, Error> {
        let call = self.service.call(&header).await?;
        Options::none(options)?;
        lists::networks(&call, &header).await
    }

    #[zbus(out_args("host"))]
    async fn get_host(&self, #[zbus(header)] header: Header<'_>) -> Result<Dict, Error> {
        let _call = self.service.call(&header).await?;
        Ok(self.service.host.facts().await)
    }

    #[zbus(out_args("permissions"))]
    async fn get_permissions(
        &self,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<HashMap<String, String>, Error> {
        let call = self.service.call(&header).await?;
        let mut options = Options::new(options);
        let object = options.object("object")?;
        options.end()?;
        let answers = call.permissions(object).await?;
        Ok(answers
            .into_iter()
            .map(|(action, yes)| (action.id().to_owned(), yes.as_str().to_owned()))
            .collect())
    }

    async fn subscribe(
        &self,
        topics: Vec<String>,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let call = self.service.call(&header).await?;
        Options::none(options)?;
        let topics = Topic::read(&topics)?;
        let sight = call.may_watch(&topics).await?;
        call.subscribe(topics, sight, &self.service)
    }

    async fn unsubscribe(
        &self,
        topics: Vec<String>,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let call = self.service.call(&header).await?;
        Options::none(options)?;
        self.service.subscriptions.remove(&call.caller.sender, &Topic::read(&topics)?);
        Ok(())
    }

    #[zbus(out_args("stats"))]
    async fn get_all_stats(
        &self,
        groups: Vec<String>,
        options: Given,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<HashMap<OwnedObjectPath, Dict>, Error> {
        let _call = self.service.call(&header).await?;
        Options::none(options)?;
        drop(groups);
        Err(Error::not_yet("statistics of domains"))
    }
}

fn findings(findings: Vec<Finding>) -> zbus::Variant<'static> {
    let finding = |f: Finding| {
        dict([
            ("severity", f.severity.as_str().into()),
            ("path", f.path.into()),
            ("line", f.line.into()),
            ("column", f.column.into()),
            ("message", f.message.into()),
            ("remedy", f.remedy.into()),
        ])
    };
    list(findings.into_iter().map(finding).collect())
}
