//! What plugins can hear of.
//!
//! *Invariant:* bit N-1 of a mask stands for the event with number N; no bit means all of them.

use orlop_proto::nri::v1alpha1::Event;

/// Those that a plugin hears of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events(i32);

impl Events {
    /// All that there are.
    pub const ALL: Events = Events((1 << (Event::Last as i32 - 1)) - 1);

    /// As a plugin asks for them; `None` if it asks for one that there is not.
    #[must_use]
    pub fn asked(mask: i32) -> Option<Self> {
        match mask {
            0 => Some(Self::ALL),
            known if known & !Self::ALL.0 == 0 => Some(Events(known)),
            _ => None,
        }
    }

    /// Whether `event` is among them.
    #[must_use]
    pub fn has(self, event: Event) -> bool {
        let number = event as i32;
        number > 0 && self.0 & (1 << (number - 1)) != 0
    }
}

/// The RPC that tells of an event; `None` where there is none.
#[must_use]
pub fn method(event: Event) -> Option<&'static str> {
    Some(match event {
        Event::RunPodSandbox => "RunPodSandbox",
        Event::StopPodSandbox => "StopPodSandbox",
        Event::RemovePodSandbox => "RemovePodSandbox",
        Event::UpdatePodSandbox => "UpdatePodSandbox",
        Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
        Event::CreateContainer => "CreateContainer",
        Event::PostCreateContainer => "PostCreateContainer",
        Event::StartContainer => "StartContainer",
        Event::PostStartContainer => "PostStartContainer",
        Event::UpdateContainer => "UpdateContainer",
        Event::PostUpdateContainer => "PostUpdateContainer",
        Event::StopContainer => "StopContainer",
        Event::RemoveContainer => "RemoveContainer",
        Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        Event::Unknown | Event::Last => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_what_the_protocol_says() {
        let all = Events::asked(0).expect("all");
        for number in 1..Event::Last as i32 {
            let event = Event::try_from(number).expect("an event");
            assert!(all.has(event) && method(event).is_some());
            let one = Events::asked(1 << (number - 1)).expect("one");
            assert!(one.has(event));
            let another = Event::try_from(number % (Event::Last as i32 - 1) + 1).expect("an event");
            assert!(!one.has(another));
        }
        assert!(!all.has(Event::Unknown) && !all.has(Event::Last));
        assert_eq!(Events::asked(1 << (Event::Last as i32 - 1)), None);
        assert_eq!(Events::asked(-1), None);
    }
}
