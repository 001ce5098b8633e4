//! `RuntimeConfig`: which cgroup driver. kubelet follows it.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigResponse};

pub(crate) fn answer() -> Result<RuntimeConfigResponse, Report> {
    let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() };
    Ok(RuntimeConfigResponse { linux: Some(linux) })
}
