"""A CRI client in Python's grpcio, on stubs that its own protoc made of proto/runtime/v1/api.proto.

    life.py life SOCKET IMAGE LOGS    a pod's whole life, from version to its removal; says each step that was as it should be
    life.py authority TARGET [AUTHORITY]    one call to a gRPC target; says "answered", or the code and words of the refusal

grpcio makes :authority of a target's path, percent-encoded; an AUTHORITY is sent in its place.
The stubs (api_pb2, api_pb2_grpc) are looked for on PYTHONPATH. tests/tests/clients.rs runs it.
"""
import sys
import time

import grpc

import api_pb2 as cri
import api_pb2_grpc as stubs

PATIENCE = 20


def channel(target, authority):
    options = [("grpc.default_authority", authority)] if authority else []
    return grpc.insecure_channel(target, options=options)


def said(step, holds, seen):
    """A step that has to have gone well."""
    if not holds:
        sys.exit(f"{step}: {seen}")
    print(step)


def refused(call, request):
    """The code that a call has to be refused with."""
    try:
        call(request, timeout=PATIENCE)
    except grpc.RpcError as error:
        return error.code()
    return None


def read_back(runtime, images, pod, container, image):
    pods = runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
    said("ListPodSandbox", [one.id for one in pods] == [pod] and pods[0].metadata.name == "python", pods)
    status = runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
    said("PodSandboxStatus", status.state == cri.SANDBOX_READY and status.network.ip, status)
    listed = runtime.ListContainers(cri.ListContainersRequest()).containers
    said("ListContainers", [one.id for one in listed] == [container] and listed[0].labels["of"] == "python", listed)
    named = images.ImageStatus(cri.ImageStatusRequest(image=cri.ImageSpec(image=image))).image
    said("ImageStatus", image in named.repo_tags and named.size > 0, named)
    said("ListImages", named.id in [one.id for one in images.ListImages(cri.ListImagesRequest()).images], named)
    usage = images.ImageFsInfo(cri.ImageFsInfoRequest()).image_filesystems
    said("ImageFsInfo", usage and usage[0].used_bytes.value > 0, usage)


def begin(runtime, images, image, logs):
    """A pod with a running container: both ids."""
    pulled = images.PullImage(cri.PullImageRequest(image=cri.ImageSpec(image=image))).image_ref
    said("PullImage", pulled, pulled)
    options = cri.NamespaceOption(pid=cri.CONTAINER)
    context = cri.LinuxSandboxSecurityContext(namespace_options=options)
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name="python", uid="python-uid", namespace="default"),
        log_directory=logs,
        linux=cri.LinuxPodSandboxConfig(security_context=context),
    )
    pod = runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config)).pod_sandbox_id
    said("RunPodSandbox", len(pod) == 64, pod)
    container = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="snake"),
        image=cri.ImageSpec(image=image),
        command=["sh", "-c", "trap 'exit 7' TERM; echo from Python; while :; do sleep 0.05; done"],
        envs=[cri.KeyValue(key="TONGUE", value=b"forked")],
        labels={"of": "python"},
        log_path="snake.log",
    )
    create = cri.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=config)
    made = runtime.CreateContainer(create).container_id
    said("CreateContainer", len(made) == 64, made)
    runtime.StartContainer(cri.StartContainerRequest(container_id=made))
    return pod, made


def wait_for_log(path):
    """The container's first line: by then its trap is set."""
    deadline = time.monotonic() + PATIENCE
    lines = []
    while not lines and time.monotonic() < deadline:
        try:
            with open(path, encoding="utf-8") as log:
                lines = log.read().splitlines()
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    said("log", lines and lines[0].endswith(" stdout F from Python"), lines)


def figures(runtime, pod, container):
    own = runtime.ContainerStats(cri.ContainerStatsRequest(container_id=container)).stats
    seen = own.cpu.usage_core_nano_seconds.value > 0 and own.memory.working_set_bytes.value > 0
    said("ContainerStats", seen and own.cpu.HasField("usage_nano_cores"), own)
    listed = [one.attributes.id for one in runtime.ListContainerStats(cri.ListContainerStatsRequest()).stats]
    said("ListContainerStats", listed == [container], listed)
    stats = runtime.PodSandboxStats(cri.PodSandboxStatsRequest(pod_sandbox_id=pod)).stats
    link = stats.linux.network.default_interface.name
    said("PodSandboxStats", link == "eth0" and stats.linux.process.process_count.value > 0, stats)
    keys = {
        one.name: len(one.label_keys)
        for one in runtime.ListMetricDescriptors(cri.ListMetricDescriptorsRequest()).descriptors
    }
    pods = runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest()).pod_metrics
    samples = [*pods[0].metrics, *pods[0].container_metrics[0].metrics]
    fit = all(keys[sample.name] == len(sample.label_values) for sample in samples)
    said("ListPodSandboxMetrics", len(samples) > 45 and fit, samples)


def streamed(runtime, images):
    """Each list as a stream: the same rows."""
    pairs = [
        ("StreamPodSandboxes", runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items,
         [row for part in runtime.StreamPodSandboxes(cri.StreamPodSandboxesRequest()) for row in part.pod_sandboxes]),
        ("StreamContainers", runtime.ListContainers(cri.ListContainersRequest()).containers,
         [row for part in runtime.StreamContainers(cri.StreamContainersRequest()) for row in part.containers]),
        ("StreamImages", images.ListImages(cri.ListImagesRequest()).images,
         [row for part in images.StreamImages(cri.StreamImagesRequest()) for row in part.images]),
    ]
    for name, listed, rows in pairs:
        said(name, list(listed) == rows and rows, rows)


