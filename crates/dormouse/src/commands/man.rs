//! `dormouse man`: the manual, made of what `--help` says.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::cli::help::{EXIT_STATUSES, VARIABLES};
use crate::show::say;

/// Prints the manual as one page, or writes a page for each command to `folder`.
pub(crate) fn man(folder: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    match folder {
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(&one_page(&program)?)?;
            out.flush()?;
        }
        Some(folder) => {
            for command in all(&program) {
                let name = format!("{}.1", page_name(command));
                let path = folder.join(&name);
                std::fs::write(&path, page(command)?).with_context(|| path.display().to_string())?;
                say(&path.display().to_string())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The program and all commands below it.
fn all(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().flat_map(all);
    std::iter::once(command).chain(below).collect()
}

fn page_name(command: &clap::Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).replace(' ', "-")
}

fn page(command: &clap::Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).title(page_name(command));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    sections(&man, command, &mut text)?;
    ending(&mut text)?;
    Ok(text)
}

fn sections(man: &Man, command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(text)?;
    }
    examples(command, text)
}

/// Everything on one page: a section a command.
fn one_page(program: &clap::Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(program.clone()).title("dormouse");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    sections(&man, program, &mut text)?;
    for command in all(program).into_iter().skip(1) {
        let mut part = Vec::new();
        // What every command takes stands at the top, once.
        let own = command.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
        sections(&Man::new(own.clone()), &own, &mut part)?;
        let name = command.get_bin_name().unwrap_or(command.get_name());
        writeln!(text, ".SH \"{}\"", name.to_uppercase())?;
        text.extend_from_slice(String::from_utf8_lossy(&part).replace(".SH ", ".SS ").as_bytes());
    }
    ending(&mut text)?;
    Ok(text)
}

/// What stands behind the options in `--help`, line by line; the program's own end has sections here.
fn examples(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines =
        help.lines().take_while(|line| *line != "Variables:").skip_while(|line| *line != "Examples:").skip(1);
    writeln!(text, ".SH EXAMPLES\n.nf")?;
    for line in lines {
        writeln!(text, "{}", roff(line))?;
    }
    writeln!(text, ".fi")
}

fn ending(text: &mut Vec<u8>) -> std::io::Result<()> {
    writeln!(text, ".SH ENVIRONMENT")?;
    for (name, meaning) in VARIABLES {
        writeln!(text, ".TP\n\\fB{}\\fR\n{}", roff(name), roff(meaning))?;
    }
    writeln!(text, ".SH \"EXIT STATUS\"")?;
    for (status, meaning) in EXIT_STATUSES {
        writeln!(text, ".TP\n\\fB{status}\\fR\n{}", roff(meaning))?;
    }
    Ok(())
}

/// A line that roff takes for text.
fn roff(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_on_the_page() {
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let page = String::from_utf8(one_page(&program).unwrap()).unwrap();
        for section in ["DORMOUSE KEYS", "DORMOUSE QUARANTINE DROP", "EXIT STATUS", "ENVIRONMENT"] {
            assert!(
                page.contains(&format!(".SH \"{section}\"")) || page.contains(&format!(".SH {section}")),
                "{section}"
            );
        }
        let names: Vec<String> = all(&program).into_iter().map(page_name).collect();
        assert!(names.contains(&"dormouse-quarantine-retry".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
    }

    #[test]
    fn a_line_is_text_to_roff() {
        assert_eq!(roff(".SH x"), "\\&.SH x");
        assert_eq!(roff("a\\b --c 'd'"), "a\\eb \\-\\-c \\(aqd\\(aq");
    }
}
