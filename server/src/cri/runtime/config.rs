//! `RuntimeConfig`: which cgroup driver. kubelet follows it.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigResponse};

use crate::pods::Core;

pub(crate) fn answer(core: &Core) -> Result<RuntimeConfigResponse, Report> {
    let driver = if core.node.systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
    let linux = LinuxRuntimeConfiguration { cgroup_driver: driver.into() };
    Ok(RuntimeConfigResponse { linux: Some(linux) })
}
