//! `orlop completion`: what a shell needs to complete command lines.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use crate::args::Typed;
use crate::failure::Failure;

/// Its flags.
#[derive(Debug, Args)]
#[command(after_help = "Example: source <(orlop completion bash)")]
pub(crate) struct Completion {
    /// Which shell
    #[arg(value_enum)]
    shell: Known,
}

/// Shells that are served.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        // Into memory first: the generator panics where a pipe was closed.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Typed::command(), "orlop", &mut script);
        io::stdout().lock().write_all(&script)?;
        Ok(0)
    }
}
