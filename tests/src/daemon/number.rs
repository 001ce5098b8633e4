//! A number that no other instance on this machine has while it is held, and the networks that follow from it.
//!
//! *Invariant:* it is held by a lock on a file, so it is free again when the process that held it is gone, whatever ended it.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// As many as there are networks of 256 addresses in 10.128.0.0/9.
const MOST: u32 = 1 << 15;

/// A number, held.
pub struct Number {
    value: u32,
    path: PathBuf,
    #[expect(dead_code, reason = "the lock goes with it")]
    file: File,
}

impl Number {
    /// The lowest that is free.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn claim() -> Self {
        (1..MOST).find_map(Self::try_claim).expect("a number is free")
    }

    fn try_claim(value: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/tmp/orlop-instance-{value}.lock"));
        let file = File::options().write(true).create(true).truncate(false).open(&path).ok()?;
        file.try_lock().ok()?;
        // Its last holder may have removed the file between the open and the lock.
        let same = std::fs::metadata(&path).is_ok_and(|there| {
            file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()))
        });
        same.then_some(Number { value, path, file })
    }

    /// The number.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.value
    }

    /// Its IPv4 network.
    #[must_use]
    pub fn subnet(&self) -> String {
        format!("10.{}.{}.0/24", 128 + self.value / 256, self.value % 256)
    }

    /// Its IPv6 network.
    #[must_use]
    pub fn subnet6(&self) -> String {
        format!("fd6f:726c:6f70:{:x}::/64", self.value)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // Removed while it is locked: nobody else holds this name.
        let _ = std::fs::remove_file(&self.path);
    }
}
