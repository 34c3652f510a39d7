//! One HTTP connection to a member of etcd, plain or with TLS.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// Longest answer: two cluster states in base64.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A connection; it ends when dropped.
pub(super) struct Session {
    requests: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    driver: AbortHandle,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects to `host:port`.
    pub(super) async fn connect(endpoint: &str, tls: Option<&Arc<ClientConfig>>) -> Result<Session, String> {
        let socket = TcpStream::connect(endpoint)
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        // Each request is one small packet that somebody waits for.
        socket
            .set_nodelay(true)
            .map_err(|error| format!("cannot connect: {error}"))?;
        let broken = |error: &dyn std::fmt::Display| format!("it speaks no HTTP: {error}");
        let (requests, driver) = match tls {
            None => {
                let (requests, connection) = http1::handshake(TokioIo::new(socket))
                    .await
                    .map_err(|error| broken(&error))?;
                (requests, tokio::spawn(async move { drop(connection.await) }))
            }
            Some(config) => {
                let stream = secure(endpoint, config, socket).await?;
                let (requests, connection) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| broken(&error))?;
                (requests, tokio::spawn(async move { drop(connection.await) }))
            }
        };
        Ok(Session {
            requests,
            host: HeaderValue::from_str(endpoint)
                .map_err(|_| "its address holds signs that HTTP cannot carry")?,
            driver: driver.abort_handle(),
        })
    }

    /// POST of JSON: the status, and the answer.
    pub(super) async fn post(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<(u16, Bytes), String> {
        let mut request = Request::post(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            let mut value =
                HeaderValue::from_str(token).map_err(|_| "its token holds signs that HTTP cannot carry")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let lost = |error: &dyn std::fmt::Display| format!("the connection broke: {error}");
        let request = request
            .body(Full::new(body.to_string().into()))
            .map_err(|error| lost(&error))?;
        self.requests.ready().await.map_err(|error| lost(&error))?;
        let response = self
            .requests
            .send_request(request)
            .await
            .map_err(|error| lost(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| lost(&error))?
            .to_bytes();
        Ok((status, body))
    }
}

async fn secure(
    endpoint: &str,
    config: &Arc<ClientConfig>,
    socket: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no host"))?;
    TlsConnector::from(Arc::clone(config))
        .connect(name, socket)
        .await
        .map_err(|error| format!("no TLS: {error}"))
}
