//! nginx and HAProxy: listening on a virtual address that is not there yet.

use std::net::{IpAddr, SocketAddr};

use crate::finding::{Finding, Place};
use crate::node::Node;
use crate::scope::{Scope, Service};

/// Files read in all: what includes itself twice would multiply.
const FILES_MAX: usize = 256;
/// How deep files may include others.
const DEPTH_MAX: usize = 8;

/// Judges the addresses that nginx listens on.
pub fn check_nginx(scope: &Scope, service: &Service, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let file = service.argument(&["-c"]).unwrap_or("/etc/nginx/nginx.conf");
    let mut listens = Vec::new();
    nginx(file, node, 0, &mut 0, &mut listens);
    for (address, place) in listens {
        judge_bind(scope, service, node, address, &place, findings);
    }
}

fn nginx(file: &str, node: &Node<'_>, depth: usize, files: &mut usize, listens: &mut Vec<(IpAddr, Place)>) {
    *files += 1;
    let Some(text) = (*files <= FILES_MAX).then(|| node.text(file)).flatten() else {
        return;
    };
    for (words, line) in directives(&text) {
        match words.as_slice() {
            [listen, rest @ ..] if listen == "listen" => {
                if let Some(address) = rest.first().and_then(|word| address_of(word)) {
                    listens.push((address, Place::line(file, line)));
                }
            }
            [include, pattern, ..] if include == "include" && depth < DEPTH_MAX => {
                let pattern = match pattern.strip_prefix('/') {
                    Some(_) => pattern.clone(),
                    None => format!("/etc/nginx/{pattern}"),
                };
                for path in node.paths(&pattern) {
                    nginx(&path, node, depth + 1, files, listens);
                }
            }
            _ => {}
        }
    }
}

/// nginx's directives, each with its line: words up to `;`, `{` or `}`, without comments.
fn directives(text: &str) -> Vec<(Vec<String>, usize)> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut began) = (1, 1);
    let (mut quote, mut in_comment) = (None, false);
    for c in text.chars() {
        if c == '\n' {
            line += 1;
            in_comment = false;
        }
        if in_comment {
            continue;
        }
        if let Some(open) = quote {
            if c == open {
                quote = None;
            } else {
                word.push(c);
            }
            continue;
        }
        let ends = c.is_whitespace() || matches!(c, ';' | '{' | '}');
        if ends && !word.is_empty() {
            if words.is_empty() {
                // A newline that ends a word is counted already.
                began = line - usize::from(c == '\n');
            }
            words.push(std::mem::take(&mut word));
        }
        match c {
            ';' | '{' | '}' => all.push((std::mem::take(&mut words), began)),
            '#' if word.is_empty() => in_comment = true,
            '"' | '\'' if word.is_empty() => quote = Some(c),
            c if ends => debug_assert!(c.is_whitespace()),
            c => word.push(c),
        }
    }
    all.retain(|(words, _)| !words.is_empty());
    all
}

/// Judges the addresses that HAProxy binds.
pub fn check_haproxy(scope: &Scope, service: &Service, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let given = service.argument(&["-f"]).unwrap_or("/etc/haproxy/haproxy.cfg");
    // A folder stands for all of its files.
    let named = [given.to_owned()].into_iter();
    let below = node.paths(&format!("{}/*.cfg", given.trim_end_matches('/')));
    for file in named.chain(below) {
        let Some(text) = node.text(&file) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["bind", addresses, rest @ ..] = words.as_slice() else {
                continue;
            };
            if rest.contains(&"transparent") {
                continue;
            }
            for address in addresses.split(',').filter_map(address_of) {
                let place = Place::line(&file, index + 1);
                judge_bind(scope, service, node, address, &place, findings);
            }
        }
    }
}

/// The address in `10.0.0.1:80`, `[::1]:80`, `10.0.0.1`, `ipv4@10.0.0.1:80`, `10.0.0.1:80-90`.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Some(address);
    }
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A service that binds a virtual address starts only where the address is, unless the kernel is told not to look.
pub(crate) fn judge_bind(
    scope: &Scope,
    service: &Service,
    node: &Node<'_>,
    address: IpAddr,
    place: &Place,
    findings: &mut Vec<Finding>,
) {
    if !scope.addresses.contains(&address) || service.addresses_before.contains(&address) {
        return;
    }
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let allowed = node.text(&format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    if allowed.is_some_and(|text| text.trim() == "1") {
        return;
    }
    findings.push(place.finding(
        "bind-to-absent-address",
        format!("it listens on the virtual address {address}"),
        format!(
            "the address may not be on this node when {} starts, and then the start fails",
            service.resource
        ),
        format!(
            "listen on all addresses; or sysctl net.{family}.ip_nonlocal_bind = 1 on both nodes; or, in a group on one node, \
             put the vip before it"
        ),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;
    use crate::scope::tests::{scope, unit};

    fn found(name: &str, files: &[(&str, &str)]) -> Vec<String> {
        let files = Memory::of(files);
        let scope = scope(&unit(name));
        crate::check(&scope, &Node::new(&files))
            .iter()
            .map(|finding| format!("{} {}:{}", finding.check, finding.file, finding.line.unwrap_or(0)))
            .collect()
    }

    #[test]
    fn a_virtual_address_in_nginx_is_named_unless_the_kernel_allows_it() {
        let main = (
            "/etc/nginx/nginx.conf",
            "http {\n  include conf.d/*.conf; # all\n}\n",
        );
        let site = (
            "/etc/nginx/conf.d/shop.conf",
            "server {\n  # listen 10.0.0.100:81;\n  listen\n 10.0.0.100:80 default_server;\n  listen [::]:80;\n listen 80;\n}\n",
        );
        let expected = ["bind-to-absent-address /etc/nginx/conf.d/shop.conf:3"];
        assert_eq!(found("nginx", &[main, site]), expected);
        assert!(
            found(
                "nginx",
                &[main, site, ("/proc/sys/net/ipv4/ip_nonlocal_bind", "1\n")]
            )
            .is_empty()
        );
        assert_eq!(
            found(
                "nginx",
                &[main, site, ("/proc/sys/net/ipv4/ip_nonlocal_bind", "0\n")]
            ),
            expected
        );
    }

    #[test]
    fn so_is_one_in_haproxy() {
        let text =
            "frontend a\n  bind 10.0.0.100:80,:81\n  bind ipv4@10.0.0.100:82 transparent\n  bind *:83\n";
        let expected = ["bind-to-absent-address /etc/haproxy/haproxy.cfg:2"];
        assert_eq!(found("haproxy", &[("/etc/haproxy/haproxy.cfg", text)]), expected);
    }

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        for text in ["10.0.0.1", "10.0.0.1:80", "ipv4@10.0.0.1:80", "10.0.0.1:80-90"] {
            assert_eq!(address_of(text), Some(v4), "{text}");
        }
        for text in ["[::1]:80", "::1", "[::1]"] {
            assert_eq!(address_of(text), Some("::1".parse().unwrap()), "{text}");
        }
        for text in ["80", "*:80", "unix:/run/x.sock", ":80", "localhost:80"] {
            assert_eq!(address_of(text), None, "{text}");
        }
    }
}
