//! Which versions of the codec interoperate, so that a pair is upgraded one node at a time.
//!
//! Two members speak the lower of their versions, if these differ by one at most: the newer one still writes what the
//! older one reads. Within a version fields are only ever added; a reader skips those that it does not know. Whatever an
//! older reader would have to refuse (another layout of the heartbeat frame, a new kind of message, a new value of an
//! old field) needs a new version and is not sent to a member of the older one. What an older member would lose when it
//! writes the cluster state again must not be in that state before every member is of the newer version.

/// Version of this codec, carried in the hello.
pub const WIRE_VERSION: u32 = 1;

/// The version that two members speak with each other.
///
/// # Errors
/// When they are too far apart: what to do about it, as the end of a sentence about the other member.
pub fn common_version(mine: u32, theirs: u32) -> Result<u32, String> {
    // Version 0 is a hello that names none.
    if theirs > 0 && mine.abs_diff(theirs) <= 1 {
        return Ok(mine.min(theirs));
    }
    let behind = if theirs < mine { "there" } else { "here" };
    Err(format!(
        "speaks version {theirs} of the message codec, here it is version {mine}, and only neighbours understand each \
         other: upgrade Holdfast {behind}, one version at a time"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_speak_the_lower_version() {
        assert_eq!(common_version(1, 1), Ok(1));
        assert_eq!(common_version(2, 1), Ok(1));
        assert_eq!(common_version(1, 2), Ok(1));
        assert_eq!(common_version(7, 8), Ok(7));
    }

    #[test]
    fn a_mismatch_is_refused_with_the_side_that_is_behind() {
        assert!(
            common_version(3, 1)
                .unwrap_err()
                .contains("upgrade Holdfast there")
        );
        assert!(
            common_version(1, 3)
                .unwrap_err()
                .contains("upgrade Holdfast here")
        );
        assert!(common_version(1, 0).is_err());
        assert!(common_version(1, u32::MAX).is_err());
    }
}
