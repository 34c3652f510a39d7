//! corosync.conf.

use std::fmt::Write;

use holdfast_hactl::demo::switch;

/// Three voters on two links, encrypted as `pcs` sets it up. With `token_ms` a healthy link must not be taken for a dead
/// one, so knet's own pings keep a pace that does not follow the short token; without it all is left at its default.
#[must_use]
pub fn config(token_ms: Option<u32>, realtime: bool) -> String {
    let mut text = String::from(
        "totem {\n  version: 2\n  cluster_name: bench\n  transport: knet\n  crypto_cipher: aes256\n  crypto_hash: sha256\n",
    );
    if let Some(token_ms) = token_ms {
        // The token is what it says, without the addition for the third node.
        let _ = write!(text, "  token: {token_ms}\n  token_coefficient: 0\n");
        for link in 0..switch::BRIDGES.len() {
            let _ = write!(
                text,
                "  interface {{\n    linknumber: {link}\n    knet_ping_interval: 200\n    knet_ping_timeout: 1500\n  }}\n"
            );
        }
    }
    text.push_str("}\nquorum {\n  provider: corosync_votequorum\n}\n");
    if !realtime {
        text.push_str("system {\n  sched_rr: no\n}\n");
    }
    text.push_str("logging {\n  to_stderr: yes\n  to_syslog: no\n  timestamp: hires\n}\nnodelist {\n");
    for host in 1..=3u8 {
        let _ = write!(
            text,
            "  node {{\n    name: n{host}\n    nodeid: {host}\n    ring0_addr: {}\n    ring1_addr: {}\n  }}\n",
            switch::address(0, host),
            switch::address(1, host)
        );
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_token_changes_the_defaults() {
        let short = config(Some(300), true);
        for wanted in [
            "token: 300\n",
            "knet_ping_interval: 200\n",
            "knet_ping_timeout: 1500\n",
        ] {
            assert!(short.contains(wanted), "{short}");
        }
        let plain = config(None, true);
        for unwanted in ["token", "knet_ping", "sched_rr"] {
            assert!(!plain.contains(unwanted), "{plain}");
        }
        assert!(config(None, false).contains("sched_rr: no\n"));
        assert_eq!(plain.matches("ring1_addr: 10.77.2.").count(), 3);
    }
}
