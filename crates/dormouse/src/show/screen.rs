//! Where tables go: how wide it is, and whether it understands colours.

use std::io::IsTerminal;

use terminal_size::{Width, terminal_size_of};

use crate::cli::Color;

/// What standard output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Columns of text; none for a pipe or a file, which take any width.
    pub(crate) width: Option<usize>,
    /// Whether colours are understood.
    pub(crate) has_colors: bool,
}

/// What a terminal is taken for that does not say how wide it is.
const USUAL_WIDTH: usize = 80;

impl Screen {
    /// What standard output is.
    pub(crate) fn of_stdout(color: Color) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let is_terminal = std::io::stdout().is_terminal();
        let width = || {
            let told = terminal_size_of(std::io::stdout()).map(|(Width(width), _)| usize::from(width));
            let set = || variable("COLUMNS").and_then(|columns| columns.parse().ok());
            told.filter(|&width| width > 0).or_else(set).unwrap_or(USUAL_WIDTH)
        };
        let has_colors = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
                is_terminal && variable("NO_COLOR").is_none() && !is_dumb
            }
        };
        Self { width: is_terminal.then(width), has_colors }
    }

    /// Whether it is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        self.width.is_some()
    }
}

/// How a text looks where colours are understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    #[default]
    Plain,
    /// What names the rest.
    Bold,
    /// What matters less.
    Dim,
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Something is, or soon will be, broken.
    Bad,
}

impl Paint {
    /// The text in this paint.
    pub(crate) fn on(self, text: &str, screen: Screen) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        };
        if !screen.has_colors || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
