//! bpf(2): a program that judges devices, at a cgroup.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const ATTACH_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`, `BPF_F_REPLACE`.
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;
/// A name of at most 15 bytes, by which programs are known to be ours (`BPF_OBJ_NAME_LEN`).
const NAME: [u8; 16] = *b"orlop_devices\0\0\0";
/// More programs than anyone attaches to one cgroup.
const MOST: usize = 64;

/// `union bpf_attr` as far as these commands have it; each has a form of its own that begins at its first byte.
fn call<T>(command: libc::c_int, attributes: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the kernel reads, and for queries writes, the bytes of `attributes`, whose size is passed; addresses in it are of
    // buffers that its makers below keep alive beyond the call.
    let returned =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    crate::result(returned)
}

fn owned(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = i32::try_from(returned).map_err(|_| Errno::BADF)?;
    // SAFETY: the call that returned it made it, and nobody else knows of it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// bpf(2), `BPF_PROG_LOAD`, of `BPF_PROG_TYPE_CGROUP_DEVICE`: `program` is 8 bytes an instruction, as `struct bpf_insn`.
///
/// # Errors
/// `EINVAL`, `EACCES` if the kernel's verifier does not take it; `EPERM` without `CAP_BPF`, `CAP_NET_ADMIN` or `CAP_SYS_ADMIN`.
pub fn load_device_program(program: &[u8]) -> Result<OwnedFd, Errno> {
    if program.is_empty() || !program.len().is_multiple_of(8) {
        return Err(Errno::INVAL);
    }
    let license = c"Apache-2.0";
    let mut load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len() / 8).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: NAME,
        ..Load::default()
    };
    call(PROG_LOAD, &mut load).and_then(owned)
}

#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// bpf(2), `BPF_PROG_ATTACH`: `program` judges devices in `cgroup` from now on, beside those of others; in place of `earlier`, at
/// once, if that is given.
///
/// # Errors
/// As the kernel says.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    earlier: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let number = |descriptor: BorrowedFd<'_>| descriptor.as_raw_fd().cast_unsigned();
    let mut attach = Attach {
        cgroup: number(cgroup),
        program: number(program),
        kind: ATTACH_DEVICE,
        flags: ALLOW_MULTI | if earlier.is_some() { REPLACE } else { 0 },
        replaced: earlier.map_or(0, number),
    };
    call(PROG_ATTACH, &mut attach).map(drop)
}

#[repr(C)]
struct Query {
    cgroup: u32,
    kind: u32,
    flags: u32,
    attached: u32,
    ids: u64,
    count: u32,
    reserved: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct ByDescriptor {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
struct Info {
    before: [u64; 8],
    name: [u8; 16],
}

/// bpf(2), `BPF_PROG_QUERY`, `BPF_PROG_GET_FD_BY_ID`, `BPF_OBJ_GET_INFO_BY_FD`: the program of ours that is attached to `cgroup`
/// itself, if there is one.
///
/// # Errors
/// As the kernel says.
pub fn attached_device_program(cgroup: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        cgroup: cgroup.as_raw_fd().cast_unsigned(),
        kind: ATTACH_DEVICE,
        flags: 0,
        attached: 0,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MOST).unwrap_or_default(),
        reserved: 0,
    };
    call(PROG_QUERY, &mut query)?;
    for id in ids.iter().take(query.count as usize) {
        // One that was detached meanwhile is nobody's.
        let Ok(program) = call(PROG_GET_FD_BY_ID, &mut ById { id: *id, next: 0, flags: 0 }).and_then(owned)
        else {
            continue;
        };
        let mut info = Info { before: [0; 8], name: [0; 16] };
        let mut asked = ByDescriptor {
            descriptor: program.as_raw_fd().cast_unsigned(),
            length: u32::try_from(size_of::<Info>()).unwrap_or_default(),
            info: (&raw mut info) as u64,
        };
        call(OBJ_GET_INFO_BY_FD, &mut asked)?;
        if info.name == NAME {
            return Ok(Some(program));
        }
    }
    Ok(None)
}
