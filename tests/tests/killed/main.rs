//! orlopd is killed at every moment of a pod's life, and each interrupted call is said again.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `story` | the life of a pod from the pull to the removal, told on whatever happens to orlopd meanwhile |
//! | `sweep` | death at the first point that the daemon passes, at the second, ... until the story ends without a death; and twice |
//! | `random` | death at any time |
//! | `pulls` | death in the midst of a pull |
//!
//! *Invariant:* whenever it dies: every retry works, what was committed keeps its id, every exit is told as it was, nothing is left.

mod pulls;
mod random;
mod story;
mod sweep;
