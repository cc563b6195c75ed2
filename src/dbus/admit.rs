//! Whether a caller may do what it asks.
//!
//! Owns which action stands before which method, and the words of the question where those of
//! `policy/org.warren1.policy` do not fit. Must never decide: `auth` does, by polkit. The details that rules see are
//! `object`, and of an object that exists `name` and `owner`; of what a document needs, `name`, `place`, which has
//! every place, and of a domain's document `owner`, who owns the domain or would own it.

use std::collections::BTreeSet;

use super::error::Error;
use super::paths;
use super::service::Call;
use super::subscribe::{Sight, Topic};
use crate::auth::{Action, AuthError, Permission};
use crate::manager::Object;
use crate::plan::privileges::Privileges;
use crate::plan::taps::Naming;
use crate::{domain, network};

/// Questions in place of those that the policy file has for the action; translated as those are, from the
/// same domain. `tests/contract.rs` holds them against `po/warren.pot`.
pub mod questions {
    #![expect(missing_docs, reason = "they say it")]

    pub const DEFINE_NETWORK: &str = "Authentication is required to define a virtual network";
    pub const DEFINE_DOMAIN: &str = "Authentication is required to define a virtual machine";
    pub const READ_NETWORK: &str =
        "Authentication is required to see the addresses on the virtual network $(name)";
    pub const NETWORK_ON_HOST: &str =
        "Authentication is required to let the virtual network $(name) use files of this host";
    pub const FILES_OF_OWNER: &str = "Authentication is required to change which files and devices of this host the virtual machine $(name) of the user with uid $(owner) uses";
    pub const WATCH_LEASES: &str = "Authentication is required to watch the addresses on virtual networks";
    pub const WATCH_ADDRESSES: &str = "Authentication is required to watch the addresses of virtual machines";

    /// All of them.
    pub const ALL: [&str; 7] = [
        DEFINE_NETWORK,
        DEFINE_DOMAIN,
        READ_NETWORK,
        NETWORK_ON_HOST,
        FILES_OF_OWNER,
        WATCH_LEASES,
        WATCH_ADDRESSES,
    ];
}

/// Where messages are translated.
const GETTEXT_DOMAIN: &str = "warren";

