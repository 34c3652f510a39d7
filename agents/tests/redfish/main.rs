//! The redfish device and the real fence_redfish, against an emulated service (nothing here has a real one).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use holdfast_agents::fence::Fencer;
use holdfast_proto::agent::{FenceDevice, FenceOutcome};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Made for these tests alone: it vouches for 127.0.0.1 and nobody trusts it.
const CERTIFICATE: &[u8] = include_bytes!("certificate.pem");
const KEY: &[u8] = include_bytes!("key.pem");
const MACHINE: &str = "4c4c4544-0034-5310-8052-b4c04f4e3132";

/// How the service behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// It takes every order and does nothing.
    Pretends,
    /// It says that the reset type is not allowed.
    Refuses,
    /// It switches off a while after it said so.
    Late,
}

struct Emulator {
    port: u16,
    pin: String,
    power: Arc<Mutex<&'static str>>,
    secret: tempfile::NamedTempFile,
}

struct State {
    manner: Manner,
    systems: usize,
    power: Arc<Mutex<&'static str>>,
}

impl State {
    fn answer(&self, head: &str, body: &str) -> (u16, String) {
        let login = format!("Basic {}", BASE64_STANDARD.encode("ha:hunter2"));
        let authorized = head.lines().any(|line| {
            let header = line.split_once(": ");
            header.is_some_and(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == login)
        });
        if !authorized {
            let error = "{\"error\":{\"message\":\"bad login\"}}";
            return (401, error.into());
        }
        let mut words = head.split_whitespace();
        match (
            words.next(),
            words.next().unwrap_or_default().trim_end_matches('/'),
        ) {
            (Some("GET"), "/redfish/v1/Systems") => {
                let members: Vec<String> = (1..=self.systems)
                    .map(|number| format!("{{\"@odata.id\":\"/redfish/v1/Systems/{number}\"}}"))
                    .collect();
                (200, format!("{{\"Members\":[{}]}}", members.join(",")))
            }
            (Some("GET"), "/redfish/v1/Systems/1") => {
                let power = *self.power.lock().unwrap();
                let target = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
                let actions = format!("{{\"#ComputerSystem.Reset\":{{\"target\":\"{target}\"}}}}");
                let text =
                    format!("{{\"PowerState\":\"{power}\",\"UUID\":\"{MACHINE}\",\"Actions\":{actions}}}");
                (200, text)
            }
            (Some("POST"), "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset") => self.reset(body),
            _ => (404, "{}".into()),
        }
    }

    fn reset(&self, body: &str) -> (u16, String) {
        let wanted = if body.contains("ForceOff") { "Off" } else { "On" };
        match self.manner {
            Manner::Honest => *self.power.lock().unwrap() = wanted,
            Manner::Pretends => {}
            Manner::Refuses => {
                return (
                    400,
                    "{\"error\":{\"message\":\"ResetType is not allowed\"}}".into(),
                );
            }
            Manner::Late => {
                *self.power.lock().unwrap() = "PoweringOff";
                let power = Arc::clone(&self.power);
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    *power.lock().unwrap() = wanted;
                });
            }
        }
        (204, String::new())
    }
}

impl Emulator {
    async fn start(manner: Manner, systems: usize) -> Emulator {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let sum = ring::digest::digest(&ring::digest::SHA256, &certificate);
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let power = Arc::new(Mutex::new("On"));
        let state = Arc::new(State {
            manner,
            systems,
            power: Arc::clone(&power),
        });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                tokio::spawn(async move { serve(acceptor, socket, &state).await });
            }
        });
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "hunter2\n").unwrap();
        Emulator {
            port,
            pin: format!("sha256:{hex}"),
            power,
            secret,
        }
    }

    fn request(&self, action: &str, more: &[(&str, &str)]) -> FenceDevice {
        let mut params = BTreeMap::from([
            ("ip".to_string(), "127.0.0.1".to_string()),
            ("ipport".into(), self.port.to_string()),
            ("username".into(), "ha".into()),
            ("password_file".into(), self.secret.path().display().to_string()),
            ("certificate".into(), self.pin.clone()),
        ]);
        for (key, value) in more {
            params.insert((*key).into(), (*value).into());
        }
        params.retain(|_, value| !value.is_empty());
        FenceDevice {
            id: 1,
            node: "db2".into(),
            agent: "redfish".into(),
            params,
            action: action.into(),
            timeout_ms: 20_000,
            ..FenceDevice::default()
        }
    }

    fn power(&self) -> &'static str {
        *self.power.lock().unwrap()
    }
}

