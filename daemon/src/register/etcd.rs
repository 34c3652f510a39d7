//! Calls to etcd over its JSON gateway (HTTP/1.1, on the port of its clients). What the register holds stands in two keys:
//! the head, a line of text, and the body, the states in the layout of a state file. Both are written in one transaction that
//! compares the head, and a body is written only when a state changed.
//!
//! A request may be sent again to another member: what it writes is bound to the head that was seen, so it is carried out
//! once at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use holdfast_core::witness::record::{Head, Record};
use holdfast_core::witness::{Op, Outcome};
use holdfast_proto::config::EtcdSection;
use holdfast_proto::ids::ClusterId;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, KnownBody};
use super::http::Session;
use super::{Picture, login, text};

const TXN: &str = "/v3/kv/txn";
const RANGE: &str = "/v3/kv/range";
const AUTHENTICATE: &str = "/v3/auth/authenticate";
/// gRPC's number for "who are you?".
const UNAUTHENTICATED: u16 = 401;
/// How long a login may take.
const LOGIN_PATIENCE: Duration = Duration::from_secs(5);

/// An etcd cluster, of which one member is asked at a time.
pub(super) struct Etcd {
    section: EtcdSection,
    head_key: String,
    body_key: String,
    patience: Duration,
    tls: Option<Arc<ClientConfig>>,
    /// Which of the members is asked.
    member: usize,
    session: Option<Session>,
    token: Option<String>,
    /// Why there is no token.
    login_trouble: String,
    body: KnownBody,
    picture: Picture,
}

#[derive(Deserialize)]
struct TxnAnswer {
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<TxnPart>,
}

#[derive(Deserialize)]
struct TxnPart {
    response_range: Option<RangeAnswer>,
}

#[derive(Default, Deserialize)]
struct RangeAnswer {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

impl Etcd {
    pub(super) fn new(section: EtcdSection, cluster: ClusterId, patience: Duration) -> Etcd {
        let key = |part: &str| BASE64.encode(format!("{}/{cluster}/witness/{part}", section.prefix));
        Etcd {
            head_key: key("head"),
            body_key: key("body"),
            section,
            patience,
            tls: None,
            member: 0,
            session: None,
            token: None,
            login_trouble: String::new(),
            body: KnownBody::default(),
            picture: Picture::default(),
        }
    }

    pub(super) fn picture(&self) -> Picture {
        self.picture.clone()
    }

    /// The connection is of no use any more; the next member is asked.
    pub(super) fn hang_up(&mut self, why: &str) {
        self.session = None;
        self.picture.trouble = format!("{}: {why}", self.endpoint());
        self.member = (self.member + 1) % self.section.endpoints.len().max(1);
    }

    fn endpoint(&self) -> String {
        self.section
            .endpoints
            .get(self.member)
            .cloned()
            .unwrap_or_default()
    }

