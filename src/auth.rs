//! Who may do what.
//!
//! Owns the list of polkit actions, the identity of a caller as the bus gives it, and the question to
//! polkit about the real caller; about root none is asked. Must never be asked in a property getter (it waits),
//! answer a message without a sender, let the open questions of some keep others from being asked, or know what an
//! action is for: the callers choose the action.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zbus::message::{Flags, Header};
use zbus::names::UniqueName;
use zbus_polkit::policykit1::{AuthorityProxy, AuthorizationResult, CheckAuthorizationFlags, Subject};

/// How long a call has from its arrival, or from a person's answer, until it is refused or goes on as a job: all its
/// questions together, and its work. A caller waits 25 s by default, and longer where a person is asked.
const CALL: Duration = Duration::from_secs(20);

/// Questions that polkit answers by itself and has at once; others wait. A system bus lets one connection have 128
/// calls without an answer, and refuses the next.
const AT_ONCE: usize = 48;

/// polkit's name on the bus.
const POLKIT: &str = "org.freedesktop.PolicyKit1";

/// Questions that wait for a person, of all users.
const WITH_PERSON: usize = 64;

/// The same of one user, who sees one at a time.
const WITH_PERSON_EACH: usize = 16;

/// How often it is looked whether a caller is still there, where the bus does not tell.
const LOOK: Duration = Duration::from_secs(2);

/// Who may do everything.
const ROOT: u32 = 0;

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $id:literal,)+) => {
        /// What a caller must be allowed; `policy/org.warren1.policy` declares each with its defaults.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $variant,)+ }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The id as polkit knows it.
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => concat!("org.warren1.", $id),)+ }
            }
        }
    };
}

actions! {
    /// Define, start, stop and change domains of one's own.
    DomainManageOwn = "domain.manage-own",
    /// Console and display of one's own domains.
    DomainConsole = "domain.console",
    /// A NIC on a network whose `Access` is `users`.
    NetworkUse = "network.use",
    /// Domains of others.
    DomainManage = "domain.manage",
    /// Networks.
    NetworkManage = "network.manage",
    /// A NIC on any network.
    NetworkUseAny = "network.use-any",
    /// What a document names on the host: emulator, script, bridges.
    HostAccess = "host-access",
    /// Passwords in documents.
    ReadSecrets = "read-secrets",
}

/// Why a call is not let through.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AuthError {
    #[error("the message has no sender")]
    NoSender,
    #[error("the bus does not tell who {sender} is")]
    UnknownCaller { sender: String, source: zbus::fdo::Error },
    #[error("{action} is not allowed to uid {uid}")]
    Denied { action: Action, uid: u32 },
    #[error("{action} needs a password or a confirmation, and this call does not allow asking for it")]
    InteractionRequired { action: Action },
    #[error("the question for {action} was withdrawn, since the caller left the bus")]
    CallerLeft { action: Action },
    #[error(
        "polkit did not answer about {action} within 20 seconds of the call; try again, and see \
         'systemctl status polkit' if that does not help"
    )]
    Timeout { action: Action },
    #[error(
        "polkit could not be asked about {action} within 20 seconds of the call, since {AT_ONCE} questions before it \
         have no answer yet; try again"
    )]
    NoTurn { action: Action },
    #[error("{action} needs a password or a confirmation, and too many questions are open; answer some")]
    TooManyQuestions { action: Action },
    #[error("polkit cannot be asked about {action}; is the package polkitd installed and running?")]
    Polkit { action: Action, source: zbus::Error },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Who sent a message, as the bus says.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Unique name on the bus.
    pub sender: String,
    /// The uid of its process.
    pub uid: u32,
    interactive: bool,
    subject: Arc<Subject>,
    /// When the call arrived, or a person has answered a question about it.
    since: Arc<Mutex<Instant>>,
}

