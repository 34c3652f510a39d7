//! Reads a `[witness]` that is kept in an existing etcd cluster.

use super::diagnostic::Problem;
use super::reader::{At, Table};
use super::schema::path_fault;
use super::{EtcdSection, RegisterPlace, RegisterSection, RegisterTls, values};

/// Name shown for such a witness unless set.
const NAME: &str = "etcd";
/// What its keys begin with unless set.
const PREFIX: &str = "/holdfast";
/// Most members of etcd that are tried.
pub const ETCD_ENDPOINTS_MAX: usize = 9;
/// Longest prefix.
const PREFIX_BYTES_MAX: usize = 200;

/// The section, and where its name stands.
pub(super) struct RegisterDraft {
    pub section: RegisterSection,
    pub name: At<String>,
}

pub(super) fn read_register(table: &Table) -> Option<RegisterDraft> {
    table.only(&[
        "name",
        "etcd",
        "prefix",
        "ca_file",
        "cert_file",
        "key_file",
        "user",
        "password_file",
    ]);
    let (user, password_file) = read_user(table);
    let place = RegisterPlace::Etcd(EtcdSection {
        endpoints: read_endpoints(table),
        prefix: read_prefix(table),
        tls: read_tls(table),
        user,
        password_file,
    });
    Some(draft(table, NAME, place))
}

/// A register at `place`, with the name that stands in `table` or else `default`.
pub(super) fn draft(table: &Table, default: &'static str, place: RegisterPlace) -> RegisterDraft {
    let name = table
        .text("name")
        .map_or(At::new(default, table.span.clone()), |name| name);
    if let Some(fault) = values::host_name_fault(name.value) {
        let message = format!(
            "\"{}\" cannot be the witness's name: {fault}",
            name.value.escape_debug()
        );
        table.problems.add(Problem::new(name.span.clone(), message));
    }
    RegisterDraft {
        section: RegisterSection {
            name: name.value.to_string(),
            place,
        },
        name: At::new(name.value.to_string(), name.span),
    }
}

fn read_endpoints(table: &Table) -> Vec<String> {
    let endpoints = table.text_or_texts("etcd");
    let hint = "the clients' address of each member of etcd, such as etcd = [\"etcd1.example:2379\"]";
    if table.is_empty_list("etcd") {
        table.missing("etcd", hint);
    }
    if let Some(beyond) = endpoints.get(ETCD_ENDPOINTS_MAX) {
        let message = format!(
            "{} members of etcd: {ETCD_ENDPOINTS_MAX} are enough",
            endpoints.len()
        );
        table.problems.add(Problem::new(beyond.span.clone(), message));
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        if let Some(fault) = values::host_port_fault(endpoint.value) {
            let message = format!(
                "\"{}\" is no address of etcd: {fault}",
                endpoint.value.escape_debug()
            );
            let problem = Problem::new(endpoint.span.clone(), message).hint("host:port, without http://");
            table.problems.add(problem);
        }
        if let Some(first) = endpoints[..index]
            .iter()
            .find(|other| other.value == endpoint.value)
        {
            let problem = Problem::new(endpoint.span.clone(), "the same member of etcd twice")
                .related(first.span.clone(), "it is here as well");
            table.problems.add(problem);
        }
    }
    endpoints
        .into_iter()
        .map(|endpoint| endpoint.value.to_string())
        .collect()
}

fn read_prefix(table: &Table) -> String {
    let Some(prefix) = table.text("prefix") else {
        return PREFIX.into();
    };
    let plain = prefix.value.bytes().all(|byte| byte.is_ascii_graphic());
    let fault = if prefix.value.is_empty() || prefix.value.len() > PREFIX_BYTES_MAX || !plain {
        Some("it must be 1 to 200 characters of ASCII without spaces")
    } else if prefix.value.ends_with('/') {
        Some("it must not end with `/`, which is added")
    } else {
        None
    };
    if let Some(fault) = fault {
        let message = format!("`prefix` cannot begin keys in etcd: {fault}");
        let problem = Problem::new(prefix.span, message).hint("for example prefix = \"/holdfast\"");
        table.problems.add(problem);
    }
    prefix.value.to_string()
}

/// With a certificate authority everything goes over TLS; with a certificate this side shows one as well.
fn read_tls(table: &Table) -> Option<RegisterTls> {
    let ca_file = path(table, "ca_file");
    let (cert_file, key_file) = (path(table, "cert_file"), path(table, "key_file"));
    let with = |given: &str, lacking: &str, why: &str| {
        if let Some(span) = table.span_of(given)
            && table.span_of(lacking).is_none()
        {
            let message = format!("`{given}` needs `{lacking}`: {why}");
            table.problems.add(Problem::new(span, message));
        }
    };
    with("cert_file", "key_file", "the key that belongs to the certificate");
    with("key_file", "cert_file", "the certificate that belongs to the key");
    with(
        "cert_file",
        "ca_file",
        "the authority that etcd's own certificate is checked with",
    );
    Some(RegisterTls {
        ca_file: ca_file?,
        identity: cert_file.zip(key_file),
    })
}

fn read_user(table: &Table) -> (Option<String>, Option<String>) {
    let user = table.text("user");
    let password_file = path(table, "password_file");
    let (lacking, hint) = match (table.span_of("user"), table.span_of("password_file")) {
        (Some(_), None) => (
            "password_file",
            "a file of mode 0600 that holds the password of the user and nothing else",
        ),
        (None, Some(_)) => ("user", "the user of etcd that the password belongs to"),
        _ => ("", ""),
    };
    if !lacking.is_empty() {
        table.missing(lacking, hint);
    }
    (user.map(|user| user.value.to_string()), password_file)
}

fn path(table: &Table, key: &str) -> Option<String> {
    let text = table.text(key)?;
    if let Some(fault) = path_fault(text.value) {
        let message = format!("`{key}` is invalid: {fault}");
        table.problems.add(Problem::new(text.span.clone(), message));
    }
    Some(text.value.to_string())
}
