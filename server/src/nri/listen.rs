//! Plugins that come by themselves, over a socket.
//!
//! *Invariant:* each is heard out apart: one that hangs holds back no other. A socket that another program answers on is left to it.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::pods::Core;

/// How many plugins are heard out at once.
const AT_ONCE: usize = 16;

/// Listens from now on.
///
/// # Errors
/// If that cannot be.
pub(super) fn begin(core: &Arc<Core>) -> Result<(), Report> {
    let path = core.nri.settings.socket.clone();
    let listener = bind(&path)?;
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let core = Arc::clone(&core);
                    tokio::spawn(async move {
                        let joined = async {
                            let plugin = super::plugin::admit(&core, stream, None).await?;
                            super::sync::join(&core, plugin).await
                        };
                        if let Err(report) = joined.await {
                            tracing::warn!("an NRI plugin was not taken in: {report}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("NRI socket: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

fn bind(path: &Path) -> Result<UnixListener, Report> {
    let failed = |cause: &dyn std::fmt::Display| {
        Report::new(Kind::Failed, "listen for NRI plugins", path.display().to_string(), cause)
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let report = failed(&"another program listens there");
        return Err(report.advise("stop the other runtime, or set [nri] socket"));
    }
    let _ = std::fs::remove_file(path);
    if let Some(directory) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory).map_err(|error| failed(&error))?;
    }
    let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|error| failed(&error))?;
    Ok(listener)
}
