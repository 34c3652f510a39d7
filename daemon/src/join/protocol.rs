//! The two messages of the join protocol.

/// Longest of either: the answer carries a configuration.
pub const BYTES_MAX: usize = 1 << 20;

/// From the newcomer.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct JoinCall {
    /// Secret of the token.
    #[prost(bytes = "vec", tag = "1")]
    pub secret: Vec<u8>,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its addresses; if empty, the one it came from.
    #[prost(string, repeated, tag = "3")]
    pub links: Vec<String>,
    /// It is a witness.
    #[prost(bool, tag = "4")]
    pub witness: bool,
}

/// From the member.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinAnswer {
    /// Text of the configuration; empty if refused.
    #[prost(string, tag = "1")]
    pub config: String,
    /// Why not; empty if accepted.
    #[prost(string, tag = "2")]
    pub refused: String,
}
