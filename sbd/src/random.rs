//! Numbers that nobody else has.

use std::fs;

use crate::error::{Error, Result};

/// 16 bytes that nobody else has: the kernel's random UUIDs.
///
/// # Errors
/// When the kernel gives none.
pub fn random_id() -> Result<u128> {
    const SOURCE: &str = "/proc/sys/kernel/random/uuid";
    let failed = |source| Error::Open {
        path: SOURCE.into(),
        source,
    };
    let text = fs::read_to_string(SOURCE).map_err(failed)?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(|_| failed(std::io::Error::other("it gave no UUID")))
}
