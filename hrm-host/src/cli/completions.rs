//! `hrm completions`: what makes Tab work.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::{Error, Result};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hrm completions bash > ~/.local/share/bash-completion/completions/hrm
  hrm completions fish > ~/.config/fish/completions/hrm.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script to standard output.
pub fn run(args: &Args) -> Result<()> {
    std::io::stdout().write_all(&script(args.shell)).map_err(Error::output)
}

/// The script, built whole, since its writer does not report a closed pipe.
fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "hrm", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let text = String::from_utf8(script(shell)).unwrap();
            assert!(text.contains("completions") && text.contains("color"), "{shell}");
        }
    }
}
