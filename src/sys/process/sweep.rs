//! The end of all processes of one uid.
//!
//! Must never be called for a uid that anything but our own children may have.

use std::io;

use rustix::process::{Pid, WaitOptions};

/// Kills every process of `uid` in one step, so that none can start another meanwhile. The child that does it has
/// `shield`, which no process has, as its real and saved uid: those of `uid` can neither signal nor trace it.
/// Returns when they have the signal.
pub fn kill_all_of(uid: u32, shield: u32) -> io::Result<()> {
    // SAFETY: the child makes system calls only, as one must whose parent has other threads, and ends with the block.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            let done = libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                && libc::syscall(libc::SYS_setresgid, shield, shield, shield) == 0
                && libc::syscall(libc::SYS_setresuid, shield, uid, shield) == 0;
            // There may be none.
            let killed =
                done && (libc::kill(-1, libc::SIGKILL) == 0 || *libc::__errno_location() == libc::ESRCH);
            libc::_exit(i32::from(!killed));
        }
        child
    };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    loop {
        match rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(Some((_, status))) if status.exit_status() == Some(0) => return Ok(()),
            Ok(_) => return Err(io::Error::other("the uid could not be taken")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Exit, Purpose, RunAs, Spawn};
    use super::*;

    #[tokio::test]
    async fn all_of_a_uid_and_no_others_are_killed() {
        if !rustix::process::geteuid().is_root() {
            assert!(kill_all_of(64_131, 64_133).is_err(), "an ordinary user cannot become another");
            return;
        }
        let start = |uid| {
            let user = RunAs { uid, gid: uid, groups: Vec::new() };
            Spawn::brief("sleep", Purpose::Script).arg("60").run_as(Some(user)).spawn()
        };
        let (one, two, other) = (start(64_131).await, start(64_131).await, start(64_132).await);
        let other = other.unwrap();
        kill_all_of(64_131, 64_133).unwrap();
        for process in [one, two] {
            assert_eq!(process.unwrap().exited().await, Exit::Signal(9));
        }
        assert_eq!(other.terminate(Duration::from_secs(5)).await.unwrap(), Exit::Signal(15));
        kill_all_of(64_131, 64_133).unwrap();
    }
}