def changes(runtime, pod, container):
    limits = cri.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=512)
    request = cri.UpdateContainerResourcesRequest(container_id=container, linux=limits)
    runtime.UpdateContainerResources(request)
    runtime.UpdateContainerResources(request)
    status = runtime.ContainerStatus(cri.ContainerStatusRequest(container_id=container)).status
    has = status.resources.linux
    said("UpdateContainerResources", (has.memory_limit_in_bytes, has.cpu_shares) == (64 << 20, 512), status)
    request.linux.memory_limit_in_bytes = -5
    code = refused(runtime.UpdateContainerResources, request)
    said("a limit that cannot be", code == grpc.StatusCode.INVALID_ARGUMENT, code)
    sums = cri.UpdatePodSandboxResourcesRequest(pod_sandbox_id=pod, resources=limits)
    runtime.UpdatePodSandboxResources(sums)
    runtime.UpdatePodSandboxResources(sums)
    sums.pod_sandbox_id = "0" * 64
    code = refused(runtime.UpdatePodSandboxResources, sums)
    said("UpdatePodSandboxResources", code == grpc.StatusCode.NOT_FOUND, code)
    said("RuntimeConfig", runtime.RuntimeConfig(cri.RuntimeConfigRequest()).linux.cgroup_driver == cri.CGROUPFS, "")
    bad = cri.RuntimeConfig(network_config=cri.NetworkConfig(pod_cidr="10.0.0.1/99"))
    code = refused(runtime.UpdateRuntimeConfig, cri.UpdateRuntimeConfigRequest(runtime_config=bad))
    said("UpdateRuntimeConfig", code == grpc.StatusCode.INVALID_ARGUMENT, code)
    runtime.ReopenContainerLog(cri.ReopenContainerLogRequest(container_id=container))
    print("ReopenContainerLog")


def urls(runtime, pod, container):
    begin = runtime.Exec(cri.ExecRequest(container_id=container, cmd=["true"], stdout=True)).url
    said("Exec", begin.startswith("http://127.0.0.1:") and "/exec/" in begin, begin)
    begin = runtime.Attach(cri.AttachRequest(container_id=container, stdout=True)).url
    said("Attach", "/attach/" in begin, begin)
    begin = runtime.PortForward(cri.PortForwardRequest(pod_sandbox_id=pod, port=[80])).url
    said("PortForward", "/portforward/" in begin, begin)
    code = refused(runtime.Exec, cri.ExecRequest(container_id=container, cmd=["true"]))
    said("an exec without streams", code == grpc.StatusCode.INVALID_ARGUMENT, code)


def told(events, container):
    """What was told of the container from the first to the last, each with the pod's status."""
    kinds = []
    for event in events:
        if event.container_id == container:
            kinds.append(event.container_event_type)
            if event.container_event_type == cri.CONTAINER_DELETED_EVENT:
                break
    events.cancel()
    wanted = [cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT, cri.CONTAINER_STOPPED_EVENT,
              cri.CONTAINER_DELETED_EVENT]
    said("GetContainerEvents", kinds == wanted, kinds)


def life(socket, image, logs):
    with channel(f"unix:{socket}", "localhost") as way:
        runtime, images = stubs.RuntimeServiceStub(way), stubs.ImageServiceStub(way)
        version = runtime.Version(cri.VersionRequest(), timeout=PATIENCE)
        said("Version", version.runtime_api_version == "v1" and version.runtime_name, version)
        conditions = {one.type: one.status for one in runtime.Status(cri.StatusRequest()).status.conditions}
        said("Status", conditions == {"RuntimeReady": True, "NetworkReady": True}, conditions)
        said("empty", not runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items, "pods")
        events = runtime.GetContainerEvents(cri.GetEventsRequest(), timeout=3 * PATIENCE)
        # Its head says that it is listened.
        events.initial_metadata()
        pod, container = begin(runtime, images, image, logs)
        wait_for_log(f"{logs}/snake.log")
        read_back(runtime, images, pod, container, image)
        figures(runtime, pod, container)
        streamed(runtime, images)
        changes(runtime, pod, container)
        urls(runtime, pod, container)
        ask = cri.ExecSyncRequest(container_id=container, cmd=["sh", "-c", "echo $TONGUE; echo no >&2; exit 3"])
        answer = runtime.ExecSync(ask)
        seen = (answer.stdout, answer.stderr, answer.exit_code)
        said("ExecSync", seen == (b"forked\n", b"no\n", 3), seen)
        runtime.StopContainer(cri.StopContainerRequest(container_id=container, timeout=PATIENCE))
        status = runtime.ContainerStatus(cri.ContainerStatusRequest(container_id=container)).status
        seen = (status.state, status.exit_code, status.reason)
        said("StopContainer", seen == (cri.CONTAINER_EXITED, 7, "Error"), status)
        runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
        code = refused(runtime.ContainerStatus, cri.ContainerStatusRequest(container_id=container))
        said("RemoveContainer", code == grpc.StatusCode.NOT_FOUND, code)
        told(events, container)
        runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
        runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
        said("RemovePodSandbox", not runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items, pod)
        code = refused(runtime.PodSandboxStats, cri.PodSandboxStatsRequest(pod_sandbox_id=pod))
        said("NOT_FOUND", code == grpc.StatusCode.NOT_FOUND, code)


def authority(target, other=None):
    with channel(target, other) as way:
        try:
            stubs.RuntimeServiceStub(way).Version(cri.VersionRequest(), timeout=PATIENCE)
            print("answered")
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    {"life": life, "authority": authority}[sys.argv[1]](*sys.argv[2:])
