//! Ports of the node.
//!
//! *Invariant:* nothing is held: between the look and its use another may take it, which with so many ports hardly happens.

/// A port that nobody listens on now, at any address.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port is free");
    listener.local_addr().expect("its address").port()
}
