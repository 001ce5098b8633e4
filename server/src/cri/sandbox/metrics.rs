//! `ListMetricDescriptors`, `ListPodSandboxMetrics` and `StreamPodSandboxMetrics`: what kubelet shows as `/metrics/cadvisor`.
//!
//! Names, labels and meanings are cAdvisor's, so that what was written for that page goes on: a container's samples have its name in
//! `container`, those of the pod's own cgroup and of its network have it empty. The interface's values are whole numbers: what is
//! counted in seconds is shown in whole seconds.
//!
//! *Invariant:* descriptors and samples come from one table ([`table`]): a sample has a descriptor, and as many values as that has
//! keys.

mod table;

use orlop_model::report::Report;
use orlop_model::time::Timestamp;
use orlop_proto::runtime::v1::{
    ContainerMetrics, ListMetricDescriptorsResponse, ListPodSandboxMetricsRequest,
    ListPodSandboxMetricsResponse, Metric, MetricDescriptor, PodSandboxMetrics,
    StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse, UInt64Value,
};
use tonic::codegen::BoxStream;

use super::stats::ready;
use crate::cri::convert::filter::PodFilter;
use crate::cri::stream;
use crate::gauges::Reading;
use crate::gauges::read::{self, ContainerFigures, PodFigures};
use crate::pods::{Core, now};
use table::{Subject, TABLE};

/// The labels that every sample has, as kubelet's page has them.
const KEYS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

pub(crate) fn descriptors() -> Result<ListMetricDescriptorsResponse, Report> {
    let descriptors = TABLE.iter().flat_map(|rows| rows.iter()).map(|row| MetricDescriptor {
        name: row.name.into(),
        help: row.help.into(),
        label_keys: KEYS.iter().chain(row.keys).map(|key| (*key).to_owned()).collect(),
    });
    Ok(ListMetricDescriptorsResponse { descriptors: descriptors.collect() })
}

pub(crate) fn list(
    core: &Core,
    _: ListPodSandboxMetricsRequest,
) -> Result<ListPodSandboxMetricsResponse, Report> {
    let answer = ListPodSandboxMetricsResponse { pod_metrics: rows(core)? };
    stream::whole(answer, "pod metrics", "StreamPodSandboxMetrics")
}

pub(crate) fn streamed(
    core: &Core,
    _: StreamPodSandboxMetricsRequest,
) -> Result<BoxStream<StreamPodSandboxMetricsResponse>, Report> {
    let rows = rows(core)?.into_iter();
    Ok(stream::rows(rows, |pod_sandbox_metrics| StreamPodSandboxMetricsResponse { pod_sandbox_metrics }))
}

fn rows(core: &Core) -> Result<Vec<PodSandboxMetrics>, Report> {
    let figures = read::pods(core, ready(core, &PodFilter::default()))?;
    figures.iter().map(|figures| pod(core, figures)).collect()
}

fn pod(core: &Core, figures: &PodFigures) -> Result<PodSandboxMetrics, Report> {
    let pod = &figures.pod;
    let name = &pod.config.name;
    let details = read::pod_details(core, pod)?;
    let values = [
        String::new(),
        core.pod_cgroup(pod),
        String::new(),
        String::new(),
        name.namespace.clone(),
        name.name.clone(),
    ];
    let subject = Subject {
        began: pod.created_at,
        links: figures.links.as_ref(),
        ..Subject::new(core, &figures.reading, &details)
    };
    let containers = figures.containers.iter().filter_map(|one| {
        let reading = one.reading.as_ref()?;
        Some(container(core, one, reading))
    });
    Ok(PodSandboxMetrics {
        pod_sandbox_id: pod.id.to_string(),
        metrics: samples(&subject, &values),
        container_metrics: containers.collect::<Result<_, _>>()?,
    })
}

fn container(core: &Core, figures: &ContainerFigures, reading: &Reading) -> Result<ContainerMetrics, Report> {
    let container = &figures.container;
    let pod = &container.pod.config.name;
    let details = read::container_details(core, container)?;
    let spec = container.asked.image.clone().unwrap_or_default();
    let image = if spec.user_specified_image.is_empty() { spec.image } else { spec.user_specified_image };
    let values = [
        container.name.name.clone(),
        core.container_cgroup(container),
        image,
        container.id.to_string(),
        pod.namespace.clone(),
        pod.name.clone(),
    ];
    let subject = Subject {
        began: container.started_at(),
        layer: figures.layer.as_ref(),
        room: core.gauges.disk.room(),
        ..Subject::new(core, reading, &details)
    };
    Ok(ContainerMetrics { container_id: container.id.to_string(), metrics: samples(&subject, &values) })
}

/// Everything in the table that there is of a subject; `values`: of [`KEYS`].
fn samples(subject: &Subject<'_>, values: &[String; KEYS.len()]) -> Vec<Metric> {
    let Timestamp(timestamp) = subject.reading.at;
    let mut samples = Vec::with_capacity(80);
    for row in TABLE.iter().flat_map(|rows| rows.iter()) {
        for (own, value) in (row.of)(subject) {
            samples.push(Metric {
                name: row.name.into(),
                timestamp,
                metric_type: row.kind.into(),
                label_values: values.iter().cloned().chain(own).collect(),
                value: Some(UInt64Value { value }),
            });
        }
    }
    samples
}

impl<'a> Subject<'a> {
    fn new(core: &'a Core, reading: &'a Reading, details: &'a read::Details) -> Self {
        Subject {
            reading,
            detail: &details.detail,
            processes: details.processes,
            most_open_files: details.most_open_files,
            disk: &core.gauges.disk,
            began: Timestamp::NEVER,
            seen: now(),
            links: None,
            layer: None,
            room: None,
        }
    }
}
