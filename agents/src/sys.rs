//! The system calls that nix has no safe wrapper for. The only `unsafe` of this crate.
