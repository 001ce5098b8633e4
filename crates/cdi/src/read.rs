//! A file's values as its content, checked.
//!
//! *Invariant:* a name that is not known, a value of another kind, a rule that is broken: each is a fault with its line and its place
//! in the file. Nothing is passed over.

use std::collections::HashSet;

use crate::file::{Content, Device, Edits, Fault, Hook, Mount, NetDevice, Node, Point, Rdt};
use crate::name;
use crate::tree::{Tree, Value};
use crate::version::Facts;

/// An object's values by name, with where it stands.
struct Fields<'t> {
    line: usize,
    place: String,
    all: &'t [(String, usize, Tree)],
}

fn fault(line: usize, place: &str, cause: impl Into<String>) -> Fault {
    Fault { line, place: place.to_owned(), cause: cause.into() }
}

impl<'t> Fields<'t> {
    fn of(tree: &'t Tree, place: String, known: &[&str]) -> Result<Self, Fault> {
        let all: &[_] = match &tree.value {
            Value::Map(all) => all,
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                return Err(fault(tree.line, &place, format!("{} where an object belongs", tree.what())));
            }
        };
        if let Some((name, line, _)) = all.iter().find(|(name, _, _)| !known.contains(&name.as_str())) {
            let cause = format!("there is no {name:?} here; known are {}", known.join(", "));
            return Err(fault(*line, &place, cause));
        }
        Ok(Fields { line: tree.line, place, all })
    }

    fn place(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// What is there, unless it is nothing.
    fn get(&self, name: &str) -> Option<&'t Tree> {
        let found = self.all.iter().find(|(known, _, _)| known == name);
        found.map(|(_, _, tree)| tree).filter(|tree| tree.value != Value::Null)
    }

    fn line(&self, name: &str) -> usize {
        self.get(name).map_or(self.line, |tree| tree.line)
    }

    fn wrong(&self, name: &str, cause: impl Into<String>) -> Fault {
        fault(self.line(name), &self.place(name), cause)
    }

    fn text(&self, name: &str) -> Result<String, Fault> {
        self.get(name).map_or(Ok(String::new()), |tree| text(tree, &self.place(name)))
    }

    fn needed(&self, name: &str) -> Result<String, Fault> {
        let text = self.text(name)?;
        if text.is_empty() { Err(self.wrong(name, "is missing or empty")) } else { Ok(text) }
    }

    fn list(&self, name: &str) -> Result<Option<&'t [Tree]>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(Tree { value: Value::List(all), .. }) => Ok(Some(all)),
            Some(tree) => Err(self.wrong(name, format!("{} where a list belongs", tree.what()))),
        }
    }

    /// Each of a list, read.
    fn each<T>(
        &self,
        name: &str,
        read: impl Fn(&'t Tree, String) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let all = self.list(name)?.unwrap_or_default();
        all.iter().enumerate().map(|(at, tree)| read(tree, format!("{}[{at}]", self.place(name)))).collect()
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        if self.list(name)?.is_none() {
            return Ok(None);
        }
        self.each(name, |tree, place| text(tree, &place)).map(Some)
    }

    fn number<N: TryFrom<i64>>(&self, name: &str) -> Result<Option<N>, Fault> {
        self.get(name).map(|tree| number(tree, &self.place(name))).transpose()
    }

    fn truth(&self, name: &str) -> Result<bool, Fault> {
        let Some(tree) = self.get(name) else { return Ok(false) };
        match &tree.value {
            Value::Scalar { text, plain: true } => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Ok(true),
                "false" | "no" | "off" | "n" => Ok(false),
                _ => Err(self.wrong(name, "must be true or false")),
            },
            _ => Err(self.wrong(name, "must be true or false")),
        }
    }
}

fn text(tree: &Tree, place: &str) -> Result<String, Fault> {
    match &tree.value {
        Value::Scalar { text, .. } if text.contains('\0') => Err(fault(tree.line, place, "holds a NUL")),
        Value::Scalar { text, .. } => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::List(_) | Value::Map(_) => {
            Err(fault(tree.line, place, format!("{} where a text belongs", tree.what())))
        }
    }
}

