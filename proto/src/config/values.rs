//! The small grammars inside values: durations, addresses, names.

use std::net::IpAddr;

/// Longest name of a cluster, node, group or resource.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Milliseconds of a span such as `300ms`, `5s`, `10m`, `1h`.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

/// Milliseconds as people write them.
pub(super) fn show_ms(ms: u32) -> String {
    match ms {
        0 => "0s".into(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// `a` or `an`.
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// What is wrong with a name of a cluster, group or resource.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Some("it is longer than 64 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Some("it must begin with a letter or a digit")
    } else if !name.chars().all(plain) {
        Some("only letters, digits, `-`, `_` and `.` are allowed")
    } else {
        None
    }
}

/// What is wrong with a host name.
pub(super) fn host_name_fault(name: &str) -> Option<&'static str> {
    if let Some(fault) = name_fault(name) {
        return Some(fault);
    }
    if name.contains('_') {
        Some("a host name has no `_`")
    } else if name
        .split('.')
        .any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))
    {
        Some("each part of a host name begins and ends with a letter or a digit")
    } else {
        None
    }
}

/// What is wrong with an address to send to.
pub(super) fn peer_address_fault(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("it is the unspecified address")
    } else if address.is_multicast() {
        Some("it is a multicast address")
    } else if is_broadcast(address) {
        Some("it is the broadcast address")
    } else if is_link_local_v6(address) {
        Some("link-local addresses are not enough to reach a peer: use a global or a unique local one")
    } else {
        None
    }
}

/// A virtual address with its prefix length.
pub(super) fn virtual_address(text: &str) -> Result<(IpAddr, u8), String> {
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(_) => "the prefix length is missing".into(),
            Err(_) => "this is not an IP address".into(),
        });
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "this is not an IP address".to_string())?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix
        .parse()
        .ok()
        .filter(|prefix| (1..=widest).contains(prefix))
        .ok_or_else(|| format!("the prefix length must be 1 to {widest}"))?;
    if let Some(fault) = peer_address_fault(address).filter(|_| !is_link_local_v6(address)) {
        return Err(fault.into());
    }
    if address.is_loopback() {
        return Err("it is a loopback address, which nobody else can reach".into());
    }
    if let IpAddr::V4(v4) = address
        && prefix <= 30
    {
        let host_mask = u32::MAX >> prefix;
        let host = v4.to_bits() & host_mask;
        if host == 0 {
            return Err(format!("it is the network's own address in /{prefix}"));
        }
        if host == host_mask {
            return Err(format!("it is the broadcast address of /{prefix}"));
        }
    }
    Ok((address, prefix))
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

/// What is wrong with the `host:port` of a probe.
pub(super) fn host_port_fault(text: &str) -> Option<&'static str> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Some("the port is missing");
    };
    if port.parse::<u16>().ok().filter(|port| *port != 0).is_none() {
        return Some("the port must be 1 to 65535");
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => None,
        Some(_) => Some("what stands in brackets is not an IPv6 address"),
        None if host.contains(':') => Some("an IPv6 address stands in brackets, as in [::1]:80"),
        None if host.parse::<IpAddr>().is_ok() || host_name_fault(host).is_none() => None,
        None => Some("the host is neither an address nor a host name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration_ms("300ms"), Some(300));
        assert_eq!(duration_ms("5 s"), Some(5000));
        assert_eq!(duration_ms("10m"), Some(600_000));
        assert_eq!(duration_ms("2h"), Some(7_200_000));
        for wrong in ["", "5", "ms", "-1s", "1.5s", "5 parsecs", "99999999999999999999s"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
        assert_eq!(duration_ms("9999999999999999999h"), None);
        assert_eq!(
            [300, 5000, 90_000, 7_200_000].map(show_ms),
            ["300ms", "5s", "90s", "2h"]
        );
    }

    #[test]
    fn virtual_addresses_are_host_addresses_with_a_prefix() {
        assert!(virtual_address("10.0.0.100/24").is_ok());
        assert!(virtual_address("10.0.0.0/31").is_ok());
        assert!(virtual_address("fd00::10/64").is_ok());
        for wrong in [
            "10.0.0.100",
            "10.0.0.0/24",
            "10.0.0.255/24",
            "10.0.0.1/33",
            "10.0.0.1/0",
            "10.0.0.1/-1",
            "127.0.0.1/8",
            "::/64",
            "224.0.0.1/4",
            "x/24",
            "",
        ] {
            assert!(virtual_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn probe_targets_have_a_host_and_a_port() {
        for right in ["127.0.0.1:6379", "[::1]:80", "db1.example:5432"] {
            assert_eq!(host_port_fault(right), None, "{right}");
        }
        for wrong in ["127.0.0.1", ":80", "::1:80", "[x]:80", "h:0", "h:65536", "a b:80"] {
            assert!(host_port_fault(wrong).is_some(), "{wrong}");
        }
    }
}
