//! `RestorePod`: a pod and its containers, made from a checkpoint; the containers are created and have not run.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{RestorePodRequest, RestorePodResponse, RestoredContainer};

use crate::blocking::blocking;
use crate::checkpoint::{export, pod};
use crate::cri::convert;
use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RestorePodRequest,
) -> Result<RestorePodResponse, Report> {
    let asked = request.config.unwrap_or_default();
    let mut config = convert::pod_config(&asked, &request.runtime_handler, core.node.door)?;
    config.handler = core.handlers.named(config.handler);
    export::is_native(&core, &config.handler)?;
    convert::no_options(&request.options)?;
    let mut containers = Vec::new();
    for (at, asked) in request.container_configs.into_iter().enumerate() {
        let checked = convert::container_config(&asked, &config, core.node.door);
        let checked = checked.map_err(|mut report| {
            report.stage = format!("container_configs[{at}].{}", report.stage.trim_start_matches("config."));
            report
        })?;
        containers.push((checked, asked));
    }
    let path = convert::place("checkpoint_path", &request.checkpoint_path)?;
    let archives = blocking("read checkpoint", move || pod::archives(&path)).await??;
    let names: Vec<String> = containers.iter().map(|(config, _)| config.name.name.clone()).collect();
    pod::same_names(&names, &archives)?;
    let from = containers.into_iter().filter_map(|(config, asked)| {
        let archive = archives.get(&config.name.name)?.clone();
        Some((config, asked, archive))
    });
    let (pod, restored) = pod::restore(&core, config, asked, from.collect()).await?;
    let restored = restored
        .iter()
        .map(|container| RestoredContainer {
            name: container.name.name.clone(),
            container_id: container.id.to_string(),
        })
        .collect();
    Ok(RestorePodResponse { pod_sandbox_id: pod.id.to_string(), restored_containers: restored })
}
