//! Certificates as an operator makes them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// An authority, and one certificate that it signed.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    /// None without openssl.
    pub fn new() -> Option<Certificates> {
        let folder = tempfile::tempdir().unwrap();
        let run = |words: &str| {
            let mut command = Command::new("openssl");
            let words = words.split_whitespace();
            let output = command.args(words).current_dir(folder.path()).output().ok()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
            Some(())
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc";
        run(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
        ))?;
        run(&format!(
            "req {key} -keyout node.key -out node.csr -subj /CN=node"
        ))?;
        std::fs::write(folder.path().join("ext"), "basicConstraints=CA:FALSE\n").unwrap();
        run("x509 -req -in node.csr -CA ca.pem -CAkey ca.key -days 2 -extfile ext -out node.pem")?;
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(folder.path(), 0o755);
        open(&folder.path().join("node.key"), 0o644);
        Some(Certificates(folder))
    }

    pub fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}
