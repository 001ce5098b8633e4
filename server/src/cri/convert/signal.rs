//! Stop signals, by the interface's numbers and the kernel's.
//!
//! *Invariant:* the interface's names are those of signal(7), written out; no number of its list is a number of the kernel's.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::Signal;

/// The kernel's number; none: the image's signal, else SIGTERM.
pub(crate) fn stop_signal(field: &str, number: i32) -> Result<Option<i32>, Report> {
    match Signal::try_from(number) {
        Ok(Signal::RuntimeDefault) => Ok(None),
        Ok(signal) => Ok(kernel_number(signal)),
        Err(_) => Err(Report::field(field, number, "there is no such signal in the interface's list")),
    }
}

/// `SIGNAL_SIGRTMINPLUS3` is what people write as `SIGRTMIN+3`.
fn kernel_number(signal: Signal) -> Option<i32> {
    let name = signal.as_str_name().trim_start_matches("SIGNAL_");
    orlop_spec::signal::parse(&name.replace("PLUS", "+").replace("MINUS", "-"))
}

/// The interface's number of a signal of the kernel, for status; of two names of one signal the first.
pub(crate) fn interface_number(kernel: i32) -> Signal {
    (0..)
        .map_while(|number| Signal::try_from(number).ok())
        .find(|signal| kernel_number(*signal) == Some(kernel))
        .unwrap_or(Signal::RuntimeDefault)
}
