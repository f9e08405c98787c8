//! One screen: which pane gets how many rows, and what of it is seen. Any size is drawn, however small.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr as _;

use super::model::{PANES, Pane, Tone};
use super::text::widths;

/// Below this many rows one pane is seen at a time.
const ALL_AT_ONCE: u16 = 20;
/// Columns of a cell that isn't its row's last.
const WIDEST: usize = 22;

const HELP: &[&str] = &[
    "q, Esc, Ctrl-C   quit",
    "Tab, left/right  the next pane",
    "up/down, j/k     scroll, PgUp/PgDn by a page",
    "Home/End         to the first or last row",
    "a                all scopes, or this one",
    "/                show only rows with a text",
    "?                this help",
    "",
    "pd status prints the same once.",
];

/// What the person who looks has chosen.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    pub(crate) focus: usize,
    /// Rows that each pane is scrolled by: from its first, in a log from its last.
    scroll: [usize; PANES],
    /// Rows of each pane that were seen last.
    seen: [usize; PANES],
    pub(crate) help: bool,
    pub(crate) filter: String,
    /// The filter is being typed.
    pub(crate) typing: bool,
    pub(crate) colour: bool,
}

/// What stands around the panes.
pub(crate) struct Frame<'a> {
    pub(crate) header: &'a str,
    /// What went wrong since the picture was read.
    pub(crate) trouble: Option<&'a str>,
}

impl Screen {
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour, ..Self::default() }
    }

    pub(crate) fn next_pane(&mut self, back: bool) {
        self.focus = (self.focus + if back { PANES - 1 } else { 1 }) % PANES;
    }

    /// Scrolls the pane in focus; what is too far is drawn as far as it goes.
    pub(crate) fn scroll(&mut self, panes: &[Pane; PANES], rows: isize) {
        let rows = if panes[self.focus].is_log { -rows } else { rows };
        let scroll = &mut self.scroll[self.focus];
        *scroll = scroll.saturating_add_signed(rows);
    }

    /// How many rows a page of the pane in focus has.
    pub(crate) fn page(&self) -> isize {
        isize::try_from(self.seen[self.focus]).unwrap_or(1).max(1)
    }

    /// Draws all of it.
    pub(crate) fn draw(&mut self, buffer: &mut Buffer, area: Rect, frame: &Frame<'_>, panes: &[Pane; PANES]) {
        if area.is_empty() {
            return;
        }
        let filtered = self.filtered(panes);
        let panes = filtered.as_ref().unwrap_or(panes);
        let mut paint = Paint { buffer, area, colour: self.colour };
        paint.line(0, frame.header, Style::new().add_modifier(Modifier::BOLD));
        // The footer is the first to go where there is no room.
        let body = if area.height > 3 { 1..area.height - 1 } else { 1..area.height };
        if area.height > 3 {
            let bold = Style::new().add_modifier(Modifier::BOLD);
            match frame.trouble {
                _ if self.typing => paint.line(area.height - 1, &format!("/{}_", self.filter), bold),
                Some(trouble) => paint.line(area.height - 1, trouble, bold),
                None if !self.filter.is_empty() => {
                    let text = format!("only rows with {:?}   / another   Esc all", self.filter);
                    paint.line(area.height - 1, &text, bold);
                }
                None => paint.line(
                    area.height - 1,
                    "q quit  Tab pane  up/down scroll  a all scopes  / filter  ? help",
                    paint.tone(Tone::Faint),
                ),
            }
        }
        if self.help {
            for (y, line) in body.zip(HELP) {
                paint.line(y, line, Style::new());
            }
        } else if area.height >= ALL_AT_ONCE {
            let heights = shares(panes, self.focus, usize::from(body.end - body.start));
            let mut y = body.start;
            for (index, pane) in panes.iter().enumerate() {
                self.pane(&mut paint, y, heights[index], index, pane);
                y += 1 + heights[index] as u16;
            }
        } else {
            let rows = usize::from(body.end - body.start).saturating_sub(1);
            if body.start < body.end {
                self.pane(&mut paint, body.start, rows, self.focus, &panes[self.focus]);
            }
        }
    }

    /// A title and so many rows.
    fn pane(&mut self, paint: &mut Paint<'_>, y: u16, height: usize, index: usize, pane: &Pane) {
        let most = pane.rows.len().saturating_sub(height);
        let scroll = self.scroll[index].min(most);
        (self.scroll[index], self.seen[index]) = (scroll, height);
        let first = if pane.is_log { most - scroll } else { scroll };
        let rows = &pane.rows[first..(first + height).min(pane.rows.len())];
        let mut title =
            format!("{} {} {}", if index == self.focus { ">" } else { "-" }, pane.title.to_uppercase(), pane.total);
        if !pane.about.is_empty() {
            title += &format!(", {}", pane.about);
        }
        if pane.rows.len() > rows.len() && !rows.is_empty() {
            title += &format!(" (rows {}-{} of {})", first + 1, first + rows.len(), pane.rows.len());
        }
        title.push(' ');
        let wide = usize::from(paint.area.width);
        title += &"-".repeat(wide.saturating_sub(title.width()));
        let style = Style::new().add_modifier(Modifier::BOLD);
        paint.line(y, &title, if index == self.focus { style.add_modifier(Modifier::REVERSED) } else { style });
        let widths = widths(rows, WIDEST);
        for (y, row) in (y + 1..).zip(rows) {
            let mut x = 1;
            for (index, cell) in row.iter().enumerate() {
                let is_last = index + 1 == row.len();
                let room = if is_last { wide.saturating_sub(x) } else { widths[index].min(wide.saturating_sub(x)) };
                paint.cell(x, y, &cell.text, room, paint.tone(cell.tone));
                x += widths[index] + 2;
            }
        }
    }

    /// Only the rows with the text of the filter, in whatever case.
    fn filtered(&self, panes: &[Pane; PANES]) -> Option<[Pane; PANES]> {
        if self.filter.is_empty() {
            return None;
        }
        let wanted = self.filter.to_lowercase();
        let mut panes = panes.clone();
        for pane in &mut panes {
            pane.rows.retain(|row| row.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
            pane.total = pane.rows.len() as u64;
        }
        Some(panes)
    }
}

