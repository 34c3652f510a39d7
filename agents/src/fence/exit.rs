//! What the exit codes of fence agents say.

/// The meaning of an exit code: the contract's, then the agents' common library's.
#[must_use]
pub fn exit_meaning(code: Option<i32>) -> String {
    let meaning = match code {
        None => return "it was killed by a signal".to_owned(),
        Some(0) => "done",
        Some(1) => "it failed, or could not verify what it did",
        Some(2) => "wrong arguments (or, for status, off)",
        Some(3) => "the device refused the login; check user name and password",
        Some(4) => "the connection to the device was lost",
        Some(5) => "the device did not answer in time",
        Some(6) => "the power did not come on in time",
        Some(7) => "the power did not go off in time",
        Some(8) => "the power state could not be read; check the plug",
        Some(9) => "the power state could not be read from the HMC",
        Some(10) => "a password is needed and none was given",
        Some(11) => "the user has too few privileges on the device",
        Some(12) => "the UUID of the virtual machine is needed",
        Some(_) => "a code outside the contract",
    };
    format!("exit {}: {meaning}", code.unwrap_or_default())
}
