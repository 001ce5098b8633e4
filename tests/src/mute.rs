//! A filesystem that never answers: what a dead NFS server is to whoever touches it.
//!
//! *Invariant:* whoever waits for it can be killed; it goes when it is dropped, and with it every wait.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

/// One, mounted.
pub struct Mute {
    path: PathBuf,
    /// Whom the kernel asks, in vain.
    server: Option<File>,
}

impl Mute {
    /// Mounts it at `path`, which is made.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn mount(path: &Path) -> Self {
        use std::os::fd::AsRawFd as _;
        std::fs::create_dir_all(path).expect("a directory");
        let server = File::options().read(true).write(true).open("/dev/fuse").expect("FUSE");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let options = std::ffi::CString::new(options).expect("no NUL");
        rustix::mount::mount("mute", path, "fuse", MountFlags::empty(), options.as_c_str()).expect("a mount");
        Mute { path: path.to_owned(), server: Some(server) }
    }

    /// A path in it.
    #[must_use]
    pub fn inside(&self) -> PathBuf {
        self.path.join("data")
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        // Whoever waits hears that the connection is gone.
        drop(self.server.take());
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
    }
}
