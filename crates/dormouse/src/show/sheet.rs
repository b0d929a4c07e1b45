//! Tables that fit: on a terminal that is too narrow, long texts are cut, and then the columns of least value go. Nothing
//! is ever wrapped, so that a row stays a line. Where the width has no end, all columns go, uncut.
//!
//! Widths are counted in a terminal's cells: a CJK character takes two, a combining mark none.

use std::io::{BufWriter, Write};

use unicode_width::UnicodeWidthChar;

use super::printable;
use super::screen::{Paint, Screen};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    head: &'static str,
    /// Those with the highest go first; 0 stays.
    rank: u8,
    /// Texts may be cut down to so many cells; none may not be cut.
    least: Option<usize>,
    /// So many cells it has before a column of higher rank gets a place.
    comfort: Option<usize>,
    is_number: bool,
}

impl Column {
    /// A column that stays whatever happens, uncut.
    pub(crate) const fn new(head: &'static str) -> Self {
        Self { head, rank: 0, least: None, comfort: None, is_number: false }
    }

    /// Its head.
    #[cfg(test)]
    pub(crate) const fn head(self) -> &'static str {
        self.head
    }

    /// The higher the rank, the sooner the column goes.
    pub(crate) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// Its texts may be cut down to so many cells.
    pub(crate) const fn least(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    /// Its texts have so many cells, if they need them, before a column of higher rank is shown at all.
    pub(crate) const fn comfort(self, comfort: usize) -> Self {
        Self { comfort: Some(comfort), ..self }
    }

    /// Its texts stand to the right.
    pub(crate) const fn number(self) -> Self {
        Self { is_number: true, ..self }
    }
}

/// A text in a table, made harmless.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// A text in a paint.
    pub(crate) fn new(text: &str, paint: Paint) -> Self {
        Self { text: printable(text).into_owned(), paint }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text.as_ref(), Paint::Plain)
    }
}

/// A table.
pub(crate) struct Sheet {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: usize = 2;
/// Where the width has no end, a longer text (a stranger's, of kilobytes) widens its own line, not every other.
const MOST_PADDING: usize = 80;

impl Sheet {
    /// An empty table.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell a column.
    pub(crate) fn add(&mut self, row: impl IntoIterator<Item = Cell>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Prints it.
    pub(crate) fn print(&self, screen: Screen) -> std::io::Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        self.write(screen, &mut out)?;
        out.flush()
    }

    /// Its lines, for tests of tables.
    #[cfg(test)]
    pub(crate) fn lines(&self, screen: Screen) -> Vec<String> {
        let mut out = Vec::new();
        self.write(screen, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn write(&self, screen: Screen, out: &mut impl Write) -> std::io::Result<()> {
        let shown = self.fit(screen.width);
        let heads: Vec<Cell> =
            self.columns.iter().map(|column| Cell::new(column.head, Paint::Bold)).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            writeln!(out, "{}", self.line(row, &shown, screen))?;
        }
        Ok(())
    }

    fn line(&self, row: &[Cell], shown: &[(usize, usize)], screen: Screen) -> String {
        let (mut line, mut owed) = (String::new(), 0);
        for (place, &(column, width)) in shown.iter().enumerate() {
            let Some(cell) = row.get(column) else {
                continue;
            };
            let text = if screen.is_terminal() { cut(&cell.text, width) } else { cell.text.as_str().into() };
            let room = width - cells(&text).min(width);
            let (before, after) = if self.columns[column].is_number { (room, 0) } else { (0, room) };
            // Blanks are owed until a text follows, so that no line ends in them.
            owed += before + if place == 0 { 0 } else { GAP };
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', std::mem::take(&mut owed)));
                line.push_str(&cell.paint.on(&text, screen));
            }
            owed += after;
        }
        line
    }

    /// The columns that are shown, and how wide.
    fn fit(&self, width: Option<usize>) -> Vec<(usize, usize)> {
        let natural = |column: usize| {
            let texts = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cells(&cell.text));
            texts.max().unwrap_or(0)
        };
        let with_head = |column: usize, width: usize| (column, width.max(cells(self.columns[column].head)));
        let all = (0..self.columns.len()).map(|column| (column, natural(column)));
        let Some(width) = width else {
            return all.map(|(column, natural)| with_head(column, natural.min(MOST_PADDING))).collect();
        };
        // A column without a text is not worth its place.
        let has_text = |&(column, natural): &(usize, usize)| natural > 0 || self.columns[column].rank == 0;
        let mut shown: Vec<(usize, usize)> =
            all.filter(has_text).map(|(column, natural)| with_head(column, natural)).collect();
        let least = |(column, natural): (usize, usize)| {
            self.columns[column].least.map_or(natural, |least| natural.min(least))
        };
        let total = |shown: &[(usize, usize)], of: &dyn Fn((usize, usize)) -> usize| {
            let widths: usize = shown.iter().copied().map(of).sum();
            widths + GAP * shown.len().saturating_sub(1)
        };
        // What a column needs for one of this rank to be shown beside it.
        let need = |rank: u8| {
            move |(column, natural): (usize, usize)| {
                let Column { rank: own, least: Some(_), comfort: Some(comfort), .. } = self.columns[column]
                else {
                    return least((column, natural));
                };
                if own < rank { natural.min(comfort) } else { least((column, natural)) }
            }
        };
        let rank = |&(column, _): &(usize, usize)| self.columns[column].rank;
        let mut last = 0;
        while let Some(place) = (0..shown.len()).max_by_key(|&place| rank(&shown[place])) {
            last = rank(&shown[place]);
            if last == 0 || total(&shown, &need(last)) <= width {
                break;
            }
            shown.remove(place);
        }
        // The widest that can be cut gives way first, comfort only if that is not enough.
        let floors =
            [need(last), need(0)].map(|need| shown.iter().copied().map(need).collect::<Vec<usize>>());
        for floors in floors {
            while total(&shown, &|(_, width)| width) > width {
                let can_shrink = |place: &usize| shown[*place].1 > floors[*place];
                let Some(place) = (0..shown.len()).filter(can_shrink).max_by_key(|&place| shown[place].1)
                else {
                    break;
                };
                shown[place].1 -= 1;
            }
        }
        shown
    }
}

