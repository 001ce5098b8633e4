//! What a shim has to know of a runtime that is not ours, and of what is handed to it.
//!
//! *Invariant:* plain data, as all of a plan.

use std::ffi::CString;

use super::Operation;
use crate::code::wire;

wire! {
/// A runtime of others, by whose commands a container is made and ended.
///
/// ```text
///  clone ─▶ operations, the last of which is `create` ─▶ its end: the process that it leaves is the container's first
///        ─▶ `start` ─▶ its end: the container runs ... the first process ends ─▶ `delete`
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Its name, for errors.
    pub name: String,
    /// What its first command leaves.
    pub create: Handover,
    /// What a child does to have the program begin.
    pub start: Vec<Operation>,
    /// What a child does once the container has ended.
    pub delete: Vec<Operation>,
    /// The signal that ends the first process of the container, or of an exec, whatever it is doing.
    pub kill: i32,
}}

wire! {
/// What a command of a runtime leaves when it has ended well: a process, which becomes a child of the shim's, as a child subreaper
/// has it (prctl(2)). Paths are relative to the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Where it writes the process's number in the host's PID namespace.
    pub pid_file: CString,
    /// Where it writes what it has to say; the last line is why it failed.
    pub log: CString,
    /// Where it connects to (unix(7)) to send the master of a terminal, if there is one.
    pub console: Option<CString>,
    /// Removed with those above once the process has ended.
    pub files: Vec<CString>,
}}
