//! One-time tokens for `hactl quorum force`: proof that the operator has just read what could be lost.

use std::time::Duration;

use holdfast_proto::time::Time;

/// How long a token is valid.
pub const VALID: Duration = Duration::from_secs(300);

/// The token that was handed out last. A new one replaces it.
#[derive(Debug, Default)]
pub struct ForceTokens {
    given: Option<Given>,
}

#[derive(Debug)]
struct Given {
    token: String,
    at: Time,
    /// What the operator was shown, boiled down: another situation needs another look.
    situation: String,
}

impl ForceTokens {
    /// Hands out `token` for `situation`.
    pub fn give(&mut self, token: String, situation: String, now: Time) {
        self.given = Some(Given {
            token,
            at: now,
            situation,
        });
    }

    /// Takes a token in; whatever the outcome, it cannot be used again.
    ///
    /// # Errors
    /// When it was not given, used, is too old, or the situation is another by now.
    pub fn redeem(&mut self, token: &str, situation: &str, now: Time) -> Result<(), String> {
        let again = "run `hactl quorum force` without a token to look again and get a new one";
        let Some(given) = self.given.take() else {
            return Err(format!("no token is outstanding on this node: {again}"));
        };
        if !same(given.token.as_bytes(), token.trim().as_bytes()) {
            return Err(format!("this is not the token that was given out: {again}"));
        }
        if now.since(given.at) > VALID {
            return Err(format!(
                "the token is older than {} minutes: {again}",
                VALID.as_secs() / 60
            ));
        }
        if given.situation != situation {
            return Err(format!(
                "the situation has changed since the token was given out: {again}"
            ));
        }
        Ok(())
    }
}

/// Compares without telling by its duration where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |sum, (left, right)| sum | (left ^ right))
            == 0
}

/// A random token that is easily read out on a phone.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn random() -> Result<String, String> {
    use ring::rand::SecureRandom;
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 12];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the kernel gave no random bytes".to_string())?;
    let letters: Vec<char> = bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect();
    Ok(letters
        .chunks(4)
        .map(String::from_iter)
        .collect::<Vec<_>>()
        .join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> ForceTokens {
        let mut tokens = ForceTokens::default();
        tokens.give("abcd".into(), "v1".into(), Time(0));
        tokens
    }

    #[test]
    fn a_token_works_once() {
        let mut tokens = given();
        assert!(tokens.redeem(" abcd\n", "v1", Time(1)).is_ok());
        assert!(
            tokens
                .redeem("abcd", "v1", Time(1))
                .is_err_and(|error| error.contains("no token"))
        );
    }

    #[test]
    fn wrong_old_and_outdated_tokens_are_refused() {
        assert!(
            given()
                .redeem("abce", "v1", Time(1))
                .is_err_and(|error| error.contains("not the token"))
        );
        assert!(
            given()
                .redeem("abcd", "v2", Time(1))
                .is_err_and(|error| error.contains("changed"))
        );
        let late = Time(0) + VALID + Duration::from_micros(1);
        assert!(
            given()
                .redeem("abcd", "v1", late)
                .is_err_and(|error| error.contains("5 minutes"))
        );
        let mut tokens = given();
        assert!(tokens.redeem("guess", "v1", Time(1)).is_err());
        assert!(
            tokens.redeem("abcd", "v1", Time(1)).is_err(),
            "a wrong guess ends the token"
        );
    }

    #[test]
    fn random_tokens_differ() {
        let (one, other) = (random().expect("random"), random().expect("random"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 14);
    }
}
