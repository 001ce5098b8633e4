//! Image names and digests, to the grammar of the distribution project.
//!
//! | typed | means |
//! | --- | --- |
//! | `busybox` | `docker.io/library/busybox:latest` |
//! | `user/tool:1` | `docker.io/user/tool:1` |
//! | `localhost:5000/x` | `localhost:5000/x:latest` |
//! | `127.0.0.1:5000/a/b@sha256:…` | that very manifest, no tag |
//!
//! *Invariant:* what has become a [`Digest`] or a [`Reference`] is safe in a URL and, for a digest's digits, as a file name: no
//! `..`, no slash but between the parts of a repository, no control character.

use std::fmt;
use std::str::FromStr;

/// The registry that a name without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The longest host and repository together, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest tag, in bytes.
const LONGEST_TAG: usize = 128;

/// A sha256 content digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest that a hash function gave.
    #[must_use]
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its 64 lower-case digits, without the algorithm: a file name.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Digest(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex()[..12])
    }
}

/// Why a text is no digest that can be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotADigest {
    /// It is no `algorithm:digits` at all.
    #[error("a digest is sha256: and 64 lower-case hexadecimal digits")]
    Malformed,
    /// It is one, but not of the algorithm that this store keeps.
    #[error("only sha256 digests are supported, not {0}")]
    Unsupported(&'static str),
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let hex =
            |digits: &str, count: usize| digits.len() == count && digits.bytes().all(|b| nibble(b).is_some());
        match text.split_once(':') {
            Some(("sha256", digits)) => Digest::from_hex(digits).ok_or(NotADigest::Malformed),
            Some(("sha384", digits)) if hex(digits, 96) => Err(NotADigest::Unsupported("sha384")),
            Some(("sha512", digits)) if hex(digits, 128) => Err(NotADigest::Unsupported("sha512")),
            Some(("blake3", digits)) if hex(digits, 64) => Err(NotADigest::Unsupported("blake3")),
            _ => Err(NotADigest::Malformed),
        }
    }
}

/// The name of an image: where it is, what it is called there, and which one of that name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    name: Box<str>,
    /// Length of the host and port at the start of `name`.
    host: usize,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with its port if the name has one.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.name[..self.host]
    }

    /// The repository's path in the registry: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.name[self.host + 1..]
    }

    /// Registry and repository: `docker.io/library/busybox`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag. There always is a tag or a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which outweighs the tag where there are both.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `name:tag`, where the tag decides; none where a digest does.
    #[must_use]
    pub fn by_tag(&self) -> Option<String> {
        self.tag.as_ref().filter(|_| self.digest.is_none()).map(|tag| format!("{}:{tag}", self.name))
    }

    /// `name@digest` for a manifest of this repository.
    #[must_use]
    pub fn by_digest(&self, digest: Digest) -> String {
        format!("{}@{digest}", self.name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with an image name. The name itself is not repeated: whoever reports it has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// Nothing at all, or nothing before the tag or digest.
    #[error("the image name is empty")]
    Empty,
    /// Host and repository are too long together.
    #[error("registry and repository have {0} bytes together, 255 are allowed")]
    TooLong(usize),
    /// The part before the first slash looks like a host and is none.
    #[error("the registry is no host name or address with an optional port")]
    Registry,
    /// Capitals, in a repository.
    #[error("a repository name is lower case")]
    UpperCase,
    /// Anything else in the repository.
    #[error(
        "a repository is parts of a-z, 0-9, separated inside by one of . _ __ or dashes, joined by slashes"
    )]
    Repository,
    /// 64 digits are an id and cannot be a name.
    #[error("64 hexadecimal digits are an image's id, not a name")]
    Id,
    /// The tag is malformed.
    #[error("a tag is 1 to 128 of A-Z a-z 0-9 _ . - and begins with none of the last two")]
    Tag,
    /// The digest is unusable.
    #[error(transparent)]
    Digest(#[from] NotADigest),
}

impl FromStr for Reference {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if Digest::from_hex(text).is_some() {
            return Err(NotAName::Id);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag, one before it a port.
        let colon = rest.rfind(':').filter(|colon| !rest[*colon..].contains('/'));
        let (name, tag) = match colon {
            Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(NotAName::Empty);
        }
        let (host, path) = split_host(name);
        let host = if host == "index.docker.io" { DEFAULT_REGISTRY } else { host };
        check_host(host)?;
        check_repository(path)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let official = host == DEFAULT_REGISTRY && !path.contains('/');
        let name = format!("{host}/{}{path}", if official { "library/" } else { "" });
        if name.len() > LONGEST_NAME {
            return Err(NotAName::TooLong(name.len()));
        }
        let tag = tag.or(digest.is_none().then_some("latest"));
        Ok(Reference { name: name.into(), host: host.len(), tag: tag.map(Into::into), digest })
    }
}

/// What comes before the first slash is a host if it cannot be part of a repository: it has a dot, a colon or a capital, or is
/// `localhost`.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.bytes().any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_host(host: &str) -> Result<(), NotAName> {
    let bracket = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (good, port) = match bracket {
        Some((address, "")) => (is_ipv6(address), None),
        Some((address, rest)) => (is_ipv6(address), Some(rest.strip_prefix(':').unwrap_or(""))),
        None => match host.split_once(':') {
            Some((name, port)) => (name.split('.').all(is_label), Some(port)),
            None => (host.split('.').all(is_label), None),
        },
    };
    let port =
        port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if good && port { Ok(()) } else { Err(NotAName::Registry) }
}

fn is_ipv6(address: &str) -> bool {
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

fn check_repository(path: &str) -> Result<(), NotAName> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(NotAName::UpperCase);
    }
    if path.split('/').all(is_part) { Ok(()) } else { Err(NotAName::Repository) }
}

/// Runs of letters and digits with separators between them, never at an end: `.`, `_`, `__` or any number of dashes.
fn is_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separator = |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-');
    let mut runs = part.as_bytes().chunk_by(|a, b| word(*a) == word(*b)).peekable();
    let first = runs.peek().is_some_and(|run| word(run[0]));
    let last = part.bytes().next_back().is_some_and(word);
    first && last && runs.all(|run| word(run[0]) || separator(run))
}

fn check_tag(tag: &str) -> Result<(), NotAName> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    let first = tag.bytes().next().is_some_and(word);
    if good && first && tag.len() <= LONGEST_TAG { Ok(()) } else { Err(NotAName::Tag) }
}

#[cfg(test)]
mod tests;
