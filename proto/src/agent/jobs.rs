//! What is said of jobs.

/// A run of a job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobOrder {
    /// The job.
    #[prost(string, tag = "1")]
    pub job: String,
    /// Number of the run, larger than that of every earlier run: one that is not larger than what was seen is not begun.
    #[prost(uint64, tag = "2")]
    pub run: u64,
    /// True to begin it; false to end it, or never to begin it.
    #[prost(bool, tag = "3")]
    pub begin: bool,
    /// What to run, to begin it.
    #[prost(message, optional, tag = "4")]
    pub spec: Option<JobSpec>,
    /// Why it is to end.
    #[prost(string, tag = "5")]
    pub reason: String,
    /// What it is for, in seconds since 1970.
    #[prost(sint64, tag = "6")]
    pub occurrence: i64,
    /// Which try it is.
    #[prost(uint32, tag = "7")]
    pub attempt: u32,
    /// The cluster's identity: numbers of another one say nothing.
    #[prost(uint64, tag = "8")]
    pub cluster_id: u64,
}

/// The program of a job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobSpec {
    /// The program, then its arguments, joined with newlines.
    #[prost(string, tag = "1")]
    pub command: String,
    /// User; empty for had-agentd's own.
    #[prost(string, tag = "2")]
    pub user: String,
    /// Working folder.
    #[prost(string, tag = "3")]
    pub cwd: String,
    /// Variables, a line each.
    #[prost(string, tag = "4")]
    pub env: String,
    /// How long it may take.
    #[prost(uint32, tag = "5")]
    pub timeout_ms: u32,
    /// The group it belongs to.
    #[prost(string, tag = "6")]
    pub group: String,
}

/// How the latest run of a job stands.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobStatus {
    /// The job.
    #[prost(string, tag = "1")]
    pub job: String,
    /// Number of the run.
    #[prost(uint64, tag = "2")]
    pub run: u64,
    /// `running`, `done`, `failed`, `interrupted` or `not-begun`.
    #[prost(string, tag = "3")]
    pub outcome: String,
    /// One sentence.
    #[prost(string, tag = "4")]
    pub detail: String,
    /// How long it took, once it ended.
    #[prost(uint64, tag = "5")]
    pub took_ms: u64,
}
