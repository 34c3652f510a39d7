//! What goes to a fence agent: the operator's parameters, checked against the agent's own description, with the
//! content of secret files in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use super::metadata::{Metadata, Parameter};
use crate::agent::AgentError;

/// Largest secret file.
const SECRET_BYTES_MAX: u64 = 16 << 10;
/// Keys that say which program an `exec` device runs; not for the program itself.
pub const EXEC_KEY: &str = "program";
/// Parts of keys whose values never appear in output.
const SECRET_WORDS: [&str; 6] = ["passw", "secret", "token", "key", "community", "login_cookie"];

/// A string that is overwritten when it is dropped.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Keeps the compiler from seeing that nobody reads the zeros.
        std::hint::black_box(&bytes);
    }
}

impl AsRef<str> for Secret {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Parameters ready to be given to an agent.
#[derive(Debug, Default)]
pub struct Prepared {
    lines: Vec<(String, Secret)>,
    /// Values that must not appear in output.
    pub secrets: Vec<Secret>,
    /// What is wrong with them according to the agent's description.
    pub problems: Vec<String>,
}

impl Prepared {
    /// The agent's standard input for one action on `node`.
    #[must_use]
    pub fn input(&self, action: &str, node: &str) -> Secret {
        // Enough room from the start: a string that grows leaves copies behind.
        let size: usize = self
            .lines
            .iter()
            .map(|(key, value)| key.len() + value.0.len() + 2)
            .sum();
        let mut text = String::with_capacity(size + action.len() + node.len() + 32);
        for (key, value) in [("action", action), ("nodename", node)] {
            push_line(&mut text, key, value);
        }
        for (key, value) in &self.lines {
            push_line(&mut text, key, &value.0);
        }
        Secret(text)
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.lines
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.0.as_str())
    }
}

fn push_line(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push('=');
    text.push_str(value);
    text.push('\n');
}

/// The closest of `names` to `wrong`, if any is close.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= 1 + wrong.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn read_secret(key: &str, path: &str) -> Result<Secret, AgentError> {
    let wrong = |why: String| AgentError(format!("{key} = {path:?}: {why}"));
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(wrong("is not a regular file".to_owned()));
    }
    let mut secret = Secret(String::with_capacity(SECRET_BYTES_MAX as usize + 1));
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut secret.0)
        .map_err(|_| wrong("is not UTF-8 text".to_owned()))?;
    if secret.0.len() as u64 > SECRET_BYTES_MAX {
        return Err(wrong(format!(
            "is larger than {SECRET_BYTES_MAX} bytes; a secret is one line"
        )));
    }
    let end = secret.0.trim_end_matches(['\n', '\r']).len();
    secret.0.truncate(end);
    if secret.0.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    Ok(secret)
}

/// Prepares `params` for an agent that describes itself with `metadata` (None for one that does not).
///
/// # Errors
/// Something that cannot be given to any agent: a secret file that cannot be read, a value of several lines, a key
/// that is ours to set.
pub fn prepare(
    params: &BTreeMap<String, String>,
    metadata: Option<&Metadata>,
) -> Result<Prepared, AgentError> {
    let mut prepared = Prepared::default();
    let exec = metadata.is_none();
    for (key, value) in params
        .iter()
        .filter(|(key, _)| !(exec && key.as_str() == EXEC_KEY))
    {
        refuse_ours(key)?;
        let known = |name: &str| metadata.is_some_and(|metadata| metadata.parameter(name).is_some());
        let (key, value, from_file) = match key.strip_suffix("_file").filter(|_| !known(key)) {
            Some(plain) => (plain.to_owned(), read_secret(key, value)?, true),
            None => (key.clone(), Secret(value.clone()), false),
        };
        if key.is_empty() || key.contains(['=', '\n', '#']) || value.0.contains(['\n', '\r', '\0']) {
            return Err(AgentError(format!(
                "parameter {key:?} or its value holds a line break or a sign that fence agents cannot take"
            )));
        }
        let key = metadata
            .and_then(|metadata| modern(metadata, &key))
            .unwrap_or(key);
        // The agent decides what the old spelling stands for: not for what is ours to say.
        refuse_ours(&key)?;
        if prepared.get(&key).is_some() {
            return Err(AgentError(format!(
                "parameter {key:?} is given twice (in its old and new spelling, or with _file)"
            )));
        }
        if from_file || SECRET_WORDS.iter().any(|word| key.contains(word)) {
            prepared.secrets.push(value.clone());
        }
        prepared.lines.push((key, value));
    }
    if let Some(metadata) = metadata {
        prepared.problems = problems(&prepared, metadata);
    }
    Ok(prepared)
}

/// What is done, and to whom, is never the operator's parameter.
fn refuse_ours(key: &str) -> Result<(), AgentError> {
    if matches!(key, "action" | "option" | "nodename") {
        return Err(AgentError(format!(
            "parameter {key:?} is set by Holdfast itself; remove it"
        )));
    }
    Ok(())
}

