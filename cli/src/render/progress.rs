//! How far a pull is: bars on a terminal, else a line a layer.
//!
//! *Invariant:* all of it goes to standard error; without a terminal no bar is drawn and no cursor moved.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use orlop_proto::orlop::v1::{LayerProgress, LayerState};

use super::paint::is_able;
use super::size;
use super::text::{escape, short};

/// What was heard of a pull, and how it is shown.
pub(crate) struct Progress {
    layers: BTreeMap<String, LayerProgress>,
    view: View,
}

enum View {
    Bars { all: MultiProgress, total: ProgressBar, layers: BTreeMap<String, ProgressBar> },
    Lines,
    Silent,
}

impl Progress {
    /// Shown as standard error allows; not at all if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let view = if quiet {
            View::Silent
        } else if is_able(&io::stderr()) {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let total = all.add(bar("total"));
            View::Bars { all, total, layers: BTreeMap::new() }
        } else {
            View::Lines
        };
        Progress { layers: BTreeMap::new(), view }
    }

    /// Takes news of a layer.
    pub(crate) fn hear(&mut self, news: &LayerProgress) {
        let was = self.layers.insert(news.digest.clone(), news.clone());
        match &mut self.view {
            View::Bars { all, total, layers } => {
                let bar = layers
                    .entry(news.digest.clone())
                    .or_insert_with(|| all.insert_before(total, bar(&escape(short(&news.digest)))));
                show(bar, news.downloaded_bytes, news.total_bytes, news);
                let sum = Sum::of(self.layers.values());
                total.set_length(sum.total.max(1));
                total.set_position(if sum.total == 0 {
                    u64::from(sum.done == sum.layers)
                } else {
                    sum.downloaded
                });
                total.set_message(sum.words());
            }
            View::Lines => {
                let was_done = was.is_some_and(|was| was.state() == LayerState::Done);
                if news.state() == LayerState::Done && !was_done {
                    say(&format!("{}  {}", escape(short(&news.digest)), words(news)));
                }
            }
            View::Silent => {}
        }
    }

    /// The end: bars stay as they are.
    pub(crate) fn end(self) {
        match self.view {
            View::Bars { total, layers, .. } => {
                layers.values().chain([&total]).for_each(ProgressBar::abandon);
            }
            View::Lines if !self.layers.is_empty() => {
                say(&format!("total         {}", Sum::of(self.layers.values()).words()));
            }
            View::Lines | View::Silent => {}
        }
    }
}

/// A line on standard error; a pull does not fail since nobody wants to read how far it is.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn bar(name: &str) -> ProgressBar {
    // The template is ours and whole; indicatif's own serves where it is not understood.
    let style = ProgressStyle::with_template("{prefix:12}  {bar:24}  {wide_msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏ ");
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden()).with_style(style);
    bar.with_prefix(name.to_owned())
}

fn show(bar: &ProgressBar, position: u64, length: u64, layer: &LayerProgress) {
    let done = layer.state() == LayerState::Done;
    let length = length.max(position).max(1);
    bar.set_length(length);
    bar.set_position(if done { length } else { position });
    bar.set_message(words(layer));
}

/// What is to be said of a layer.
fn words(layer: &LayerProgress) -> String {
    let downloaded = size::words(layer.downloaded_bytes);
    let unpacked = size::words(layer.unpacked_bytes);
    match layer.state() {
        LayerState::Waiting => "waiting".into(),
        LayerState::Fetching if layer.total_bytes == 0 => {
            format!("{downloaded} downloaded, {unpacked} unpacked")
        }
        LayerState::Fetching => {
            format!("{downloaded} of {} downloaded, {unpacked} unpacked", size::words(layer.total_bytes))
        }
        LayerState::Unpacking if layer.verified => {
            format!("{downloaded} downloaded, verified, {unpacked} unpacked")
        }
        LayerState::Unpacking => format!("{downloaded} downloaded, {unpacked} unpacked"),
        LayerState::Done if layer.shared => "shared: it was here already".into(),
        LayerState::Done => {
            let verified = if layer.verified { "verified, " } else { "" };
            let bytes = size::words(layer.downloaded_bytes.max(layer.total_bytes));
            format!("{bytes} downloaded, {verified}unpacked to {unpacked}")
        }
    }
}

/// All layers together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    layers: usize,
    done: usize,
    shared: usize,
    /// Of what comes over the network: shared layers do not.
    total: u64,
    downloaded: u64,
}

impl Sum {
    fn of<'a>(layers: impl Iterator<Item = &'a LayerProgress>) -> Self {
        layers.fold(Sum::default(), |sum, layer| {
            let fetched = if layer.shared { (0, 0) } else { (layer.total_bytes, layer.downloaded_bytes) };
            Sum {
                layers: sum.layers + 1,
                done: sum.done + usize::from(layer.state() == LayerState::Done),
                shared: sum.shared + usize::from(layer.shared),
                total: sum.total.saturating_add(fetched.0.max(fetched.1)),
                downloaded: sum.downloaded.saturating_add(fetched.1),
            }
        })
    }

    fn words(&self) -> String {
        let shared = if self.shared > 0 { format!(", {} shared", self.shared) } else { String::new() };
        let (downloaded, total) = (size::words(self.downloaded), size::words(self.total));
        format!("{} of {} layers, {downloaded} of {total}{shared}", self.done, self.layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(state: LayerState, downloaded: u64) -> LayerProgress {
        LayerProgress {
            digest: "sha256:0".into(),
            total_bytes: 4096,
            downloaded_bytes: downloaded,
            unpacked_bytes: 8192,
            state: state.into(),
            ..LayerProgress::default()
        }
    }

    #[test]
    fn each_state_has_its_words() {
        assert_eq!(words(&layer(LayerState::Waiting, 0)), "waiting");
        let fetching = layer(LayerState::Fetching, 1024);
        assert_eq!(words(&fetching), "1.0 KiB of 4.0 KiB downloaded, 8.0 KiB unpacked");
        let unknown = LayerProgress { total_bytes: 0, ..fetching };
        assert_eq!(words(&unknown), "1.0 KiB downloaded, 8.0 KiB unpacked");
        let verified = LayerProgress { verified: true, ..layer(LayerState::Unpacking, 4096) };
        assert_eq!(words(&verified), "4.0 KiB downloaded, verified, 8.0 KiB unpacked");
        let done = LayerProgress { verified: true, ..layer(LayerState::Done, 4096) };
        assert_eq!(words(&done), "4.0 KiB downloaded, verified, unpacked to 8.0 KiB");
        let shared = LayerProgress { shared: true, ..layer(LayerState::Done, 0) };
        assert_eq!(words(&shared), "shared: it was here already");
    }

    #[test]
    fn shared_layers_are_not_downloaded() {
        let shared = LayerProgress { shared: true, ..layer(LayerState::Done, 0) };
        let layers = [layer(LayerState::Fetching, 1024), layer(LayerState::Done, 4096), shared];
        let sum = Sum::of(layers.iter());
        assert_eq!(sum, Sum { layers: 3, done: 2, shared: 1, total: 8192, downloaded: 5120 });
        assert_eq!(sum.words(), "2 of 3 layers, 5.0 KiB of 8.0 KiB, 1 shared");
    }

    #[test]
    fn lying_sizes_do_not_overflow() {
        let layer = LayerProgress { total_bytes: u64::MAX, ..layer(LayerState::Fetching, 1) };
        assert_eq!(Sum::of([&layer, &layer].into_iter()).total, u64::MAX);
    }
}
