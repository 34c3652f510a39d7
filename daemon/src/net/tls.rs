//! TLS 1.3 with raw public keys (RFC 7250) on both sides, pinned by the configuration. No certificates, so no expiry:
//! a node with a wrong clock is not locked out. No resumption, which would skip the check of a pin that was withdrawn.

use std::sync::Arc;

use holdfast_proto::config::KeyPin;
use holdfast_proto::ids::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::keys::{NodeKeys, pin_of};

/// Decides whether a key may be used. The sentence reaches both sides' logs.
pub trait Judge: Send + Sync + 'static {
    /// As the dialler: is this the key of whom `name` names?
    ///
    /// # Errors
    /// The sentence says why not.
    fn server(&self, name: &str, pin: KeyPin) -> Result<(), String>;

    /// As the one who is dialled: may somebody with this key come in?
    ///
    /// # Errors
    /// The sentence says why not.
    fn client(&self, pin: KeyPin) -> Result<(), String>;
}

/// The name under which a member is dialled: it tells the verifier whose key to expect.
#[must_use]
pub fn server_name(peer: NodeId) -> String {
    format!("{peer}.holdfast")
}

/// The member that [`server_name`] names.
pub(super) fn named(name: &str) -> Option<NodeId> {
    (0..=NodeId::DATA_MAX)
        .map(NodeId)
        .find(|node| server_name(*node) == name)
}

struct Verifier {
    judge: Arc<dyn Judge>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Sentence(String);

fn refused(sentence: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Sentence(sentence)))))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.server(&name.to_str(), pin_of(key)).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not used".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge.client(pin_of(key)).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not used".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, key, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The crypto provider is always passed explicitly: with two of them compiled in, rustls panics on the implicit one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certified(keys: &NodeKeys, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let key = PrivateKeyDer::try_from(keys.pkcs8().to_vec()).map_err(|why| Error::General(why.into()))?;
    let signer = provider.key_provider.load_private_key(key)?;
    Ok(Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(keys.spki().to_vec())],
        signer,
    )))
}

fn verifier(judge: Arc<dyn Judge>, provider: &CryptoProvider) -> Arc<Verifier> {
    Arc::new(Verifier {
        judge,
        algorithms: provider.signature_verification_algorithms,
    })
}

/// The dialler's side.
///
/// # Errors
/// When the TLS library refuses the key.
pub fn tls_client(
    keys: &NodeKeys,
    judge: Arc<dyn Judge>,
    alpn: &[&[u8]],
) -> Result<rustls::ClientConfig, Error> {
    let provider = provider();
    let key = certified(keys, &provider)?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier(judge, &provider))
        .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(
            key,
        )));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// The side that is dialled.
///
/// # Errors
/// When the TLS library refuses the key.
pub fn tls_server(
    keys: &NodeKeys,
    judge: Arc<dyn Judge>,
    alpn: &[&[u8]],
) -> Result<rustls::ServerConfig, Error> {
    let provider = provider();
    let key = certified(keys, &provider)?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier(judge, &provider))
        .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(
            key,
        )));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The pin of the key that the other side proved to hold.
pub(crate) fn proven_pin(connection: &quinn::Connection) -> Option<KeyPin> {
    let identity = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    identity.first().map(|key| pin_of(key))
}
