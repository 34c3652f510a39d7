//! What every harness of real nodes needs, whether they are containers (the lab) or virtual machines (`tests/vm`): commands of
//! the host, and cleaning up whatever happens.

pub mod reaper;
pub mod sh;
