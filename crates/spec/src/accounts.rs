//! Users and groups as the container's own `/etc/passwd` and `/etc/group` name them.
//!
//! The files are an image's, so a stranger's. An entry counts only if all that is needed of it is well formed; a uid that is empty,
//! no number, or beyond the kernel's range makes an entry that nobody can be, never one that is root.
//!
//! *Invariant:* bytes in, an identity or a refusal out. Time is linear in the size of the files, which the reader caps by refusing
//! (a file cut short could end in half a number).

use orlop_model::container::{GroupsPolicy, User};
use orlop_model::report::Report;

/// Who a container's program runs as, all numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups of the process: the primary one first, the others ascending, none twice.
    pub groups: Vec<u32>,
    /// Home directory; `/` where nobody says.
    pub home: String,
    /// The user's name; empty where /etc/passwd knows none.
    pub username: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The request's user.
    pub user: &'a User,
    /// The image's: empty, or `name`, `uid`, `name:group`, `uid:gid` in any mixture.
    pub image_user: &'a str,
    /// The request's group.
    pub group: Option<u32>,
    /// Further groups.
    pub supplemental: &'a [u32],
    /// How groups of /etc/group count.
    pub policy: GroupsPolicy,
}

/// Stage of an error that the image's user causes.
const IMAGE_USER: &str = "image.config.User";
/// Stage of an error that the request's user causes.
const REQUEST_USER: &str = "config.linux.security_context.run_as_username";

/// Finds out who the container's program runs as. `None` stands for a file that is not there.
///
/// # Errors
/// A [`Report`] naming the user or group that the files do not know, or know only with a number that is none.
pub fn resolve(wish: &Wish<'_>, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<Identity, Report> {
    if wish.group.is_some() && *wish.user == User::Image {
        let cause = "needs run_as_user or run_as_username beside it";
        return Err(Report::field(
            "config.linux.security_context.run_as_group",
            wish.group.unwrap_or(0),
            cause,
        ));
    }
    let (stage, user, image_group) = match wish.user {
        User::Id(uid) => ("", Named::Number(*uid), None),
        User::Name(name) => (REQUEST_USER, Named::of(name), None),
        User::Image => {
            let (name, group) = wish.image_user.split_once(':').unwrap_or((wish.image_user, ""));
            let user = if name.is_empty() { Named::Number(0) } else { Named::of(name) };
            (IMAGE_USER, user, Some(group).filter(|group| !group.is_empty()))
        }
    };
    let account = account(stage, &user, passwd)?;
    let gid = match (wish.group, image_group) {
        (Some(gid), _) => gid,
        (None, Some(name)) => group_id(name, group)?,
        (None, None) => account.gid,
    };
    let mut others = wish.supplemental.to_vec();
    if wish.policy == GroupsPolicy::Merge && !account.name.is_empty() {
        others.extend(memberships(account.name.as_bytes(), group.unwrap_or_default()));
    }
    others.sort_unstable();
    others.dedup();
    others.retain(|other| *other != gid);
    others.insert(0, gid);
    Ok(Identity { uid: account.uid, gid, groups: others, home: account.home, username: account.name })
}

/// A user or group as it was written.
enum Named<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Named<'a> {
    /// Digits are a number, as container engines read them; what no user id can be stays a name, and is then not found.
    fn of(text: &'a str) -> Self {
        number(text.as_bytes()).map_or(Named::Name(text), Named::Number)
    }
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// The number that `digits` are: nothing else than digits, and not 2^32-1, which the kernel keeps for "none" (credentials(7)).
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    u32::try_from(value).ok().filter(|value| *value != u32::MAX)
}

/// Lines of a file, each as its fields.
fn entries(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && !line.contains(&0))
        // No field after the seventh means anything (passwd(5)); a hostile line has no say in how many are kept.
        .map(|line| line.splitn(8, |&byte| byte == b':').collect())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn account(stage: &str, user: &Named<'_>, passwd: Option<&[u8]>) -> Result<Account, Report> {
    let found =
        entries(passwd.unwrap_or_default()).filter(|fields| fields.len() >= 4).find(|fields| match user {
            Named::Number(uid) => number(fields[2]) == Some(*uid),
            Named::Name(name) => fields[0] == name.as_bytes(),
        });
    match (found, user) {
        (Some(fields), _) => {
            let home = fields.get(5).map_or(String::new(), |home| text(home));
            let (Some(uid), Some(gid)) = (number(fields[2]), number(fields[3])) else {
                let cause = "has no usable number in the image's /etc/passwd";
                return Err(Report::field(stage, text(fields[0]), cause));
            };
            Ok(Account { name: text(fields[0]), uid, gid, home: at_least_root(home) })
        }
        (None, Named::Number(uid)) => {
            Ok(Account { name: String::new(), uid: *uid, gid: 0, home: "/".into() })
        }
        // An image without any accounts has a root nevertheless.
        (None, Named::Name("root")) if passwd.is_none() => {
            Ok(Account { name: "root".into(), uid: 0, gid: 0, home: "/".into() })
        }
        (None, Named::Name(name)) => Err(Report::field(stage, name, "is not in the image's /etc/passwd")
            .advise("name a user that the image has, or give its number")),
    }
}

fn at_least_root(home: String) -> String {
    if home.starts_with('/') { home } else { "/".into() }
}

fn group_id(name: &str, file: Option<&[u8]>) -> Result<u32, Report> {
    let wanted = match Named::of(name) {
        Named::Number(gid) => return Ok(gid),
        Named::Name(name) => name.as_bytes(),
    };
    let found = entries(file.unwrap_or_default()).find(|fields| fields.len() >= 3 && fields[0] == wanted);
    match found.map(|fields| number(fields[2])) {
        Some(Some(gid)) => Ok(gid),
        Some(None) => Err(Report::field(IMAGE_USER, name, "has no usable number in the image's /etc/group")),
        None if file.is_none() && name == "root" => Ok(0),
        None => Err(Report::field(IMAGE_USER, name, "is not in the image's /etc/group")),
    }
}

/// Groups of group(5) that list the user as a member.
fn memberships(user: &[u8], file: &[u8]) -> Vec<u32> {
    entries(file)
        .filter(|fields| {
            fields.len() >= 4 && fields[3].split(|&byte| byte == b',').any(|member| member == user)
        })
        .filter_map(|fields| number(fields[2]))
        .collect()
}

#[cfg(test)]
mod tests;
