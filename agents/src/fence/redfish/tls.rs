//! Whom a Redfish connection trusts. Controllers have certificates of their own making, so the usual way is to pin that one.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::agent::AgentError;

/// How a pin begins.
const PIN: &str = "sha256:";

/// Whom to trust.
pub struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The certificate with this pin, or those that the authorities in `authorities` vouch for.
    ///
    /// # Errors
    /// Not exactly one of the two is given, or it cannot be used.
    pub fn new(certificate: Option<&String>, authorities: Option<&String>) -> Result<Trust, AgentError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match (certificate, authorities) {
            (None, Some(path)) => vouched_for(path, &provider)?,
            (Some(pin), None) => Arc::new(Pinned {
                pin: read_pin(pin)?,
                provider: Arc::clone(&provider),
            }),
            (Some(_), Some(_)) => return Err(AgentError::new("give certificate or authorities, not both")),
            // Nobody has this pin: the error names the one that the controller has.
            (None, None) => Arc::new(Pinned {
                pin: String::new(),
                provider: Arc::clone(&provider),
            }),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AgentError(format!("TLS cannot be used: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Trust {
            config: Arc::new(config),
        })
    }

    /// TLS over `socket` with whoever is trusted as `host`.
    pub async fn secure(&self, host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no host"))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, socket).await.map_err(|error| {
            // What is inside is said without the wrapping.
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
            match inner {
                Some(Error::General(why)) => format!("{host} is not trusted: {why}"),
                _ => format!("no TLS with {host}: {error}"),
            }
        })
    }
}

fn read_pin(pin: &str) -> Result<String, AgentError> {
    let hex = pin
        .strip_prefix(PIN)
        .unwrap_or(pin)
        .replace(':', "")
        .to_ascii_lowercase();
    if hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(hex);
    }
    Err(AgentError(format!(
        "certificate = {pin:?} is no pin: it is {PIN} and 64 hex digits, as `hactl fence test` shows it"
    )))
}

fn vouched_for(
    path: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, AgentError> {
    let wrong = |error: &dyn std::fmt::Display| AgentError(format!("authorities = {path:?}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        roots
            .add(certificate.map_err(|error| wrong(&error))?)
            .map_err(|error| wrong(&error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).build();
    Ok(verifier.map_err(|error| wrong(&error))?)
}

/// Trusts the one certificate with this SHA-256, whatever it says of itself.
#[derive(Debug)]
struct Pinned {
    pin: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sum = digest(&SHA256, end_entity.as_ref());
        let shown: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if shown == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(if self.pin.is_empty() {
            format!("look whether its certificate has this SHA-256, and write certificate = \"{PIN}{shown}\"")
        } else {
            format!("its certificate is another than the one pinned, now {PIN}{shown}")
        }))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_in_every_spelling_and_nothing_else() {
        let hex = "ab".repeat(32);
        for pin in [
            hex.clone(),
            format!("{PIN}{hex}"),
            hex.to_uppercase(),
            "AB:".repeat(31) + "AB",
        ] {
            assert_eq!(read_pin(&pin).ok().as_ref(), Some(&hex), "{pin}");
        }
        for pin in ["", "sha256:", "sha1:00", &"zz".repeat(32)] {
            assert!(read_pin(pin).is_err(), "{pin}");
        }
    }
}
