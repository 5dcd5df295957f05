//! The process whose end ends ours: no signal comes when it dies, so it is watched.

use std::future::Future;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::process::Owner;
use crate::{Error, Result};

/// Where the kernel has no pidfd (before 5.3), how often the process is looked up.
const POLL: Duration = Duration::from_millis(500);

/// Ready when the owner has ended. Fails at once where it is not running any more.
///
/// # Errors
/// If there is no such process, or its pid belongs to a younger one.
pub fn ended(owner: Owner) -> Result<impl Future<Output = ()> + Send + 'static> {
    let pid = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::Invalid(format!("{} is not a process id", owner.pid)))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty());
    // Checked after the descriptor is open: it cannot be another process's any more.
    if start_time(owner.pid) != Some(owner.started) {
        return Err(Error::Precondition(format!("the owning process {} has ended", owner.pid)));
    }
    // SAFETY: the descriptor is owned by the AsyncFd and neither replaced nor closed while it is.
    let watched =
        pidfd.ok().and_then(|fd| unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok());
    Ok(async move {
        if let Some(watched) = watched
            && watched.readable().await.is_ok()
        {
            return;
        }
        while start_time(owner.pid) == Some(owner.started) {
            tokio::time::sleep(POLL).await;
        }
    })
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_owner_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let owner = Owner { pid: child.id(), started: start_time(child.id()).unwrap() };
        let ended = super::ended(owner).unwrap();
        child.kill().unwrap();
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
        child.wait().unwrap();
        assert!(super::ended(owner).is_err(), "it has ended");
    }

    #[tokio::test]
    async fn a_reused_pid_is_not_the_owner() {
        let owner = Owner { pid: std::process::id(), started: 1 };
        assert!(ended(owner).is_err());
    }
}
