//! The first message on a connection, and its answer.

use super::BootWire;

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloWire {
    #[prost(fixed64, tag = "1")]
    pub cluster: u64,
    #[prost(uint32, optional, tag = "2")]
    pub from: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub to: Option<u32>,
    #[prost(message, optional, tag = "4")]
    pub boot: Option<BootWire>,
    #[prost(uint64, tag = "5")]
    pub incarnation: u64,
    #[prost(string, tag = "6")]
    pub daemon_version: String,
    #[prost(uint32, tag = "7")]
    pub wire_version: u32,
    #[prost(uint32, tag = "8")]
    pub link: u32,
    /// 1 beats, 2 messages.
    #[prost(uint32, tag = "9")]
    pub purpose: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloReplyWire {
    #[prost(oneof = "HelloAnswer", tags = "1,2")]
    pub answer: Option<HelloAnswer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HelloAnswer {
    #[prost(message, tag = "1")]
    Accepted(AcceptedHelloWire),
    #[prost(message, tag = "2")]
    Refused(RefusedHelloWire),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AcceptedHelloWire {
    #[prost(uint32, optional, tag = "1")]
    pub node: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub boot: Option<BootWire>,
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    #[prost(string, tag = "4")]
    pub daemon_version: String,
    #[prost(uint32, tag = "5")]
    pub wire_version: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RefusedHelloWire {
    /// See `Refusal::code`.
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub sentence: String,
}
