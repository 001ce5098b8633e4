//! What a shim leaves on disk before it tells anyone.
//!
//! *Invariant:* `exit` appears by one rename and is never changed; who finds it knows the end, who does not find it while the
//! shim's lock is free knows that the shim was killed.

use crate::code::wire;

/// File names in a container's state directory.
pub mod file {
    /// The plan, written by the server before the shim starts.
    pub const PLAN: &str = "plan";
    /// Held locked (flock(2)) by the shim as long as it lives.
    pub const LIFE: &str = "life";
    /// The shim's socket.
    pub const SOCKET: &str = "shim.sock";
    /// [`super::Born`], once the program runs.
    pub const BORN: &str = "born";
    /// [`super::Exited`], once it has ended or could not begin.
    pub const EXIT: &str = "exit";
    /// There once all hooks that come after the end have been run.
    pub const POSTSTOP: &str = "poststop";
    /// The room of [`EXIT`], taken before the container begins, so that a full disk cannot lose an end.
    pub const EXIT_RESERVED: &str = "exit.reserved";
}

wire! {
/// The container's program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Born {
    /// [`crate::VERSION`] of the shim.
    pub version: u16,
    /// Its first process, in the host's PID namespace.
    pub pid: i32,
    /// The shim's own process.
    pub shim: i32,
    /// When exec succeeded: nanoseconds since 1970.
    pub at: i64,
    /// Where the time went: what, and microseconds that it took.
    pub stages: Vec<(String, u64)>,
}}

wire! {
/// The container has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exited {
    /// [`crate::VERSION`] of the shim.
    pub version: u16,
    /// Exit code, or 128 and the signal's number.
    pub code: i32,
    /// The signal that ended it, 0 for none.
    pub signal: i32,
    /// Whether the kernel killed its first process for want of memory.
    pub oom_killed: bool,
    /// When it ended: nanoseconds since 1970.
    pub at: i64,
    /// Why it never ran, if it did not.
    pub failure: Option<Failure>,
}}

wire! {
/// Something that a shim could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub stage: String,
    /// To what.
    pub object: String,
    /// Index of the operation in the plan, where it was one.
    pub operation: Option<u32>,
    /// errno, 0 where the kernel did not refuse.
    pub errno: i32,
    /// What is to be said beyond errno's own words; may be empty.
    pub detail: String,
}}
