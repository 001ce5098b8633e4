//! The lives of a container and of a pod, as values.
//!
//! ```text
//!  container     Start            Started             Stop{grace}            Ended
//!   Created ────────▶ Starting ───────▶ Running ─────────────▶ Stopping ───────▶ Exited
//!      │                 │                 └─────────Ended─────────────────────▶   │
//!      │                 └──────────────────Ended (it never ran)───────────────▶   │
//!      └───────────────Remove──────────────▶ Removing ◀──────────Remove────────────┘
//!                                               │ TornDown
//!                                               ▼
//!                                             Gone
//!  pod   Made                 Stop                    Stopped
//!   Making ──▶ Ready ───────────────────▶ Stopping ───────────▶ NotReady ──Remove──▶ Removing ──▶ Gone
//!      └── Failed ─▶ Gone
//! ```
//!
//! *Invariant:* nothing here waits, reads a clock, or does anything. `on` is total: every pair of state and event is either a
//! transition, a repetition that changes nothing, or a refusal with its reason.

pub mod container;
pub mod pod;
