//! The C library version a binary needs, so that a package promises only what it keeps.

/// A version of glibc, major and minor.
pub type Version = (u32, u32);

/// The oldest C library of the Debian releases that the packages are for: Debian 12.
pub const OLDEST_SUPPORTED: Version = (2, 36);

/// The highest `GLIBC_x.y` symbol version that the ELF file `bytes` names.
#[must_use]
pub fn needed(bytes: &[u8]) -> Option<Version> {
    const MARK: &[u8] = b"GLIBC_";
    let mut highest = None;
    let mut rest = bytes;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        rest = &rest[at + MARK.len()..];
        // Version names are NUL-terminated strings; a longer text that happens to hold the mark is not one.
        if let Some(end) = rest.iter().take(12).position(|byte| *byte == 0) {
            highest = highest.max(parse(&rest[..end]));
        }
    }
    highest
}

fn parse(text: &[u8]) -> Option<Version> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_wins() {
        assert_eq!(needed(b"..GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0"), Some((2, 34)));
    }

    #[test]
    fn private_and_broken_names_do_not_count() {
        assert_eq!(needed(b"GLIBC_PRIVATE\0GLIBC_2"), None);
    }
}
