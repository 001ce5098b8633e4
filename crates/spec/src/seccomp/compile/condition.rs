//! Conditions on the arguments of a call, and the instructions that test them.
//!
//! Arguments are 64 bits, the accumulator 32: each half is tested by itself.
//!
//! *Invariant:* all 64 bits count, whatever the architecture; a filter that looked at the lower half alone could be passed by one
//! set bit of the upper.

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::super::assemble::{AT_LEAST, Assembly, EQUAL, GREATER, Place};

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    /// Which, 0 to 5.
    pub(super) argument: u32,
    /// What must hold of it.
    pub(super) test: Test,
}

/// What must hold of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Test {
    /// The bits under the mask have this value.
    Equal { mask: u64, value: u64 },
    /// It is another value.
    NotEqual(u64),
    /// It is greater.
    Greater(u64),
    /// It is greater or equal.
    AtLeast(u64),
    /// It is less.
    Less(u64),
    /// It is less or equal.
    AtMost(u64),
}

impl Condition {
    /// The condition of the OCI spec; none if no call has such an argument.
    pub(super) fn of(argument: &LinuxSeccompArg) -> Option<Condition> {
        let value = argument.value();
        let test = match argument.op() {
            Operator::ScmpCmpEq => Test::Equal { mask: u64::MAX, value },
            Operator::ScmpCmpMaskedEq => {
                Test::Equal { mask: value, value: argument.value_two().unwrap_or(0) }
            }
            Operator::ScmpCmpNe => Test::NotEqual(value),
            Operator::ScmpCmpGt => Test::Greater(value),
            Operator::ScmpCmpGe => Test::AtLeast(value),
            Operator::ScmpCmpLt => Test::Less(value),
            Operator::ScmpCmpLe => Test::AtMost(value),
        };
        let argument = u32::try_from(argument.index()).ok().filter(|index| *index < 6)?;
        Some(Condition { argument, test })
    }

    /// Where the halves of the argument lie in `struct seccomp_data` (seccomp(2)): upper, lower.
    fn offsets(self) -> (u32, u32) {
        let first = 16 + 8 * self.argument;
        if cfg!(target_endian = "little") { (first + 4, first) } else { (first, first + 4) }
    }
}

/// Alternatives with one verdict.
pub(super) type Rule = (Vec<Condition>, u32);

/// The last rule, with those before it that compare the same bits of the same argument for the same verdict: they are tested
/// together, one instruction each.
pub(super) fn last_group(rules: &[Rule]) -> Option<(&[Rule], &[Rule])> {
    let last = rules.last()?;
    let alike = |one: &Rule| match (one.0.as_slice(), last.0.as_slice()) {
        (
            [Condition { argument, test: Test::Equal { mask, value } }],
            [Condition { argument: other, test: Test::Equal { mask: other_mask, value: other_value } }],
        ) => argument == other && mask == other_mask && value >> 32 == other_value >> 32 && one.1 == last.1,
        _ => false,
    };
    let group = rules.iter().rev().take_while(|rule| alike(rule)).count().max(1);
    Some(rules.split_at(rules.len() - group))
}

/// Tests a group: its verdict if one of its rules holds, else `next`.
pub(super) fn write(assembly: &mut Assembly, group: &[Rule], next: Place) -> Place {
    let Some((conditions, verdict)) = group.first() else { return next };
    let mut yes = assembly.verdict(*verdict);
    if let [Condition { test: Test::Equal { mask, .. }, .. }] = conditions.as_slice() {
        let values: Vec<u64> = group
            .iter()
            .flat_map(|(conditions, _)| conditions)
            .map(|one| if let Test::Equal { value, .. } = one.test { value } else { 0 })
            .collect();
        return equal(assembly, conditions[0], *mask, &values, yes, next);
    }
    for condition in conditions.iter().rev() {
        yes = single(assembly, *condition, yes, next);
    }
    yes
}

fn single(assembly: &mut Assembly, condition: Condition, yes: Place, no: Place) -> Place {
    match condition.test {
        Test::Equal { mask, value } => equal(assembly, condition, mask, &[value], yes, no),
        Test::NotEqual(value) => equal(assembly, condition, u64::MAX, &[value], no, yes),
        Test::Greater(value) => above(assembly, condition, value, GREATER, yes, no),
        Test::AtLeast(value) => above(assembly, condition, value, AT_LEAST, yes, no),
        Test::Less(value) => above(assembly, condition, value, AT_LEAST, no, yes),
        Test::AtMost(value) => above(assembly, condition, value, GREATER, no, yes),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves of 64 bits, taken apart")]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Goes to `yes` if the masked argument is one of `values`, whose upper halves are the same.
fn equal(
    assembly: &mut Assembly,
    condition: Condition,
    mask: u64,
    values: &[u64],
    yes: Place,
    no: Place,
) -> Place {
    let (upper_mask, lower_mask) = halves(mask);
    let (upper, lower) = condition.offsets();
    let mut next = no;
    for value in values.iter().rev() {
        next = assembly.branch(EQUAL, halves(*value).1, yes, next);
    }
    next = if lower_mask != 0 {
        assembly.load(lower, lower_mask, next)
    } else if values.iter().any(|value| halves(*value).1 == 0) {
        // Nothing under the mask: the half is 0.
        yes
    } else {
        no
    };
    let wanted = values.first().map_or(0, |value| halves(*value).0);
    if upper_mask == 0 {
        return if wanted == 0 { next } else { no };
    }
    let tested = assembly.branch(EQUAL, wanted, next, no);
    assembly.load(upper, upper_mask, tested)
}

/// Goes to `yes` if the argument is above `value`, or at it where `lower_code` says so.
fn above(
    assembly: &mut Assembly,
    condition: Condition,
    value: u64,
    lower_code: u16,
    yes: Place,
    no: Place,
) -> Place {
    let (upper_value, lower_value) = halves(value);
    let (upper, lower) = condition.offsets();
    let tested = assembly.branch(lower_code, lower_value, yes, no);
    let low = assembly.load(lower, u32::MAX, tested);
    let same = assembly.branch(EQUAL, upper_value, low, no);
    let tested = assembly.branch(GREATER, upper_value, yes, same);
    assembly.load(upper, u32::MAX, tested)
}
