//! A program that makes system calls and writes down what each returned, in the processor's own words: the smallest ELF file that
//! can, put together here, so that 32-bit calls (`int 0x80`) can be tried beside 64-bit ones without a compiler for either.
//!
//! *Invariant:* nothing is called but what a test names; arguments beyond the first are -1, which no call can do any harm with.

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `syscall`: `x86_64`, and x32 by a bit of the number.
    Syscall,
    /// `int 0x80`: 32-bit x86.
    Int80,
}

/// A call to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) door: Door,
    pub(crate) number: u32,
    pub(crate) first: u64,
}

/// Where code and results lie in memory.
const CODE: u64 = 0x40_0000;
const RESULTS: u32 = 0x80_0000;
/// An ELF header and two of segments (`elf(5)`).
const HEADERS: usize = 64 + 2 * 56;

/// `movq $-1` to rsi, rdx, r10, r8, r9.
const REST: [[u8; 3]; 5] =
    [[0x48, 0xc7, 0xc6], [0x48, 0xc7, 0xc2], [0x49, 0xc7, 0xc2], [0x49, 0xc7, 0xc0], [0x49, 0xc7, 0xc1]];
const MINUS_ONE: [u8; 4] = [0xff; 4];

/// The program.
pub(crate) fn program(calls: &[Call]) -> Vec<u8> {
    let code = code(calls);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let entry = CODE + HEADERS as u64;
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let whole = (HEADERS + code.len()) as u64;
    // Read and executed; read and written.
    file.extend(segment(5, CODE, whole, whole));
    file.extend(segment(6, RESULTS.into(), 0, 8 * calls.len() as u64));
    file.extend(code);
    file
}

fn segment(flags: u32, address: u64, in_file: u64, in_memory: u64) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(1_u32.to_le_bytes());
    header.extend(flags.to_le_bytes());
    for word in [0, address, address, in_file, in_memory, 0x1000] {
        header.extend(word.to_le_bytes());
    }
    header
}

fn code(calls: &[Call]) -> Vec<u8> {
    // mov $RESULTS, %r12d
    let mut code = vec![0x41, 0xbc];
    code.extend(RESULTS.to_le_bytes());
    for (place, call) in calls.iter().enumerate() {
        // mov $number, %eax
        code.push(0xb8);
        code.extend(call.number.to_le_bytes());
        match call.door {
            Door::Syscall => {
                // movabs $first, %rdi
                code.extend([0x48, 0xbf]);
                code.extend(call.first.to_le_bytes());
                for register in REST {
                    code.extend(register);
                    code.extend(MINUS_ONE);
                }
                code.extend([0x0f, 0x05]);
            }
            Door::Int80 => {
                // mov $first, %ebx; mov $-1 to ecx, edx, esi, edi, ebp
                code.push(0xbb);
                code.extend(u32::try_from(call.first).expect("32 bits").to_le_bytes());
                for register in [0xb9, 0xba, 0xbe, 0xbf, 0xbd] {
                    code.push(register);
                    code.extend(MINUS_ONE);
                }
                code.extend([0xcd, 0x80]);
            }
        }
        // mov %rax, place(%r12)
        code.extend([0x49, 0x89, 0x84, 0x24]);
        code.extend(u32::try_from(8 * place).expect("few calls").to_le_bytes());
    }
    // write(1, RESULTS, length); exit(0)
    code.extend([0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x4c, 0x89, 0xe6, 0xba]);
    code.extend(u32::try_from(8 * calls.len()).expect("few calls").to_le_bytes());
    code.extend([0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    code
}

/// What each call returned, of what the program wrote. A 32-bit call returns 32 bits.
pub(crate) fn results(calls: &[Call], written: &[u8]) -> Vec<i64> {
    assert_eq!(written.len(), 8 * calls.len(), "the program came to its end");
    let each = |(call, bytes): (&Call, &[u8])| {
        let whole = i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        match call.door {
            Door::Syscall => whole,
            Door::Int80 => i64::from(i32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))),
        }
    };
    calls.iter().zip(written.chunks(8)).map(each).collect()
}
