//! The change of the opener from root into what it stays: a process that opens with its owner's rights and is out
//! of the owner's reach.
//!
//! Owns the order. The kernel compares a signal's sender and a tracer with the real and the saved uid, which are
//! reserved for this; files are judged by the effective one, which is the owner's. Must never let the process
//! continue with more rights than that: each step that fails ends it. The process has one thread, which is all
//! that the system calls change.

use std::ffi::OsString;
use std::io;

use rustix::process::{DumpableBehavior, Gid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys::process::RunAs;

/// What could not be done, and why.
pub(super) type Step = (&'static str, io::Error);

/// Whom the opener becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose rights it has.
    pub owner: RunAs,
    /// The uid and gid that keep it out of the owner's reach.
    pub reserved: RunAs,
}

impl Identity {
    /// As arguments of the helper: the owner's uid and gid, the reserved ones, the owner's other groups.
    pub(super) fn to_args(&self) -> Vec<String> {
        let Self { owner, reserved } = self;
        let ids = [owner.uid, owner.gid, reserved.uid, reserved.gid];
        ids.iter().chain(&owner.groups).map(u32::to_string).collect()
    }

    /// What [`Self::to_args`] made; `None` where there are no arguments.
    pub(super) fn from_args(args: impl Iterator<Item = OsString>) -> Result<Option<Self>, Step> {
        let id = |arg: OsString| arg.to_str()?.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        let ids: Option<Vec<u32>> = args.map(id).collect();
        match ids.as_deref() {
            Some([]) => Ok(None),
            Some([uid, gid, reserved_uid, reserved_gid, groups @ ..]) => Ok(Some(Self {
                owner: RunAs { uid: *uid, gid: *gid, groups: groups.to_vec() },
                reserved: RunAs { uid: *reserved_uid, gid: *reserved_gid, groups: Vec::new() },
            })),
            _ => Err(("understand whom it opens for", io::ErrorKind::InvalidInput.into())),
        }
    }

    /// Becomes it, for good.
    pub(super) fn take(&self) -> Result<(), Step> {
        let at = |step: &'static str| move |e: rustix::io::Errno| (step, io::Error::from(e));
        let (owner, reserved) = (&self.owner, &self.reserved);
        rustix::thread::set_no_new_privs(true).map_err(at("give up new privileges"))?;
        for capability in CapabilitySet::all() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(at("give up capabilities")(e)),
            }
        }
        let groups: Vec<Gid> = owner.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&groups).map_err(at("take the owner's groups"))?;
        let (group, kept) = (Gid::from_raw(owner.gid), Gid::from_raw(reserved.gid));
        rustix::thread::set_thread_res_gid(kept, group, kept).map_err(at("take the owner's gid"))?;
        let (user, kept) = (Uid::from_raw(owner.uid), Uid::from_raw(reserved.uid));
        rustix::thread::set_thread_res_uid(kept, user, kept)
            .map_err(at("take the owner's uid (in a container the range of uids may be too small)"))?;
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, none).map_err(at("give up capabilities"))?;
        self.verify()
    }

    /// A kernel or a sandbox that did less than it said is noticed before the first request.
    fn verify(&self) -> Result<(), Step> {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        let (owner, kept) = (&self.owner, &self.reserved);
        let uids = (getuid().as_raw(), geteuid().as_raw()) == (kept.uid, owner.uid);
        let gids = (getgid().as_raw(), getegid().as_raw()) == (kept.gid, owner.gid);
        let rights = rustix::thread::capabilities(None).map_err(|e| ("see what it has become", e.into()))?;
        let none = (rights.permitted | rights.effective | rights.inheritable).is_empty();
        if uids && gids && none && rustix::thread::no_new_privs().unwrap_or(false) {
            return Ok(());
        }
        Err(("become whom it opens for", io::ErrorKind::PermissionDenied.into()))
    }
}

/// What nobody but root looks into, and what ends with the service that started it. A change of uids undoes both,
/// so this comes after it.
pub(super) fn hide() -> Result<(), Step> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| ("keep others out of its memory", e.into()))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| ("end with its parent", e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_an_identity_or_nothing_or_are_refused() {
        let owner = RunAs { uid: 1000, gid: 1001, groups: vec![27, 1001] };
        let reserved = RunAs { uid: 1_900_000_002, gid: 1_900_000_002, groups: Vec::new() };
        let identity = Identity { owner, reserved };
        let args = identity.to_args().into_iter().map(OsString::from);
        assert_eq!(Identity::from_args(args).unwrap(), Some(identity));
        assert_eq!(Identity::from_args(std::iter::empty()).unwrap(), None);
        for wrong in [&["1000"][..], &["1000", "1000", "x", "1"], &["4294967295", "1", "1", "1"]] {
            assert!(Identity::from_args(wrong.iter().map(OsString::from)).is_err(), "{wrong:?}");
        }
    }
}
