//! Programs of others that are run at points of a container's life: OCI hooks.
//!
//! ```text
//!  namespaces, mounts ─▶ [prestart, createRuntime, createContainer] ─▶ pivot ─▶ [startContainer] ─▶ exec ─▶ [poststart] ... end ─▶ [poststop]
//! ```
//!
//! *Invariant:* plain data, as in a plan: how a hook gets where it is to run is a list of operations.

use crate::code::wire;
use crate::plan::Operation;

wire! {
/// The hooks of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// In the order in which they are run: never one before another whose point comes earlier.
    pub all: Vec<Hook>,
    /// What a hook reads from its stdin, the container's state in JSON, up to the value of `status`, with the quote before it.
    pub head: Vec<u8>,
    /// The same from behind `pid`, with the comma before what comes next.
    pub tail: Vec<u8>,
}}

wire! {
/// A program, and when it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub point: Point,
    /// From its birth to its exec.
    pub operations: Vec<Operation>,
    /// How long it may take, in milliseconds; then it is killed, with all of its process group.
    pub patience: u64,
}}

wire! {
/// When a hook is run; in the order of a container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Once namespaces and mounts are made; in the runtime's namespaces.
    0 => Prestart,
    /// The same.
    1 => CreateRuntime,
    /// Then, in the container's namespaces, before its root is the root.
    2 => CreateContainer,
    /// In the container, before its program.
    3 => StartContainer,
    /// Once the program runs; in the runtime's namespaces.
    4 => Poststart,
    /// After the end; in the runtime's namespaces.
    5 => Poststop,
}}

impl Point {
    /// All of them, in their order.
    pub const ALL: [Point; 6] = [
        Point::Prestart,
        Point::CreateRuntime,
        Point::CreateContainer,
        Point::StartContainer,
        Point::Poststart,
        Point::Poststop,
    ];

    /// As the OCI spec calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Point::Prestart => "prestart",
            Point::CreateRuntime => "createRuntime",
            Point::CreateContainer => "createContainer",
            Point::StartContainer => "startContainer",
            Point::Poststart => "poststart",
            Point::Poststop => "poststop",
        }
    }

    /// Whether a hook of this point runs in the container's namespaces.
    #[must_use]
    pub fn is_inside(self) -> bool {
        matches!(self, Point::CreateContainer | Point::StartContainer)
    }

    /// How the container stands then, in the words of the OCI spec.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Point::Prestart | Point::CreateRuntime | Point::CreateContainer => "creating",
            Point::StartContainer => "created",
            Point::Poststart => "running",
            Point::Poststop => "stopped",
        }
    }
}

impl Hooks {
    /// What a hook of this point reads: the container's state. `pid` is the first process's, as whoever runs the hook sees it; none
    /// once it is gone.
    #[must_use]
    pub fn state(&self, point: Point, pid: Option<i32>) -> Vec<u8> {
        let mut state = self.head.clone();
        state.extend_from_slice(point.status().as_bytes());
        state.push(b'"');
        if let Some(pid) = pid {
            state.extend_from_slice(b",\"pid\":");
            state.extend_from_slice(pid.to_string().as_bytes());
        }
        state.extend_from_slice(&self.tail);
        state
    }
}

impl Hook {
    /// The program's path.
    #[must_use]
    pub fn path(&self) -> String {
        match self.operations.last() {
            Some(Operation::Execute { candidates, .. }) => {
                candidates.first().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_has_a_pid_as_long_as_there_is_a_process() {
        let hooks = Hooks {
            all: vec![],
            head: b"{\"id\":\"c\",\"status\":\"".to_vec(),
            tail: b",\"bundle\":\"/b\"}".to_vec(),
        };
        let state = |point, pid| String::from_utf8(hooks.state(point, pid)).expect("text");
        assert_eq!(
            state(Point::CreateRuntime, Some(7)),
            "{\"id\":\"c\",\"status\":\"creating\",\"pid\":7,\"bundle\":\"/b\"}"
        );
        assert_eq!(state(Point::Poststop, None), "{\"id\":\"c\",\"status\":\"stopped\",\"bundle\":\"/b\"}");
    }

    #[test]
    fn points_come_in_the_order_of_a_life() {
        assert!(Point::ALL.is_sorted());
    }
}
