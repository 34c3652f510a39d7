//! How errors look.

use super::*;

#[test]
fn an_error_shows_its_line_and_the_likely_fix() {
    let text = replaced("links = [\"10.0.0.2\"]", "link = [\"10.0.0.2\"]");
    let found = parse(&text, "/etc/holdfast/holdfast.toml").unwrap_err();
    let expected = "\
error: [[node]] needs the key `links`
 --> /etc/holdfast/holdfast.toml:9:1
  |
9 | [[node]]
  | ^^^^^^^^
  |
  = help: one address per link, such as links = [\"10.0.0.1\", \"192.168.7.1\"]

error: unknown key `link` in [[node]]
  --> /etc/holdfast/holdfast.toml:11:1
   |
11 | link = [\"10.0.0.2\"]
   | ^^^^
   |
   = help: did you mean `links`?

2 errors; nothing was changed";
    assert_eq!(found.to_string(), expected);
    assert!(found.render(true).contains("\x1b["));
    assert_eq!(
        found.summary(),
        "/etc/holdfast/holdfast.toml:9:1: [[node]] needs the key `links` (and 1 more)"
    );
}

#[test]
fn an_error_about_two_places_shows_both() {
    let text = replaced("10.0.0.2", "10.0.0.1");
    let expected = "\
error: the address 10.0.0.1 is used twice
  --> f:11:10
   |
11 | links = [\"10.0.0.1\"]
   |          ^^^^^^^^^^
   |
  ::: f:7:10
   |
 7 | links = [\"10.0.0.1\"]
   |          ---------- taken by node db1

1 error; nothing was changed";
    assert_eq!(parse(&text, "f").unwrap_err().to_string(), expected);
}

#[test]
fn a_secret_is_refused_and_never_shown() {
    let text = format!(
        "{BASE}\n[[fence]]\nnode = \"db1\"\nagent = \"fence_ipmilan\"\nparams = {{ ip = 3.5, passwd = \"hunter2\" }}\n"
    );
    let shown = parse(&text, "f").unwrap_err().to_string();
    assert!(shown.contains("the secret `passwd` is in plain text"), "{shown}");
    assert!(
        shown.contains("passwd_file = \"/etc/holdfast/secrets/NAME\""),
        "{shown}"
    );
    assert!(
        shown.contains("passwd = \"*******\"") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn json_has_place_message_and_hint() {
    let found = parse(&replaced("name = \"db2\"", "name = \"db2\"\nlnks = 1"), "f").unwrap_err();
    let entry = &found.entries()[0];
    assert_eq!((entry.file.as_str(), entry.line, entry.column), ("f", 11, 1));
    assert_eq!(
        (entry.message.as_str(), entry.hint.as_str()),
        ("unknown key `lnks` in [[node]]", "did you mean `links`?")
    );
}