type Details = Vec<(&'static str, String)>;

/// The details of a call on an object that exists.
fn of_network(network: &network::Handle) -> Details {
    let view = network.view();
    let object = paths::network(&view.uuid).to_string();
    vec![("name", view.name.clone()), ("owner", view.owner.to_string()), ("object", object)]
}

fn of_domain(domain: &domain::Handle) -> Details {
    let view = domain.view();
    let object = paths::domain(&view.uuid).to_string();
    vec![("name", view.name.clone()), ("owner", view.owner.to_string()), ("object", object)]
}

/// The details of a call on the service as a whole.
fn of_the_whole(question: &'static str) -> Details {
    asking(question, vec![("object", paths::ROOT.to_owned())])
}

fn asking(question: &'static str, mut details: Details) -> Details {
    details.push(("polkit.message", question.to_owned()));
    details.push(("polkit.gettext_domain", GETTEXT_DOMAIN.to_owned()));
    details
}

impl Call<'_> {
    async fn check(&self, action: Action, details: &Details) -> Result<(), Error> {
        Ok(self.service.authority.check(&self.caller, action, details).await?)
    }

    /// For a method of a network.
    pub(super) async fn may_manage_network(&self, network: &network::Handle) -> Result<(), Error> {
        self.check(Action::NetworkManage, &of_network(network)).await
    }

    /// For defining a network, before its document is read.
    pub(super) async fn may_define_network(&self) -> Result<(), Error> {
        self.check(Action::NetworkManage, &of_the_whole(questions::DEFINE_NETWORK)).await
    }

    /// For reading what is not public of a network: whoever may use it.
    pub(super) async fn may_read_network(&self, network: &network::Handle) -> Result<(), Error> {
        let action = if network.view().is_shared() { Action::NetworkUse } else { Action::NetworkManage };
        self.check(action, &asking(questions::READ_NETWORK, of_network(network))).await
    }

    /// For defining a domain, before its document is read.
    pub(super) async fn may_define_domain(&self) -> Result<(), Error> {
        self.check(Action::DomainManageOwn, &of_the_whole(questions::DEFINE_DOMAIN)).await
    }

    /// For a method of a domain.
    pub(super) async fn may_manage_domain(&self, domain: &domain::Handle) -> Result<(), Error> {
        self.may_with_domain(domain, Action::DomainManageOwn).await
    }

    /// For a console or a display.
    pub(super) async fn may_use_console(&self, domain: &domain::Handle) -> Result<(), Error> {
        self.may_with_domain(domain, Action::DomainConsole).await
    }

    async fn may_with_domain(&self, domain: &domain::Handle, own: Action) -> Result<(), Error> {
        let action = if domain.view().owner == self.caller.uid { own } else { Action::DomainManage };
        self.check(action, &of_domain(domain)).await
    }

    /// For the secrets in the document of a domain that the caller may manage: its owner needs no more.
    pub(super) async fn may_read_secrets(&self, domain: &domain::Handle) -> Result<(), Error> {
        if domain.view().owner == self.caller.uid {
            return Ok(());
        }
        self.check(Action::ReadSecrets, &of_domain(domain)).await
    }

    /// Whether the caller, who may manage the domain, may read its secrets. No person is asked: one who lets a caller
    /// read them would not know that they are removed by that.
    pub(super) async fn reads_secrets(&self, domain: &domain::Handle) -> Result<bool, Error> {
        if domain.view().owner == self.caller.uid {
            return Ok(true);
        }
        let details = of_domain(domain);
        let answer = self.service.authority.permission(&self.caller, Action::ReadSecrets, &details).await?;
        Ok(answer == Permission::Yes)
    }

    /// For a method of what a job works on.
    pub(super) async fn may_manage(&self, object: Object) -> Result<(), Error> {
        match object {
            Object::Network(uuid) => self.may_manage_network(&self.service.manager.network(&uuid)?).await,
            Object::Domain(uuid) => self.may_manage_domain(&self.service.manager.domain(&uuid)?).await,
        }
    }

    /// For what a domain's document needs. `owner`: of the domain.
    pub(super) async fn may_have(&self, name: &str, owner: u32, needs: &Privileges) -> Result<(), Error> {
        let question = (!needs.of_owner.is_empty()).then_some(questions::FILES_OF_OWNER);
        let details = vec![("name", name.to_owned()), ("owner", owner.to_string())];
        self.may_reach_host(details, needs, question).await.map_err(|e| e.about(&needs.reason(owner)))?;
        self.may_use_networks(&needs.networks).await
    }

    /// For NICs on these networks.
    pub(super) async fn may_use_networks(&self, networks: &[String]) -> Result<(), Error> {
        for network in networks {
            let known = self.service.manager.network_by_name(network);
            let open = known.as_ref().is_ok_and(|n| n.view().is_shared());
            let action = if open { Action::NetworkUse } else { Action::NetworkUseAny };
            let details = known.map_or_else(|_| vec![("name", network.clone())], |n| of_network(&n));
            self.check(action, &details).await?;
        }
        Ok(())
    }

    /// What the TAPs of a domain of `owner` may be called when this caller starts it. Where the host's own names are
    /// asked for, at these `places`, it is the right to reach the host that lets them through; without it the start says what is wrong.
    pub(super) async fn naming(&self, name: &str, owner: u32, places: &[String]) -> Result<Naming, Error> {
        if owner == 0 || places.is_empty() {
            return Ok(Naming::Prefixed);
        }
        let details =
            vec![("name", name.to_owned()), ("owner", owner.to_string()), ("place", places.join(", "))];
        match self.service.authority.check(&self.caller, Action::HostAccess, &details).await {
            Ok(()) => Ok(Naming::Free),
            Err(AuthError::Denied { .. } | AuthError::InteractionRequired { .. }) => Ok(Naming::Prefixed),
            Err(e) => Err(e.into()),
        }
    }

    /// The same for a look, for which no person is asked.
    pub(super) async fn naming_for_a_look(&self, owner: u32, places: &[String]) -> Result<Naming, Error> {
        if owner == 0 || places.is_empty() {
            return Ok(Naming::Prefixed);
        }
        let details = [("place", places.join(", "))];
        let answer = self.service.authority.permission(&self.caller, Action::HostAccess, &details).await?;
        Ok(if answer == Permission::Yes { Naming::Free } else { Naming::Prefixed })
    }

    /// For what a network's document needs.
    pub(super) async fn network_may_have(&self, name: &str, needs: &Privileges) -> Result<(), Error> {
        let details = vec![("name", name.to_owned())];
        let answer = self.may_reach_host(details, needs, Some(questions::NETWORK_ON_HOST)).await;
        answer.map_err(|e| e.about(&needs.reason(self.caller.uid)))
    }

    async fn may_reach_host(
        &self,
        mut details: Details,
        needs: &Privileges,
        question: Option<&'static str>,
    ) -> Result<(), Error> {
        // All of them: a rule for one place lets no other through.
        let places = needs.places();
        if places.is_empty() {
            return Ok(());
        }
        details.push(("place", places.join(", ")));
        let details = question.map_or(details.clone(), |question| asking(question, details));
        self.check(Action::HostAccess, &details).await
    }

    /// For a subscription to these topics: what the caller may see.
    pub(super) async fn may_watch(&self, topics: &BTreeSet<Topic>) -> Result<Sight, Error> {
        let mut granted = Vec::new();
        for topic in topics {
            let (action, question) = match topic {
                Topic::Leases => (Action::NetworkUse, questions::WATCH_LEASES),
                Topic::Addresses => (Action::DomainManageOwn, questions::WATCH_ADDRESSES),
            };
            self.check(action, &of_the_whole(question)).await?;
            granted.push(action);
        }
        self.sight_with(&granted).await
    }

    /// What the caller may see without a person being asked.
    pub(super) async fn sight(&self) -> Result<Sight, Error> {
        self.sight_with(&[]).await
    }

    /// A person who was asked is not asked again; beyond that it is what needs nobody to be asked.
    async fn sight_with(&self, granted: &[Action]) -> Result<Sight, Error> {
        let yes = async |action| {
            if granted.contains(&action) {
                return Ok(true);
            }
            let details = [("object", paths::ROOT.to_owned())];
            let answer = self.service.authority.permission(&self.caller, action, &details).await?;
            Ok::<_, Error>(answer == Permission::Yes)
        };
        Ok(Sight {
            own_domains: yes(Action::DomainManageOwn).await?.then_some(self.caller.uid),
            other_domains: yes(Action::DomainManage).await?,
            shared_networks: yes(Action::NetworkUse).await?,
            networks: yes(Action::NetworkManage).await?,
        })
    }

    /// Each action with polkit's answer, for a call on `object` if one is given.
    pub(super) async fn permissions(
        &self,
        object: Option<Object>,
    ) -> Result<Vec<(Action, Permission)>, Error> {
        let details = match object {
            None => vec![("object", paths::ROOT.to_owned())],
            Some(Object::Network(uuid)) => of_network(&self.service.manager.network(&uuid)?),
            Some(Object::Domain(uuid)) => of_domain(&self.service.manager.domain(&uuid)?),
        };
        let own = match object {
            Some(Object::Domain(uuid)) => self.service.manager.domain(&uuid)?.view().owner == self.caller.uid,
            _ => false,
        };
        let mut answers = Vec::new();
        for action in Action::ALL {
            // Who manages a domain of his own reads its secrets.
            let asked = if own && *action == Action::ReadSecrets { Action::DomainManageOwn } else { *action };
            let answer = self.service.authority.permission(&self.caller, asked, &details).await?;
            answers.push((*action, answer));
        }
        Ok(answers)
    }
}