impl Caller {
    /// Who sent this message, which arrived at that time, and of whom [`Authority::uid_of`] returned the uid.
    pub fn new(header: &Header<'_>, uid: u32, arrived: Instant) -> Result<Self, AuthError> {
        let sender = header.sender().ok_or(AuthError::NoSender)?.to_string();
        let subject = Subject::new_for_message_header(header).map_err(|_| AuthError::NoSender)?;
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let since = Arc::new(Mutex::new(arrived));
        Ok(Self { sender, uid, interactive, subject: Arc::new(subject), since })
    }

    /// Until when the call is to be answered.
    pub fn deadline(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) + CALL
    }

    /// The time that a person took is not the call's.
    fn a_person_answered(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// What polkit may answer, for `GetPermissions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Permission {
    Yes,
    No,
    Challenge,
}

impl Permission {
    /// The word on the bus: `yes`, `no` or `challenge`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Challenge => "challenge",
        }
    }
}

/// Who decides.
#[derive(Debug)]
pub struct Authority {
    bus: zbus::fdo::DBusProxy<'static>,
    /// `None` in session scope, where the bus lets in nobody but the owner.
    polkit: Option<AuthorityProxy<'static>>,
    questions: AtomicU64,
    at_once: Arc<Semaphore>,
    with_person: Mutex<HashMap<u32, usize>>,
}

/// A question that waits for a person, and counts while it does.
struct Open<'a> {
    all: &'a Mutex<HashMap<u32, usize>>,
    uid: u32,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

impl Authority {
    /// In system scope polkit decides about all but root, in session scope everybody on the bus is the owner.
    pub async fn new(connection: &zbus::Connection, ask_polkit: bool) -> zbus::Result<Self> {
        let bus = zbus::fdo::DBusProxy::new(connection).await?;
        let polkit = if ask_polkit {
            wake_polkit(bus.clone());
            let builder = AuthorityProxy::builder(connection);
            Some(builder.cache_properties(zbus::proxy::CacheProperties::No).build().await?)
        } else {
            None
        };
        Ok(Self {
            bus,
            polkit,
            questions: AtomicU64::new(1),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            with_person: Mutex::default(),
        })
    }

    /// The uid of a connection to the bus, as the bus says. It never changes, nor is a unique name used twice.
    pub async fn uid_of(&self, sender: &UniqueName<'_>) -> Result<u32, AuthError> {
        let unknown = |source| AuthError::UnknownCaller { sender: sender.to_string(), source };
        let credentials =
            self.bus.get_connection_credentials(sender.to_owned().into()).await.map_err(unknown)?;
        let nobody = || unknown(zbus::fdo::Error::Failed("the bus knows no uid".into()));
        credentials.unix_user_id().ok_or_else(nobody)
    }

    /// Lets the caller through for an action, or says why not. Rules see the `details` (`name`, `owner`,
    /// `object`), and the person who is asked sees the message with them filled in.
    pub async fn check(
        &self,
        caller: &Caller,
        action: Action,
        details: &[(&str, String)],
    ) -> Result<(), AuthError> {
        // What needs no person takes no share of the questions that wait for one.
        let mut answer = self.permission(caller, action, details).await?;
        if answer == Permission::Challenge {
            if !caller.interactive {
                return Err(AuthError::InteractionRequired { action });
            }
            let _open = self.open(caller.uid).ok_or(AuthError::TooManyQuestions { action })?;
            answer = self.ask_person(caller, action, details).await?;
            caller.a_person_answered();
        }
        if answer == Permission::Yes { Ok(()) } else { Err(AuthError::Denied { action, uid: caller.uid }) }
    }