    /// Asks one member after the other, each once.
    pub(super) async fn call(&mut self, op: &Op) -> Outcome {
        for _ in 0..self.section.endpoints.len().max(1) {
            self.picture.endpoint = self.endpoint();
            let begun = Instant::now();
            let patience = self.patience;
            let tried = tokio::time::timeout(patience, self.ask(op)).await;
            match tried.unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis()))) {
                Ok(outcome) => {
                    self.picture.trouble.clear();
                    self.picture.took_us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                    return outcome;
                }
                Err(why) => self.hang_up(&why),
            }
        }
        Outcome::Failed(self.picture.trouble.clone())
    }

    async fn ask(&mut self, op: &Op) -> Result<Outcome, String> {
        match op {
            Op::Read => self.read().await.map(Outcome::Content),
            Op::Swap { expect, write } => self.swap(expect.as_ref(), write).await,
        }
    }

    async fn read(&mut self) -> Result<Option<Record>, String> {
        let answer: RangeAnswer = self.post(RANGE, &json!({ "key": self.head_key })).await?;
        let Some(head) = head_of(&answer)? else {
            return Ok(None);
        };
        if let Some(record) = self.body.record(head) {
            return Ok(Some(record));
        }
        let both = json!({ "success": self.both() });
        let answer: TxnAnswer = self.post(TXN, &both).await?;
        self.content(&answer)
    }

    async fn swap(&mut self, expect: Option<&Head>, write: &Record) -> Result<Outcome, String> {
        let compare = match expect {
            None => json!({
                "key": self.head_key, "target": "CREATE", "result": "EQUAL", "create_revision": "0",
            }),
            Some(head) => json!({
                "key": self.head_key, "target": "VALUE", "result": "EQUAL", "value": line(head),
            }),
        };
        let put = |key: &str, value: String| json!({ "request_put": { "key": key, "value": value } });
        let mut puts = vec![put(&self.head_key, line(&write.head))];
        if let Some(states) = write
            .states
            .as_ref()
            .filter(|_| write.head.body == write.head.write)
        {
            puts.push(put(
                &self.body_key,
                BASE64.encode(body::write(&write.head, states, write.head.promised)),
            ));
        }
        let request = json!({ "compare": [compare], "success": puts, "failure": self.both() });
        let answer: TxnAnswer = self.post(TXN, &request).await?;
        if !answer.succeeded {
            return self.content(&answer).map(Outcome::Content);
        }
        if let Some(states) = &write.states {
            self.body.keep(write.head, states);
        }
        Ok(Outcome::Swapped)
    }

    fn both(&self) -> Value {
        let range = |key: &str| json!({ "request_range": { "key": key } });
        json!([range(&self.head_key), range(&self.body_key)])
    }

    /// The head and the body of one transaction.
    fn content(&mut self, answer: &TxnAnswer) -> Result<Option<Record>, String> {
        let mut ranges = answer.responses.iter().map(|part| part.response_range.as_ref());
        let (Some(Some(head)), Some(Some(body))) = (ranges.next(), ranges.next()) else {
            return Err("its answer lacks what was asked for".into());
        };
        match head_of(head)? {
            None => Ok(None),
            Some(head) => self.record(head, body.kvs.first()).map(Some),
        }
    }

    fn record(&mut self, head: Head, body: Option<&KeyValue>) -> Result<Record, String> {
        if let Some(record) = self.body.record(head) {
            return Ok(record);
        }
        let unreadable = |why: &dyn std::fmt::Display| {
            format!(
                "the record of the witness in etcd is damaged ({why}): delete its keys, and it is made anew"
            )
        };
        let body = body.ok_or_else(|| unreadable(&"its body is gone"))?;
        let bytes = BASE64.decode(&body.value).map_err(|error| unreadable(&error))?;
        self.body.read(head, &bytes).map_err(|why| unreadable(&why))
    }

    async fn post<T: for<'a> Deserialize<'a>>(&mut self, path: &str, body: &Value) -> Result<T, String> {
        if self.lacks_token() {
            return Err(self.login_trouble.clone());
        }
        let (status, answer) = self.send(path, body).await?;
        if status == UNAUTHENTICATED && self.section.user.is_some() {
            // The token has expired: the next call is logged in for.
            self.token = None;
            self.login_trouble = "it asks who we are once more".into();
        }
        parsed(status, &answer)
    }

    async fn send(&mut self, path: &str, body: &Value) -> Result<(u16, Bytes), String> {
        if self.session.is_none() {
            if self.section.tls.is_some() && self.tls.is_none() {
                self.tls = login::tls(&self.section)?;
            }
            self.session = Some(Session::connect(&self.endpoint(), self.tls.as_ref()).await?);
        }
        let session = self.session.as_mut().ok_or("not connected")?;
        session.post(path, self.token.as_deref(), body).await
    }

    fn lacks_token(&self) -> bool {
        self.section.user.is_some() && self.token.is_none()
    }

    /// Logs in where that is needed, before a call. Etcd computes long over a password, longer than a call may take.
    pub(super) async fn log_in(&mut self) {
        if !self.lacks_token() {
            return;
        }
        let tried = tokio::time::timeout(LOGIN_PATIENCE, self.authenticate()).await;
        match tried.unwrap_or_else(|_| Err("the login was not answered in time".into())) {
            Ok(token) => self.token = Some(token),
            Err(why) => {
                self.login_trouble = why.clone();
                self.hang_up(&why);
            }
        }
    }

    async fn authenticate(&mut self) -> Result<String, String> {
        let file = self.section.password_file.clone().unwrap_or_default();
        let password = login::password(&file)?;
        let who = json!({ "name": self.section.user, "password": password });
        let (status, answer) = self.send(AUTHENTICATE, &who).await?;
        parsed(status, &answer).map(|token: Token| token.token)
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(status: u16, answer: &[u8]) -> Result<T, String> {
    if status != 200 {
        let said = serde_json::from_slice::<Refusal>(answer).map_or(String::new(), |refusal| refusal.message);
        return Err(format!("it refuses ({status}): {}", said.escape_debug()));
    }
    serde_json::from_slice(answer).map_err(|error| format!("its answer makes no sense: {error}"))
}

fn head_of(answer: &RangeAnswer) -> Result<Option<Head>, String> {
    let Some(found) = answer.kvs.first() else {
        return Ok(None);
    };
    let bytes = BASE64.decode(&found.value).unwrap_or_default();
    let head = std::str::from_utf8(&bytes).ok().and_then(text::read);
    head.map(Some).ok_or_else(|| {
        "what stands in etcd under the key of the witness is not Holdfast's, or of another version"
            .to_string()
    })
}

fn line(head: &Head) -> String {
    BASE64.encode(text::write(head))
}