/// How many rows each pane gets below its title: one after the other what it wants, as long as there is room. The pane in
/// focus is asked twice, and the log takes what is left.
fn shares(panes: &[Pane; PANES], focus: usize, height: usize) -> [usize; PANES] {
    let mut heights = [0; PANES];
    let mut left = height.saturating_sub(PANES);
    loop {
        let before = left;
        for index in (0..PANES).chain([focus]) {
            if left > 0 && heights[index] < panes[index].rows.len() {
                heights[index] += 1;
                left -= 1;
            }
        }
        if left == before {
            heights[PANES - 1] += left;
            return heights;
        }
    }
}

/// Where to draw.
struct Paint<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    colour: bool,
}

impl Paint<'_> {
    fn line(&mut self, y: u16, text: &str, style: Style) {
        self.cell(0, y, text, usize::from(self.area.width), style);
    }

    /// Text from a column of a row on, cut to so many columns with a mark.
    fn cell(&mut self, x: usize, y: u16, text: &str, room: usize, style: Style) {
        let Ok(x) = u16::try_from(x) else { return };
        if y >= self.area.height || x >= self.area.width || room == 0 {
            return;
        }
        let (left, top) = (self.area.x + x, self.area.y + y);
        if text.width() <= room {
            self.buffer.set_stringn(left, top, text, room, style);
            return;
        }
        let (end, _) = self.buffer.set_stringn(left, top, text, room - 1, style);
        self.buffer.set_stringn(end, top, "…", 1, style);
    }

    fn tone(&self, tone: Tone) -> Style {
        let colour = match tone {
            _ if !self.colour => None,
            Tone::Plain => None,
            Tone::Good => Some(Color::Green),
            Tone::Attention => Some(Color::Yellow),
            Tone::Bad => Some(Color::Red),
            Tone::Faint => Some(Color::DarkGray),
        };
        colour.map_or(Style::new(), |colour| Style::new().fg(colour))
    }
}

