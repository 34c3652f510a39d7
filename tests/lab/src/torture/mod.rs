//! `lab torture`: a nemesis over real nodes, under a load whose every acknowledged write is accounted for.
//!
//! The nemesis ([`nemesis`], [`faults`]) draws faults from a seed; the workloads ([`workloads`]) run under them; both
//! write what they did on one clock ([`history`]). Afterwards the checker ([`checker`]) reads the files alone.

pub mod checker;
pub mod history;
pub mod ledger;
pub mod workloads;

/// Groups that the cluster of a torture run has, each with its workload.
pub const GROUPS: [&str; 3] = ["ledger", "redis", "mariadb"];
/// Where the directory that the data nodes share, as they would a LUN, is mounted on each of them.
pub const SHARED: &str = "/srv/shared";
/// Virtual address of group `redis`.
pub const REDIS_VIP: &str = "10.81.0.101";
/// Virtual address of group `mariadb`.
pub const MARIADB_VIP: &str = "10.81.0.102";
