//! What the kernel and the link say: route netlink, ARP and neighbour discovery, /proc.

use holdfast_agents::fuzzing;
use holdfast_agents::vip::packet::{Mac, announcement, claim};

use crate::memory::bounded;

/// Reads the bytes as each of them.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let messages = bounded(data.len(), 32, || fuzzing::read_netlink(data));
    assert!(
        messages * 16 <= data.len(),
        "{messages} messages in {} bytes",
        data.len()
    );
    if let Some((mac, ip)) = claim(data) {
        // Who can be read as claiming an address claims it in our own words too.
        assert!(!ip.is_unspecified() || ip.is_ipv6());
        for frame in announcement(mac, ip) {
            assert_eq!(claim(&frame), Some((mac, ip)));
        }
        let _ = Mac::to_string(&mac);
    }
    if let Some((_, group, session, start_ticks)) = fuzzing::stat(&String::from_utf8_lossy(data)) {
        let text = format!("1 (x) S 1 {group} {session} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {start_ticks}");
        assert_eq!(fuzzing::stat(&text), Some(('S', group, session, start_ticks)));
    }
}