/// Requests of one connection, until the client closes it.
async fn serve(acceptor: TlsAcceptor, socket: tokio::net::TcpStream, state: &State) -> Option<()> {
    let mut stream = acceptor.accept(socket).await.ok()?;
    let mut seen = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
            seen.extend_from_slice(&piece[..length]);
        };
        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().ok())?
        });
        while seen.len() < end + length.unwrap_or(0) {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
            seen.extend_from_slice(&piece[..length]);
        }
        let body = String::from_utf8_lossy(&seen[end..]).into_owned();
        let (status, text) = state.answer(&head, &body);
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all((head + &text).as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        seen.clear();
    }
}

async fn run(request: FenceDevice) -> FenceOutcome {
    Fencer::new(|_| {}).run(&request, "db1").await
}

#[tokio::test]
async fn off_is_proven_by_a_reading_of_its_own() {
    let service = Emulator::start(Manner::Honest, 1).await;
    let outcome = run(service.request("test", &[])).await;
    assert!(
        outcome.evidence.contains(&format!("it is machine {MACHINE}")),
        "{outcome:?}"
    );
    let outcome = run(service.request("off", &[("uuid", MACHINE)])).await;
    eprintln!("{} ms: {}", outcome.took_ms, outcome.evidence);
    assert!(outcome.off_read_back && service.power() == "Off", "{outcome:?}");
    let outcome = run(service.request("status", &[])).await;
    assert!(outcome.off_read_back, "{outcome:?}");
    let service = Emulator::start(Manner::Late, 1).await;
    let outcome = run(service.request("off", &[])).await;
    assert!(outcome.off_read_back, "it is waited for: {outcome:?}");
}

#[tokio::test]
async fn what_it_says_it_did_proves_nothing() {
    for manner in [Manner::Pretends, Manner::Refuses] {
        let service = Emulator::start(manner, 1).await;
        let mut request = service.request("off", &[]);
        request.timeout_ms = 1_500;
        let outcome = run(request).await;
        assert!(!outcome.off_read_back && service.power() == "On", "{outcome:?}");
        assert!(outcome.error.contains("was not read back as off"), "{outcome:?}");
        assert!(
            manner == Manner::Pretends || outcome.error.contains("is not allowed"),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn another_machine_another_certificate_and_another_login_get_nothing() {
    let service = Emulator::start(Manner::Honest, 1).await;
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong-one\n").unwrap();
    let wrong = wrong.path().display().to_string();
    let pin = format!("sha256:{}", "00".repeat(32));
    for (more, said) in [
        (
            ("uuid", "4c4c4544-0034-5310-8052-b4c04f4e3133"),
            "belongs to machine",
        ),
        (("certificate", pin.as_str()), "another than the one pinned"),
        (("certificate", ""), service.pin.as_str()),
        (
            ("password_file", wrong.as_str()),
            "(the login was refused): bad login",
        ),
        (("system", "7"), "there is no such thing"),
    ] {
        let mut request = service.request("off", &[more]);
        request.timeout_ms = 1_500;
        let outcome = run(request).await;
        assert!(
            !outcome.off_read_back && outcome.error.contains(said),
            "{said}: {outcome:?}"
        );
        assert!(!format!("{outcome:?}").contains("wrong-one"), "{outcome:?}");
    }
    assert_eq!(service.power(), "On");
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), CERTIFICATE).unwrap();
    let authority = authority.path().display().to_string();
    let outcome = run(service.request("test", &[("certificate", ""), ("authorities", &authority)])).await;
    assert!(outcome.error.is_empty(), "{outcome:?}");
    let several = Emulator::start(Manner::Honest, 2).await;
    let outcome = run(several.request("test", &[])).await;
    assert!(
        outcome.error.contains("several systems") && outcome.error.contains("1 2"),
        "{outcome:?}"
    );
    let outcome = run(several.request("test", &[("system", "1")])).await;
    assert!(outcome.error.is_empty(), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_fence_redfish_gets_along_with_the_emulator() {
    if !Path::new("/usr/sbin/fence_redfish").exists() {
        return eprintln!("skipped: fence_redfish is missing (package fence-agents)");
    }
    let service = Emulator::start(Manner::Honest, 1).await;
    let mut request = service.request("off", &[("certificate", ""), ("ssl_insecure", "1")]);
    request.agent = "fence_redfish".into();
    request
        .params
        .insert("systems_uri".into(), "/redfish/v1/Systems/1".into());
    let outcome = run(request).await;
    eprintln!("{} ms: {}", outcome.took_ms, outcome.evidence);
    assert!(outcome.off_read_back && service.power() == "Off", "{outcome:?}");
}
