//! Certificates and passwords for etcd, from files that nobody else reads.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use holdfast_proto::config::{EtcdSection, RegisterTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// TLS as the section wants it; none for plain HTTP.
pub(super) fn tls(section: &EtcdSection) -> Result<Option<Arc<ClientConfig>>, String> {
    section.tls.as_ref().map(client).transpose()
}

fn client(tls: &RegisterTls) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", tls.ca_file))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate", tls.ca_file));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((cert_file, key_file)) => {
            is_private(key_file)?;
            let key =
                PrivateKeyDer::from_pem_file(key_file).map_err(|error| format!("{key_file}: {error}"))?;
            builder
                .with_client_auth_cert(certificates(cert_file)?, key)
                .map_err(|error| format!("{cert_file} and {key_file} cannot be used: {error}"))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: rustls::pki_types::pem::Error| format!("{path}: {error}");
    CertificateDer::pem_file_iter(path)
        .map_err(wrong)?
        .collect::<Result<_, _>>()
        .map_err(wrong)
}

/// The password of the user of etcd.
pub(super) fn password(path: &str) -> Result<String, String> {
    is_private(path)?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(format!("{path} holds no password"));
    }
    Ok(password.to_string())
}

/// A secret that others can read is none.
fn is_private(path: &str) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(format!(
            "{path} can be read by others: chown had {path} && chmod 600 {path}"
        ));
    }
    Ok(())
}
