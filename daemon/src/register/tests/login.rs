//! Users, passwords and certificates of etcd.

use super::*;

/// The first answer, whatever it is.
async fn first_answer(config: &Config) -> Outcome {
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(config);
    link.submit(Call {
        id: CallId(1),
        op: Op::Read,
    });
    link.next().await.expect("the thread lives").outcome
}

async fn refusal(config: &Config) -> String {
    match first_answer(config).await {
        Outcome::Failed(why) => why,
        outcome => panic!("not refused: {outcome:?}"),
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("mode");
}

/// Has etcd ask for a user from now on.
async fn enable_users(endpoint: &str) {
    let mut session = http::Session::connect(endpoint, None).await.expect("connected");
    for (path, body) in [
        ("user/add", json!({ "name": "root", "password": "secret" })),
        ("role/add", json!({ "name": "root" })),
        ("user/grant", json!({ "user": "root", "role": "root" })),
        ("enable", json!({})),
    ] {
        let path = format!("/v3/auth/{path}");
        let (status, said) = session.post(&path, None, &body).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {said:?}");
    }
}

#[tokio::test]
async fn an_etcd_that_asks_for_a_user_gets_its_password_from_a_file_that_nobody_else_reads() {
    let Some(server) = server() else { return };
    let endpoint = format!("127.0.0.1:{}", server.port);
    let quoted = format!("\"{endpoint}\"");
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(&config(&quoted));
    assert_eq!(answer(&mut link, 1, Op::Read).await, Outcome::Content(None));
    enable_users(&endpoint).await;
    let why = refusal(&config(&quoted)).await;
    assert!(why.contains("it refuses"), "{why}");
    let file = server.dir.path().join("password");
    std::fs::write(&file, "secret\n").expect("written");
    let login = format!("user = \"root\"\npassword_file = \"{}\"\n", file.display());
    let with_login = config_with(&quoted, &login);
    set_mode(&file, 0o644);
    let why = refusal(&with_login).await;
    assert!(why.contains("can be read by others"), "{why}");
    set_mode(&file, 0o600);
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(&with_login);
    assert_eq!(answer(&mut link, 1, Op::Read).await, Outcome::Content(None));
    std::fs::write(&file, "guessed\n").expect("written");
    let why = refusal(&with_login).await;
    assert!(why.contains("it refuses") && !why.contains("guessed"), "{why}");
}

#[tokio::test]
async fn etcd_is_who_its_certificate_says_and_sees_ours() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert"), path("key"));
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=etcd".split(' '))
        .args("-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE".split(' '))
        .args(["-keyout", &key, "-out", &cert])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no certificate can be made (apt-get install openssl)");
        return;
    }
    set_mode(key.as_ref(), 0o600);
    let tls = [
        "--cert-file",
        &cert,
        "--key-file",
        &key,
        "--client-cert-auth",
        "--trusted-ca-file",
        &cert,
    ];
    let Some(server) = server_with(dir, "https", &tls) else {
        return;
    };
    let quoted = format!("\"127.0.0.1:{}\"", server.port);
    let trusted = format!("ca_file = \"{cert}\"\n");
    let both = format!("{trusted}cert_file = \"{cert}\"\nkey_file = \"{key}\"\n");
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(&config_with(&quoted, &both));
    assert_eq!(answer(&mut link, 1, Op::Read).await, Outcome::Content(None));
    for less in [trusted.as_str(), ""] {
        refusal(&config_with(&quoted, less)).await;
    }
}
