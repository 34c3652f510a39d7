//! One HTTPS connection to a Redfish service.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::tls::Trust;

/// Longest answer: a system with everything in it has some ten thousand.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where the service is and how to log in.
pub struct Service {
    pub host: String,
    pub port: u16,
    /// Value of the Authorization header.
    pub login: String,
    pub trust: Trust,
}

/// A connection; it ends when dropped.
pub struct Session {
    requests: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    login: HeaderValue,
    driver: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer, whole.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Service {
    /// Connects. The login is sent only over a connection whose other end is who it has to be.
    ///
    /// # Errors
    /// In words.
    pub async fn connect(&self) -> Result<Session, String> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((bare, self.port))
            .await
            .map_err(|error| format!("cannot connect to {} port {}: {error}", self.host, self.port))?;
        let stream = self.trust.secure(bare, socket).await?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("no HTTP with {}: {error}", self.host))?;
        // Its errors reach whoever waits for an answer.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let header = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| "the address or the login holds signs that HTTP cannot carry".to_string())
        };
        let mut login = header(&self.login)?;
        login.set_sensitive(true);
        let host = if bare.contains(':') {
            format!("[{bare}]")
        } else {
            bare.to_owned()
        };
        Ok(Session {
            requests,
            host: header(&host)?,
            login,
            driver,
        })
    }
}

impl Session {
    /// GET.
    ///
    /// # Errors
    /// In words.
    pub async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// In words.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Answer, String> {
        self.send(Method::POST, path, body.to_string().into()).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answer, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{path}: {error}");
        if !path.starts_with('/') {
            return Err(failed(&"the service named a place outside itself"));
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.login)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header("OData-Version", "4.0")
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        self.requests.ready().await.map_err(|error| failed(&error))?;
        let response = self
            .requests
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| failed(&error))?
            .to_bytes();
        Ok(Answer { status, body })
    }
}