/// The current spelling of an obsolete key.
fn modern(metadata: &Metadata, key: &str) -> Option<String> {
    let replacement = metadata
        .parameters
        .iter()
        .find(|parameter| parameter.obsoletes.as_deref() == Some(key));
    replacement.map(|parameter| parameter.name.clone())
}

fn problems(prepared: &Prepared, metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in &prepared.lines {
        match metadata.parameter(key) {
            Some(parameter) => found.extend(value_problem(parameter, &value.0)),
            None if key.starts_with("pcmk_") => {
                found.push(format!(
                    "parameter {key:?} belongs to Pacemaker; name the node in [[fence]] instead"
                ));
            }
            None => {
                let names = metadata
                    .parameters
                    .iter()
                    .filter(|p| !p.deprecated)
                    .map(|p| p.name.as_str());
                let hint =
                    nearest(key, names).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                found.push(format!("the agent has no parameter {key:?}{hint}"));
            }
        }
    }
    for parameter in &metadata.parameters {
        let given = prepared.get(&parameter.name).is_some();
        if parameter.required
            && !parameter.deprecated
            && !parameter.has_default
            && !given
            && parameter.name != "action"
        {
            found.push(format!("the agent needs the parameter {:?}", parameter.name));
        }
    }
    found
}

/// Never shows the value: it may be a secret under an unusual name.
fn value_problem(parameter: &Parameter, value: &str) -> Option<String> {
    let name = &parameter.name;
    match parameter.kind.as_str() {
        "integer" if value.trim().parse::<i64>().is_err() => {
            Some(format!("parameter {name:?} takes a whole number"))
        }
        "second" if value.trim().trim_end_matches('s').parse::<f64>().is_err() => {
            Some(format!("parameter {name:?} takes a number of seconds"))
        }
        "boolean"
            if !["0", "1", "yes", "no", "on", "off", "true", "false"]
                .contains(&value.trim().to_ascii_lowercase().as_str()) =>
        {
            Some(format!("parameter {name:?} takes 0 or 1"))
        }
        "select"
            if !parameter.options.is_empty() && !parameter.options.iter().any(|option| option == value) =>
        {
            Some(format!(
                "parameter {name:?} takes one of: {}",
                parameter.options.join(", ")
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::metadata::{SAMPLE, parse};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn maps_old_spellings_and_reads_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "hunter2\n").unwrap();
        let metadata = parse(SAMPLE).unwrap();
        let params = map(&[
            ("ipaddr", "10.0.0.9"),
            ("password_file", file.to_str().unwrap()),
            ("identity_file", "/k"),
        ]);
        let prepared = prepare(&params, Some(&metadata)).unwrap();
        assert_eq!(prepared.problems, Vec::<String>::new());
        let input = prepared.input("off", "db1");
        assert_eq!(
            input.as_ref(),
            "action=off\nnodename=db1\nidentity_file=/k\nip=10.0.0.9\npassword=hunter2\n"
        );
        assert!(prepared.secrets.iter().any(|secret| secret.as_ref() == "hunter2"));
        assert!(!format!("{prepared:?}").contains("hunter2"));
    }

    #[test]
    fn finds_what_is_wrong() {
        let metadata = parse(SAMPLE).unwrap();
        let params = map(&[
            ("pasword", "x"),
            ("ipport", "abc"),
            ("lanplus", "maybe"),
            ("auth", "md6"),
            ("pcmk_host_map", "a:b"),
        ]);
        let text = prepare(&params, Some(&metadata)).unwrap().problems.join("\n");
        for wanted in [
            "did you mean \"password\"",
            "\"ipport\" takes a whole",
            "\"lanplus\" takes 0",
            "md5, none",
            "Pacemaker",
            "needs the parameter \"ip\"",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn refuses_what_no_agent_can_take() {
        for (params, word) in [
            (map(&[("action", "off")]), "set by Holdfast"),
            (map(&[("ip", "a\naction=on")]), "line break"),
            (map(&[("password_file", "/nonexistent/secret")]), "cannot be read"),
            (map(&[("password_file", "/")]), "not a regular file"),
            (map(&[("ip", "a"), ("ipaddr", "b")]), "given twice"),
        ] {
            let error = prepare(&params, Some(&parse(SAMPLE).unwrap())).unwrap_err().0;
            assert!(error.contains(word), "{error}");
        }
    }

    /// Found by fuzzing: an agent that calls `method` an old spelling of `action` was given two actions.
    #[test]
    fn no_old_spelling_stands_for_the_action() {
        let text = SAMPLE.replace("name=\"action\"", "name=\"action\" obsoletes=\"method\"");
        let error = prepare(&map(&[("method", "on")]), Some(&parse(&text).unwrap())).unwrap_err();
        assert!(error.0.contains("set by Holdfast"), "{}", error.0);
    }

    #[test]
    fn nearest_names() {
        assert_eq!(
            nearest("usrname", ["username", "ip"].into_iter()),
            Some("username")
        );
        assert_eq!(nearest("zzz", ["username", "ip"].into_iter()), None);
    }
}
