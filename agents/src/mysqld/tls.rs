//! TLS to another node's server: the certificate authority is checked, the name is not.
//!
//! Nodes are known by their addresses, and the certificates of replication are made for this one purpose: whoever has one of
//! that authority is a node. The server asks the same of us (REQUIRE X509).

use std::io;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::server::TlsStream as Accepted;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::params::TlsFiles;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How a connection between nodes is made private.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the files. Blocks for the time of three small reads.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(files: &TlsFiles) -> Result<Tls, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots
                .add(certificate)
                .map_err(|error| wrong(&files.ca, &error.to_string()))?;
        }
        let chain = certificates(&files.cert)?;
        let key = private_key(&files.key)?;
        let provider = Arc::new(ring::default_provider());
        let acceptor = acceptor(files, &provider, &roots, (chain.clone(), key.clone_key()))?;
        let verifier = Arc::new(AuthorityOnly {
            roots,
            provider: Arc::clone(&provider),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(|error| wrong(&files.key, &error.to_string()))?;
        Ok(Tls {
            connector: TlsConnector::from(Arc::new(config)),
            acceptor,
        })
    }

    /// The handshake with another node that connected. It has to show a certificate of the authority.
    ///
    /// # Errors
    /// It failed.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Accepted<S>> {
        self.acceptor.accept(stream).await
    }

    /// The handshake.
    ///
    /// # Errors
    /// It failed.
    pub async fn wrap<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let name =
            ServerName::try_from("mysqld").map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.connector.connect(name, stream).await
    }
}

fn acceptor(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    roots: &RootCertStore,
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
) -> Result<TlsAcceptor, String> {
    let roots = Arc::new(roots.clone());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| wrong(&files.ca, &error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.key, &error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn wrong(path: &Path, what: &str) -> String {
    format!("{}: {what}", path.display())
}

/// The blocks of a PEM file whose label ends with `label`.
fn blocks(path: &Path, label: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let size = std::fs::metadata(path).map_err(|error| wrong(path, &error.to_string()))?;
    if size.len() > FILE_BYTES_MAX {
        return Err(wrong(path, "it is too long for a PEM file"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(path, &error.to_string()))?;
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
        {
            open = Some((name.to_owned(), String::new()));
        } else if line.starts_with("-----END ") {
            if let Some((name, body)) = open.take().filter(|(name, _)| name.ends_with(label)) {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(body)
                    .map_err(|_| wrong(path, "a block is no base64"))?;
                found.push((name, bytes));
            }
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    if found.is_empty() {
        return Err(wrong(path, &format!("it holds no PEM block {label:?}")));
    }
    Ok(found)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    Ok(blocks(path, "CERTIFICATE")?
        .into_iter()
        .map(|(_, bytes)| bytes.into())
        .collect())
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let (label, bytes) = blocks(path, "PRIVATE KEY")?.swap_remove(0);
    match label.as_str() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(bytes.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(bytes.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(bytes.into())),
        _ => Err(wrong(
            path,
            "the key is encrypted; Holdfast keeps no passphrase for it",
        )),
    }
}

/// Accepts a certificate that the authority signed, whatever name stands in it.
#[derive(Debug)]
struct AuthorityOnly {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AuthorityOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
