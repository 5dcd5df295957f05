//! The network interface of an address: NCCL listens on an interface, and is told which.

use std::net::IpAddr;

/// The interface that has the executor's address (`host:port`). None if there is none, or the
/// host has no address: NCCL then chooses by itself.
pub async fn of(executor: &str) -> Option<String> {
    let wanted: Vec<IpAddr> = tokio::net::lookup_host(executor).await.ok()?.map(|found| found.ip()).collect();
    let there = tokio::task::spawn_blocking(if_addrs::get_if_addrs).await.ok()?.ok()?;
    let has = |wanted: &IpAddr| there.iter().find(|one| one.ip() == *wanted);
    wanted.iter().find_map(has).map(|found| found.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_this_host_has_an_interface() {
        assert_eq!(of("127.0.0.1:80").await.as_deref(), Some("lo"));
        assert_eq!(of("192.0.2.7:80").await, None, "an address for examples");
    }
}
