//! The picture as lines of text.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::model::{Cell, Pane};
use crate::output::Painted;

/// Columns that a cell is padded to at most; a longer one pushes its row's rest aside.
const WIDEST: usize = 40;
/// Entries of the timeline: the newest.
const LOGGED: usize = 10;

/// The sections that hold anything, each under its name.
pub(crate) fn print(out: &mut dyn Write, panes: &[Pane]) -> io::Result<()> {
    for pane in panes.iter().filter(|pane| !pane.rows.is_empty()) {
        let rows = if pane.is_log { &pane.rows[pane.rows.len().saturating_sub(LOGGED)..] } else { &pane.rows[..] };
        writeln!(out, "\n{}", pane.title.to_uppercase())?;
        let widths = widths(rows, WIDEST);
        for row in rows {
            write!(out, "  ")?;
            for (index, cell) in row.iter().enumerate() {
                let is_last = row[index + 1..].iter().all(|c| c.text.is_empty());
                match cell.colour() {
                    Some(colour) => write!(out, "{}", Painted(&cell.text, colour))?,
                    None => write!(out, "{}", cell.text)?,
                }
                if is_last {
                    break;
                }
                write!(out, "{:pad$}", "", pad = widths[index].saturating_sub(cell.text.width()) + 2)?;
            }
            writeln!(out)?;
        }
        let shown = rows.len() as u64;
        if !pane.is_log && pane.total > shown {
            writeln!(out, "  … and {} more", pane.total - shown)?;
        }
    }
    Ok(())
}

/// How wide each column is: as its widest cell, and no wider than `most`.
pub(crate) fn widths(rows: &[Vec<Cell>], most: usize) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width().min(most));
        }
    }
    widths
}

impl Cell {
    fn colour(&self) -> Option<anstyle::AnsiColor> {
        use super::model::Tone;
        match self.tone {
            Tone::Plain | Tone::Faint => None,
            Tone::Good => Some(anstyle::AnsiColor::Green),
            Tone::Attention => Some(anstyle::AnsiColor::Yellow),
            Tone::Bad => Some(anstyle::AnsiColor::Red),
        }
    }
}
