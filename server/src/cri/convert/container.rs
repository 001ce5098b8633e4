//! What is asked of a container.
//!
//! *Invariant:* what comes out can be made, as far as that is to be seen without looking at the node or the image.

use orlop_cdi::name;
use orlop_model::container::{ContainerConfig, ContainerName, NamedDevice};
use orlop_model::pod::PodConfig;
use orlop_model::report::Report;
use orlop_proto::runtime::v1;

use super::{Node, check, missing, mounts, resources, security, signal, unsupported};

/// What execve(2) takes of arguments and environment together: a quarter of a stack of 8 MiB.
const EXEC_MAX: usize = 2 << 20;
const IMAGE_MAX: usize = 1024;

/// Checks a request for a container of `pod`.
///
/// # Errors
/// A report that names the first field that cannot be.
pub(crate) fn container_config(
    config: &v1::ContainerConfig,
    pod: &PodConfig,
    node: Node,
) -> Result<ContainerConfig, Report> {
    if config.windows.is_some() {
        return Err(unsupported("config.windows", "a container of Windows"));
    }
    let silent = v1::LinuxContainerConfig::default();
    let linux = config.linux.as_ref().unwrap_or(&silent);
    let limits = linux.resources.clone().unwrap_or_default();
    let context = linux.security_context.clone().unwrap_or_default();

    let name = container_name(config.metadata.as_ref())?;
    let (image, user_image) = image(config.image.as_ref())?;
    let command = check::command("config.command", &config.command)?;
    let args = check::command("config.args", &config.args)?;
    let envs = envs(&config.envs)?;
    let lengths = command.iter().chain(&args).map(|argument| argument.len() + 1);
    let lengths = lengths.chain(envs.iter().map(|(key, value)| key.len() + value.len() + 2));
    let bytes: usize = lengths.sum();
    if bytes > EXEC_MAX {
        let cause =
            format_args!("with command and args it has {bytes} bytes of {EXEC_MAX} at most").to_string();
        return Err(Report::field("config.envs", "", cause));
    }
    Ok(ContainerConfig {
        name,
        image,
        user_image,
        command,
        args,
        working_dir: working_dir(&config.working_dir)?,
        envs,
        mounts: mounts::mounts(&config.mounts, pod.namespaces.user)?,
        devices: mounts::devices(&config.devices)?,
        named_devices: named_devices(config)?,
        labels: check::map("config.labels", &config.labels)?,
        annotations: check::map("config.annotations", &config.annotations)?,
        log_path: match config.log_path.as_str() {
            "" => String::new(),
            path => check::file_below("config.log_path", path, "log_directory")?,
        },
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        resources: resources("config.linux.resources", &limits)?,
        security: security::security(&context, pod, node)?,
        stop_signal: signal::stop_signal("config.stop_signal", config.stop_signal)?,
    })
}

/// The devices that a container was asked for with by their CDI names.
pub(crate) fn cdi_devices(asked: &v1::ContainerConfig) -> Vec<String> {
    let devices = named_devices(asked).unwrap_or_default();
    devices.into_iter().map(|device| device.name).collect()
}

/// Devices by their CDI names: of the field, then of annotations.
fn named_devices(config: &v1::ContainerConfig) -> Result<Vec<NamedDevice>, Report> {
    let mut all = Vec::new();
    for (at, device) in config.cdi_devices.iter().enumerate() {
        let field = format!("config.CDI_devices[{at}].name");
        name::parse(&device.name).map_err(|cause| Report::field(&field, &device.name, cause))?;
        all.push(NamedDevice { field, name: device.name.clone() });
    }
    for (key, value) in config.annotations.iter().filter(|(key, _)| key.starts_with(name::ANNOTATION)) {
        let field = format!("config.annotations[{key:?}]");
        let names = name::listed(value).map_err(|cause| Report::field(&field, value, cause))?;
        all.extend(names.into_iter().map(|name| NamedDevice { field: field.clone(), name: name.to_owned() }));
    }
    Ok(all)
}

fn container_name(metadata: Option<&v1::ContainerMetadata>) -> Result<ContainerName, Report> {
    let metadata = metadata.ok_or_else(|| missing("config.metadata"))?;
    let name = check::name("config.metadata.name", &metadata.name)?;
    Ok(ContainerName { name, attempt: metadata.attempt })
}

/// The image as it is to be found, and as the user wrote it.
fn image(image: Option<&v1::ImageSpec>) -> Result<(String, String), Report> {
    const FIELD: &str = "config.image.image";
    let image = image.ok_or_else(|| missing("config.image"))?;
    let name = image_name(FIELD, &image.image)?;
    let written = check::text("config.image.user_specified_image", &image.user_specified_image, IMAGE_MAX)?;
    Ok((name, written.to_owned()))
}

/// An image's id or name, as far as that is to be seen.
pub(super) fn image_name(field: &str, name: &str) -> Result<String, Report> {
    let name = check::text(field, name, IMAGE_MAX)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Report::field(field, name, "it is no image's id or name"));
    }
    Ok(name.to_owned())
}

fn working_dir(path: &str) -> Result<String, Report> {
    if path.is_empty() { Ok(String::new()) } else { check::absolute("config.working_dir", path) }
}

/// The environment's additions. A report shows names only.
fn envs(asked: &[v1::KeyValue]) -> Result<Vec<(String, Vec<u8>)>, Report> {
    let each = |(at, variable): (usize, &v1::KeyValue)| {
        let (key, value) = (&variable.key, &variable.value);
        let wrong = |part, cause: &str| Err(Report::field(format!("config.envs[{at}].{part}"), key, cause));
        if key.is_empty() {
            return wrong("key", "it is empty");
        }
        if key.contains(['=', '\0']) {
            return wrong("key", "it has a = or a NUL in it");
        }
        if value.contains(&0) {
            return wrong("value", "the value has a NUL in it");
        }
        if key.len() + 1 + value.len() > check::ARGUMENT_MAX {
            return wrong("value", "with its name it is longer than 128 KiB, and execve(2) would refuse it");
        }
        Ok((key.clone(), value.clone()))
    };
    asked.iter().enumerate().map(each).collect()
}
