//! What is mounted into a container, and its devices.
//!
//! *Invariant:* a path in the container comes out absolute, without `.` and `..`; a path of the node comes out as it is.

use orlop_model::container::{Device, ImageVolume, Mount, Propagation};
use orlop_model::pod::UserMaps;
use orlop_model::report::Report;
use orlop_proto::runtime::v1;

use super::{check, mappings};

fn propagation(field: String, number: i32) -> Result<Propagation, Report> {
    match v1::MountPropagation::try_from(number) {
        Ok(v1::MountPropagation::PropagationPrivate) => Ok(Propagation::Private),
        Ok(v1::MountPropagation::PropagationHostToContainer) => Ok(Propagation::HostToContainer),
        Ok(v1::MountPropagation::PropagationBidirectional) => Ok(Propagation::Bidirectional),
        Err(_) => Err(Report::field(
            field,
            number,
            "allowed: PROPAGATION_PRIVATE (0), PROPAGATION_HOST_TO_CONTAINER (1), PROPAGATION_BIDIRECTIONAL (2)",
        )),
    }
}

/// The word by which kubelet knows that it is the volume of an image that failed; it has to begin the message.
pub(crate) const IMAGE_VOLUME: &str = "ImageVolumeMountFailed";

/// The image of a mount that is of one.
fn image(field: &str, asked: &v1::Mount) -> Result<Option<ImageVolume>, Report> {
    let Some(spec) = &asked.image else {
        if asked.image_sub_path.is_empty() {
            return Ok(None);
        }
        let cause = "only a mount of an image has one";
        return Err(Report::field(format!("{field}.image_sub_path"), &asked.image_sub_path, cause));
    };
    let field = format!("{IMAGE_VOLUME}: {field}");
    if !asked.host_path.is_empty() {
        let cause = "a mount is of a path or of an image, not of both";
        return Err(Report::field(format!("{field}.host_path"), &asked.host_path, cause));
    }
    if !asked.readonly {
        let cause = "an image is mounted read-only, whatever is asked for";
        return Err(Report::field(format!("{field}.readonly"), false, cause).advise("set readonly"));
    }
    if asked.propagation == i32::from(v1::MountPropagation::PropagationBidirectional) {
        let cause = "no path of the node is mounted, so nothing could travel to one";
        return Err(Report::field(format!("{field}.propagation"), "PROPAGATION_BIDIRECTIONAL", cause));
    }
    let image = super::container::image_name(&format!("{field}.image.image"), &spec.image)?;
    let sub_path = match asked.image_sub_path.as_str() {
        "" => String::new(),
        path => check::below(&format!("{field}.image_sub_path"), path, "the image's root")?,
    };
    Ok(Some(ImageVolume { image, sub_path }))
}

/// Options of a bind mount that take something away from whoever uses it, or say how access times are kept; each with an `r` before it
/// is for all that is mounted below, too.
const RESTRICTIONS: [&str; 8] =
    ["noexec", "nodev", "nosuid", "nosymfollow", "noatime", "nodiratime", "relatime", "strictatime"];
/// Of those, what a mount of an image can have: nothing is written there, and it has no device anyway.
const OF_IMAGES: usize = 3;

/// Further options. What has a field of its own, and what would give back what the node's own mount takes away, is refused.
fn options(field: &str, asked: &v1::Mount) -> Result<Vec<String>, Report> {
    let image = asked.image.is_some();
    let known = if image { &RESTRICTIONS[..OF_IMAGES] } else { &RESTRICTIONS[..] };
    for (at, option) in asked.mount_options.iter().enumerate() {
        let is = |name: &&str| *name == option || !image && option.strip_prefix('r') == Some(*name);
        if known.iter().any(is) {
            continue;
        }
        let field = format!("{field}.mount_options[{at}]");
        check::text(&field, option, 255)?;
        let cause = match option.as_str() {
            "exec" | "dev" | "suid" | "symfollow" => "it would lift what the node's own mount forbids",
            "ro" | "rw" | "rro" => "readonly and recursive_read_only say that",
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => "propagation says that",
            _ => "it is no option that a bind mount takes here",
        };
        let mut allowed = format!("allowed: {}", known.join(", "));
        allowed.push_str(if image { "" } else { ", each with an r before it for all below" });
        return Err(Report::field(field, option, cause).advise(allowed));
    }
    Ok(asked.mount_options.clone())
}

fn mount(field: &str, asked: &v1::Mount, user: Option<UserMaps>) -> Result<Mount, Report> {
    // `selinux_relabel` is not looked at here: kubelet sets it for every volume that could have a label.
    let mapped = mappings::of_mount(field, &asked.uid_mappings, &asked.gid_mappings, user)?;
    let image = image(field, asked)?;
    let container_path = check::inside(&format!("{field}.container_path"), &asked.container_path)?;
    if container_path == "/" {
        let cause = "nothing is mounted over the container's root";
        return Err(Report::field(format!("{field}.container_path"), &asked.container_path, cause));
    }
    let propagation = propagation(format!("{field}.propagation"), asked.propagation)?;
    if propagation == Propagation::Bidirectional && user.is_some() {
        let cause = "what is mounted in a user namespace does not travel to the node";
        return Err(Report::field(format!("{field}.propagation"), "PROPAGATION_BIDIRECTIONAL", cause));
    }
    if asked.recursive_read_only {
        let field = format!("{field}.recursive_read_only");
        if !asked.readonly {
            return Err(Report::field(field, true, "it needs readonly, too"));
        }
        if propagation != Propagation::Private {
            return Err(Report::field(field, true, "it needs propagation PRIVATE"));
        }
    }
    let field = if image.is_some() { &format!("{IMAGE_VOLUME}: {field}") } else { field };
    Ok(Mount {
        container_path,
        host_path: match image {
            Some(_) => String::new(),
            None => check::absolute(&format!("{field}.host_path"), &asked.host_path)?,
        },
        image,
        readonly: asked.readonly,
        recursive_read_only: asked.recursive_read_only,
        propagation,
        relabel: asked.selinux_relabel,
        options: options(field, asked)?,
        mapped,
    })
}

/// What is mounted, in the order asked for.
pub(super) fn mounts(asked: &[v1::Mount], user: Option<UserMaps>) -> Result<Vec<Mount>, Report> {
    let each = |(at, asked)| mount(&format!("config.mounts[{at}]"), asked, user);
    asked.iter().enumerate().map(each).collect()
}

fn device(field: &str, asked: &v1::Device) -> Result<Device, Report> {
    let permissions = asked.permissions.as_str();
    if permissions.is_empty() || permissions.contains(|c| !matches!(c, 'r' | 'w' | 'm')) {
        let field = format!("{field}.permissions");
        return Err(Report::field(field, permissions, "allowed: one or more of r, w, m"));
    }
    Ok(Device {
        container_path: check::inside(&format!("{field}.container_path"), &asked.container_path)?,
        host_path: check::absolute(&format!("{field}.host_path"), &asked.host_path)?,
        // Each once, in the kernel's order.
        permissions: ['r', 'w', 'm'].into_iter().filter(|one| permissions.contains(*one)).collect(),
    })
}

/// The devices, in the order asked for.
pub(super) fn devices(asked: &[v1::Device]) -> Result<Vec<Device>, Report> {
    let each = |(at, asked)| device(&format!("config.devices[{at}]"), asked);
    asked.iter().enumerate().map(each).collect()
}
