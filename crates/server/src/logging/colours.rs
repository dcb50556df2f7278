//! Colours for terminals.

use std::env;

use env_logger::fmt::style::{AnsiColor, Style};
use log::Level;

/// Whether text is coloured: on a terminal that has colours, unless `NO_COLOR` or `CLICOLOR=0` is set; elsewhere only
/// with `CLICOLOR_FORCE`.
pub(super) fn are_wanted(is_terminal: bool) -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let has_colours = || env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    let is_off = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_unwanted = || env::var_os("CLICOLOR").is_some_and(|value| value == "0");
    // Other consoles need to be switched to colours first.
    cfg!(unix) && !is_off && (is_set("CLICOLOR_FORCE") || is_terminal && has_colours() && !is_unwanted())
}

/// The style in which a level is written.
pub(super) fn of(level: Level) -> Style {
    match level {
        Level::Error => AnsiColor::Red.on_default().bold(),
        Level::Warn => AnsiColor::Yellow.on_default(),
        Level::Info => AnsiColor::Green.on_default(),
        Level::Debug => AnsiColor::Blue.on_default(),
        Level::Trace => AnsiColor::Cyan.on_default(),
    }
}
