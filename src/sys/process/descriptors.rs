//! How many descriptors the service may have. Owns that it is as many as its unit says, also where there is none; must
//! never lower what somebody has set.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many the unit of systemd sets. More make some programs slow that go through all there could be.
const WANTED: u64 = 65_536;

/// How many descriptors this process can have, once it may have as many of these as the kernel lets it.
pub fn most_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let now = current.unwrap_or(u64::MAX);
    let most = maximum.unwrap_or(u64::MAX).min(WANTED);
    if most > now && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).is_ok() {
        return most;
    }
    now
}