/// A screen as text, without what is empty at the ends of its lines.
pub(crate) fn plain(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let (mut line, mut covered) = (String::new(), 0);
        for x in 0..buffer.area.width {
            // The second half of a wide character is no character.
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            covered = symbol.width().saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::Cell;
    use super::*;

    fn panes(rows: usize) -> [Pane; PANES] {
        std::array::from_fn(|index| Pane {
            title: ["agents", "sessions", "locks", "claims", "ports", "timeline"][index],
            about: String::new(),
            rows: (0..rows)
                .map(|n| {
                    let texts =
                        [format!("row{n}"), "漢字".repeat(n % 9), "e\u{301}\u{200d}👩‍👩‍👧".to_owned(), "x".repeat(300)];
                    texts.into_iter().map(|text| Cell { text, tone: Tone::Good }).collect()
                })
                .collect(),
            total: rows as u64,
            is_log: index == PANES - 1,
        })
    }

    fn draw(screen: &mut Screen, panes: &[Pane; PANES], columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let frame = Frame { header: "header 漢字", trouble: None };
        terminal
            .draw(|f| {
                let area = f.area();
                screen.draw(f.buffer_mut(), area, &frame, panes);
            })
            .unwrap();
        plain(terminal.backend().buffer())
    }

    #[test]
    fn every_size_is_drawn_within_its_bounds() {
        for count in [0, 1, 50] {
            let panes = panes(count);
            for columns in 1..=90 {
                for rows in 1..=30 {
                    for help in [false, true] {
                        let mut screen = Screen { help, focus: usize::from(rows) % PANES, ..Screen::new(true) };
                        screen.scroll(&panes, isize::from(rows as i16) * 7 - 60);
                        let text = draw(&mut screen, &panes, columns, rows);
                        assert_eq!(text.lines().count(), usize::from(rows));
                        assert!(
                            text.lines().all(|line| line.width() <= usize::from(columns)),
                            "{columns}x{rows}:\n{text}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn twenty_columns_and_five_rows_still_say_something() {
        let mut screen = Screen::new(false);
        let text = draw(&mut screen, &panes(3), 20, 5);
        assert!(text.contains("> AGENTS 3") && text.contains("row0") && text.contains("q quit"), "{text}");
    }

    #[test]
    fn a_list_scrolls_from_its_first_row_and_a_log_from_its_last() {
        let (mut screen, panes) = (Screen::new(false), panes(50));
        assert!(draw(&mut screen, &panes, 80, 10).contains("rows 1-7 of 50"));
        screen.scroll(&panes, 1 << 20);
        assert!(draw(&mut screen, &panes, 80, 10).contains("rows 44-50 of 50"));
        screen.scroll(&panes, -1);
        assert!(draw(&mut screen, &panes, 80, 10).contains("rows 43-49 of 50"));
        screen.next_pane(true);
        assert!(draw(&mut screen, &panes, 80, 10).contains("rows 44-50 of 50"));
        screen.scroll(&panes, -3);
        assert!(draw(&mut screen, &panes, 80, 10).contains("rows 41-47 of 50"));
    }

    #[test]
    fn all_rows_that_there_is_room_for_are_given_away() {
        for count in [0, 1, 3, 50] {
            let heights = shares(&panes(count), 2, 22);
            assert_eq!(heights.iter().sum::<usize>(), 22 - PANES, "{count}: {heights:?}");
        }
        assert!(shares(&panes(50), 2, 22)[2] > shares(&panes(50), 0, 22)[2], "the pane in focus gets more");
    }
}