/// How many cells of a terminal a text takes.
pub(crate) fn cells(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(|c| c.width().unwrap_or(0)).sum() }
}

/// The text in at most so many cells; what is cut off is told by an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> std::borrow::Cow<'_, str> {
    if cells(text) <= width {
        return text.into();
    }
    let (mut short, mut used) = (String::new(), 0);
    for c in text.chars() {
        let takes = c.width().unwrap_or(0);
        if used + takes + 1 > width {
            break;
        }
        used += takes;
        short.push(c);
    }
    short.push('…');
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::new("KEY"),
        Column::new("BY").rank(1).least(6),
        Column::new("USES").rank(2).number(),
        Column::new("WANTED").rank(3),
    ];

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new(&COLUMNS);
        sheet.add(["alias/app", "role/quite-long-name", "1,204", ""].map(Cell::from));
        sheet.add(["alias/日本", "ro\u{301}le", "7", ""].map(Cell::from));
        sheet
    }

    fn lines(width: Option<usize>) -> Vec<String> {
        let mut out = Vec::new();
        sheet().write(Screen { width, has_colors: false }, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn without_an_end_everything_is_there() {
        assert_eq!(
            lines(None),
            [
                "KEY         BY                     USES  WANTED",
                "alias/app   role/quite-long-name  1,204",
                "alias/日本  ro\u{301}le                      7",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 10..60 {
            for line in lines(Some(width)) {
                assert!(cells(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn texts_are_cut_before_columns_go() {
        assert_eq!(lines(Some(80))[0].split_whitespace().collect::<Vec<_>>(), ["KEY", "BY", "USES"]);
        assert_eq!(lines(Some(25))[1], "alias/app   role/…  1,204");
        assert_eq!(lines(Some(24))[1], "alias/app   role/quite-…");
        assert_eq!(lines(Some(15))[1], "alias/app");
        assert_eq!(lines(Some(3))[1], "alias/app", "what can be copied is never cut");
    }

    #[test]
    fn what_matters_more_has_its_comfort_before_what_matters_less_is_there() {
        let mut sheet = Sheet::new(&[
            Column::new("KEY"),
            Column::new("OPERATION").rank(2).least(5),
            Column::new("BY").rank(1).least(5).comfort(12),
        ]);
        sheet.add(["12345678…", "GenerateDataKey", "role/quite-long-name"].map(Cell::from));
        let row = |width| {
            let mut out = Vec::new();
            sheet.write(Screen { width: Some(width), has_colors: false }, &mut out).unwrap();
            String::from_utf8(out).unwrap().lines().last().unwrap().to_owned()
        };
        assert_eq!(row(30), "12345678…  Gene…  role/quite-…");
        assert_eq!(row(29), "12345678…  role/quite-long-n…", "12 cells for BY, and none for OPERATION");
        assert_eq!(row(16), "12345678…  role…", "before it goes it is cut");
        assert_eq!(row(15), "12345678…");
    }

    #[test]
    fn a_text_of_kilobytes_in_a_pipe_widens_its_own_line_only() {
        let mut sheet = sheet();
        let long = "x".repeat(4_096);
        sheet.add([long.as_str(), "role/x", "1", ""].map(Cell::from));
        let mut out = Vec::new();
        sheet.write(Screen { width: None, has_colors: false }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].starts_with(&format!("{long}  role/x")), "{}", lines[3]);
        assert!(lines[..3].iter().all(|line| cells(line) < 2 * MOST_PADDING), "{text}");
    }

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 1), "…");
    }

    #[test]
    fn paint_takes_no_room_and_is_only_put_on_where_it_is_understood() {
        let mut sheet = Sheet::new(&COLUMNS);
        sheet.add([Cell::from("k"), Cell::new("\u{1b}[5m", Paint::Bad), Cell::default(), Cell::from("x")]);
        let print = |has_colors| {
            let mut out = Vec::new();
            sheet.write(Screen { width: None, has_colors }, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(!print(false).contains('\u{1b}'));
        let painted = print(true);
        assert!(painted.contains("\u{1b}[31m\\u{1b}[5m\u{1b}[0m"), "{painted}");
        assert_eq!(
            painted.replace("\u{1b}[31m", "").replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""),
            print(false)
        );
    }
}
