//! SHOW REPLICA STATUS, in one form for both families.

use super::client::{Client, Row, SqlError};
use super::gtid::Gtids;
use super::server::Server;
use super::wire::plain;

/// Errors of the connection to the primary that pass by themselves, or end with the primary's own return.
const PASSING: [u32; 8] = [0, 1040, 1045, 1130, 2002, 2003, 2005, 2013];

/// What a replica does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The primary's address and port.
    pub host: String,
    /// See `host`.
    pub port: u16,
    /// It is connected and receives.
    pub receives: bool,
    /// The thread that receives runs, connected or not.
    pub receiver_runs: bool,
    /// It applies.
    pub applies: bool,
    /// Number and text of what keeps it from receiving.
    pub receive_error: (u32, String),
    /// Number and text of what keeps it from applying.
    pub apply_error: (u32, String),
    /// Seconds that what is applied is behind.
    pub lag_s: Option<u64>,
    /// What was received, without what had been applied before.
    pub received: Gtids,
}

impl Status {
    /// Asks. None: it follows nobody.
    ///
    /// # Errors
    /// No answer.
    pub async fn read(client: &mut Client) -> Result<Option<Status>, SqlError> {
        let server = client.server();
        let rows = client.rows("SHOW REPLICA STATUS").await?;
        rows.first()
            .map(|row| Self::of(server, row).map_err(SqlError::Login))
            .transpose()
    }

    pub(super) fn of(server: Server, row: Row) -> Result<Status, String> {
        let receiver = row.text(&["Replica_IO_Running", "Slave_IO_Running"]);
        let error = |number: &str, text: &str| {
            let number = row
                .number(&[number])
                .and_then(|number| u32::try_from(number).ok());
            (number.unwrap_or(0), plain(row.text(&[text]), 400))
        };
        let port = row.number(&["Source_Port", "Master_Port"]);
        Ok(Status {
            host: row.text(&["Source_Host", "Master_Host"]).to_owned(),
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
            receives: receiver == "Yes",
            receiver_runs: receiver != "No",
            applies: row.text(&["Replica_SQL_Running", "Slave_SQL_Running"]) == "Yes",
            receive_error: error("Last_IO_Errno", "Last_IO_Error"),
            apply_error: error("Last_SQL_Errno", "Last_SQL_Error"),
            lag_s: row.number(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
            received: Gtids::parse(server, row.text(&["Retrieved_Gtid_Set", "Gtid_IO_Pos"]))?,
        })
    }

    /// Why it will never go on by itself. Empty: it may.
    pub fn broken(&self) -> String {
        let (number, text) = &self.apply_error;
        if !self.applies && *number != 0 {
            return format!("a transaction cannot be applied: error {number}: {text}");
        }
        let (number, text) = &self.receive_error;
        if !self.receives && !PASSING.contains(number) {
            return format!("the primary's transactions cannot be received: error {number}: {text}");
        }
        String::new()
    }
}