    /// What the answer would be, without asking a person.
    pub async fn permission(
        &self,
        caller: &Caller,
        action: Action,
        details: &[(&str, String)],
    ) -> Result<Permission, AuthError> {
        let Some(polkit) = &self.polkit else { return Ok(Permission::Yes) };
        // polkit would say no other, whatever its rules are (docs/adr/0007-root-is-not-asked-about.md).
        if caller.uid == ROOT {
            return Ok(Permission::Yes);
        }
        let deadline = caller.deadline();
        let turn = tokio::time::timeout_at(deadline, self.at_once.clone().acquire_owned());
        let turn = turn.await.map_err(|_| AuthError::NoTurn { action })?;
        let (polkit, subject) = (polkit.clone(), caller.subject.clone());
        let details: Vec<_> = details.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        // A question that is given up still counts, here and on the bus, until polkit has answered it.
        let answer = tokio::spawn(async move {
            let _turn = turn;
            let details = details.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let flags = CheckAuthorizationFlags::empty();
            polkit.check_authorization(&subject, action.id(), &details, flags, "").await
        });
        let answer = tokio::time::timeout_at(deadline, answer).await;
        let answer = answer.map_err(|_| AuthError::Timeout { action })?;
        let answer = answer.unwrap_or_else(|e| Err(zbus::Error::Failure(e.to_string())));
        answer.map(|answer| permission(&answer)).map_err(|source| AuthError::Polkit { action, source })
    }

    /// A share of the questions that wait for a person.
    fn open(&self, uid: u32) -> Option<Open<'_>> {
        let mut all = self.with_person.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= WITH_PERSON || all.get(&uid).is_some_and(|n| *n >= WITH_PERSON_EACH)
        {
            return None;
        }
        *all.entry(uid).or_default() += 1;
        Some(Open { all: &self.with_person, uid })
    }

    /// Has polkit ask a person, for as long as the caller is there.
    async fn ask_person(
        &self,
        caller: &Caller,
        action: Action,
        details: &[(&str, String)],
    ) -> Result<Permission, AuthError> {
        let Some(polkit) = &self.polkit else { return Ok(Permission::Yes) };
        let question = format!("warren-{}", self.questions.fetch_add(1, Ordering::Relaxed));
        let details = details.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let flags = CheckAuthorizationFlags::ALLOW_USER_INTERACTION;
        let answer = polkit.check_authorization(&caller.subject, action.id(), &details, flags, &question);
        tokio::select! {
            answer = answer => {
                answer.map(|answer| permission(&answer)).map_err(|source| AuthError::Polkit { action, source })
            }
            () = self.gone(&caller.sender) => {
                // Nobody waits for the answer, but the dialog would stay on the screen.
                let _ = polkit.cancel_check_authorization(&question).await;
                Err(AuthError::CallerLeft { action })
            }
        }
    }

    /// Returns when the connection with this unique name has left the bus.
    pub async fn gone(&self, sender: &str) {
        let changes = self.bus.receive_name_owner_changed_with_args(&[(0, sender)]).await;
        // It may have left before we listened.
        if !self.is_there(sender).await {
            return;
        }
        if let Ok(mut changes) = changes {
            while let Some(change) = changes.next().await {
                if change.args().is_ok_and(|a| a.new_owner().is_none()) {
                    return;
                }
            }
        }
        // A system bus tells one connection of 512 others at most.
        while self.is_there(sender).await {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn is_there(&self, sender: &str) -> bool {
        let Ok(name) = zbus::names::BusName::try_from(sender) else { return false };
        self.bus.name_has_owner(name).await.unwrap_or(true)
    }
}

/// Has the bus start polkit while this service gets ready: on a machine that has just booted it takes long.
fn wake_polkit(bus: zbus::fdo::DBusProxy<'static>) {
    tokio::spawn(async move {
        let Ok(name) = POLKIT.try_into() else { return };
        if let Err(e) = bus.start_service_by_name(name, 0).await {
            tracing::debug!("polkit is not started before it is needed: {e}");
        }
    });
}

fn permission(answer: &AuthorizationResult) -> Permission {
    match (answer.is_authorized, answer.is_challenge) {
        (true, _) => Permission::Yes,
        (false, true) => Permission::Challenge,
        (false, false) => Permission::No,
    }
}