fn number<N: TryFrom<i64>>(tree: &Tree, place: &str) -> Result<N, Fault> {
    let wrong = |cause: &str| fault(tree.line, place, cause);
    let Value::Scalar { text, plain: true } = &tree.value else {
        return Err(wrong("must be a whole number"));
    };
    let number = integer(text).ok_or_else(|| wrong("must be a whole number"))?;
    N::try_from(number).map_err(|_| wrong("is beyond what it may be"))
}

/// A whole number as YAML writes it: decimal, 0x, 0b, and octal with 0o or just 0 before it.
fn integer(text: &str) -> Option<i64> {
    let digits = text.replace('_', "");
    let (negative, digits) = match digits.strip_prefix(['-', '+']) {
        Some(rest) => (digits.starts_with('-'), rest),
        None => (false, digits.as_str()),
    };
    let forms = [("0x", 16), ("0o", 8), ("0b", 2)];
    let (digits, radix) =
        match forms.iter().find_map(|(mark, radix)| Some((digits.strip_prefix(mark)?, *radix))) {
            Some(found) => found,
            None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
            None => (digits, 10),
        };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// What a file says, and what of itself.
pub(crate) fn content(tree: &Tree) -> Result<(Content, Facts), Fault> {
    let known = ["cdiVersion", "kind", "annotations", "devices", "containerEdits"];
    let fields = Fields::of(tree, String::new(), &known)?;
    let mut annotated = annotations(&fields)?;
    let version = fields.needed("cdiVersion")?;
    let kind = fields.needed("kind")?;
    let (vendor, class) = kind
        .split_once('/')
        .ok_or_else(|| fields.wrong("kind", "must be VENDOR/CLASS, \"vendor.com/gpu\""))?;
    name::vendor(vendor).and_then(|()| name::class(class)).map_err(|cause| fields.wrong("kind", cause))?;
    let edits = edits(&fields)?;
    let devices = fields.each("devices", |tree, place| {
        let of = Fields::of(tree, place, &["name", "annotations", "containerEdits"])?;
        Ok((device(&of)?, annotations(&of)?, of.line("name")))
    })?;
    if devices.is_empty() {
        return Err(fields.wrong("devices", "there is no device in it"));
    }
    let mut seen = HashSet::new();
    for (at, (device, _, line)) in devices.iter().enumerate() {
        if !seen.insert(device.name.as_str()) {
            let cause = format!("there is a device {:?} already", device.name);
            return Err(fault(*line, &format!("devices[{at}].name"), cause));
        }
    }
    annotated |= devices.iter().any(|(_, annotated, _)| *annotated);
    let facts = Facts { version, line: fields.line("cdiVersion"), annotated };
    let devices = devices.into_iter().map(|(device, _, _)| device).collect();
    Ok((Content { kind, devices, edits }, facts))
}

/// Whether there are any; they are for people and other programs.
fn annotations(fields: &Fields<'_>) -> Result<bool, Fault> {
    let Some(tree) = fields.get("annotations") else { return Ok(false) };
    let place = fields.place("annotations");
    let Value::Map(all) = &tree.value else {
        return Err(fault(tree.line, &place, format!("{} where an object belongs", tree.what())));
    };
    for (name, _, tree) in all {
        text(tree, &format!("{place}.{name}"))?;
    }
    Ok(!all.is_empty())
}

fn device(fields: &Fields<'_>) -> Result<Device, Fault> {
    let name = fields.needed("name")?;
    name::device(&name).map_err(|cause| fields.wrong("name", cause))?;
    let edits = edits(fields)?;
    if edits.is_empty() {
        return Err(fields.wrong("containerEdits", "a device that changes nothing"));
    }
    Ok(Device { name, edits })
}

fn edits(of: &Fields<'_>) -> Result<Edits, Fault> {
    let known = ["env", "deviceNodes", "netDevices", "hooks", "mounts", "intelRdt", "additionalGids"];
    let Some(tree) = of.get("containerEdits") else { return Ok(Edits::default()) };
    let fields = Fields::of(tree, of.place("containerEdits"), &known)?;
    let net_devices = fields.each("netDevices", net_device)?;
    for (at, one) in net_devices.iter().enumerate() {
        if net_devices[..at].iter().any(|earlier| earlier.host == one.host || earlier.name == one.name) {
            return Err(
                fields.wrong("netDevices", format!("{:?} or {:?} stands there twice", one.host, one.name))
            );
        }
    }
    Ok(Edits {
        env: fields.each("env", |tree, place| variable(tree, &place))?,
        nodes: fields.each("deviceNodes", node)?,
        net_devices,
        mounts: fields.each("mounts", mount)?,
        hooks: fields.each("hooks", hook)?,
        rdt: fields.get("intelRdt").map(|tree| rdt(tree, fields.place("intelRdt"))).transpose()?,
        gids: fields.each("additionalGids", |tree, place| number(tree, &place))?,
    })
}

fn variable(tree: &Tree, place: &str) -> Result<String, Fault> {
    let text = text(tree, place)?;
    match text.find('=') {
        None | Some(0) => Err(fault(tree.line, place, "must be NAME=VALUE")),
        Some(_) => Ok(text),
    }
}

fn node(tree: &Tree, place: String) -> Result<Node, Fault> {
    let known = ["path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"];
    let fields = Fields::of(tree, place, &known)?;
    let kind = fields.text("type")?;
    if !["", "b", "c", "u", "p"].contains(&kind.as_str()) {
        return Err(fields.wrong("type", format!("{kind:?} must be b, c, u or p")));
    }
    let permissions = fields.text("permissions")?;
    if permissions != "none" && permissions.chars().any(|letter| !"rwm".contains(letter)) {
        return Err(
            fields.wrong("permissions", format!("{permissions:?} must be of r, w and m, or \"none\""))
        );
    }
    Ok(Node {
        path: fields.needed("path")?,
        host_path: fields.text("hostPath")?,
        kind,
        major: fields.number("major")?.unwrap_or(0),
        minor: fields.number("minor")?.unwrap_or(0),
        mode: fields.number("fileMode")?,
        permissions,
        uid: fields.number("uid")?,
        gid: fields.number("gid")?,
    })
}

fn net_device(tree: &Tree, place: String) -> Result<NetDevice, Fault> {
    let fields = Fields::of(tree, place, &["hostInterfaceName", "name"])?;
    Ok(NetDevice { host: fields.needed("hostInterfaceName")?, name: fields.needed("name")? })
}

fn mount(tree: &Tree, place: String) -> Result<Mount, Fault> {
    let fields = Fields::of(tree, place, &["hostPath", "containerPath", "options", "type"])?;
    Ok(Mount {
        source: fields.needed("hostPath")?,
        target: fields.needed("containerPath")?,
        kind: fields.text("type")?,
        options: fields.texts("options")?,
    })
}

fn hook(tree: &Tree, place: String) -> Result<Hook, Fault> {
    let fields = Fields::of(tree, place, &["hookName", "path", "args", "env", "timeout"])?;
    let name = fields.needed("hookName")?;
    let point = Point::ALL.iter().find(|(known, _)| *known == name).map(|(_, point)| *point);
    let point = point.ok_or_else(|| {
        let known: Vec<&str> = Point::ALL.iter().map(|(name, _)| *name).collect();
        fields.wrong("hookName", format!("{name:?} must be one of {}", known.join(", ")))
    })?;
    if fields.list("env")?.is_some() {
        fields.each("env", |tree, place| variable(tree, &place))?;
    }
    Ok(Hook {
        point,
        path: fields.needed("path")?,
        args: fields.texts("args")?,
        env: fields.texts("env")?,
        timeout: fields.number("timeout")?,
    })
}

fn rdt(tree: &Tree, place: String) -> Result<Rdt, Fault> {
    let known = ["closID", "l3CacheSchema", "memBwSchema", "schemata", "enableMonitoring"];
    let fields = Fields::of(tree, place, &known)?;
    let class = fields.text("closID")?;
    let is_file = class.len() < 4096 && class != "." && class != ".." && !class.contains(['/', '\n']);
    if class != "/" && !is_file {
        return Err(fields.wrong("closID", format!("{class:?} is no name of a class")));
    }
    Ok(Rdt {
        class,
        l3: fields.text("l3CacheSchema")?,
        bandwidth: fields.text("memBwSchema")?,
        schemata: fields.texts("schemata")?,
        monitoring: fields.truth("enableMonitoring")?,
    })
}
