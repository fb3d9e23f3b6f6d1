//! Where everything of a chart goes. The plot has a fixed height; words above and below it are broken into as many lines
//! as they need, and the picture grows with them: nothing is cut off.

use super::axis::Axis;
use super::{Chart, Series};

/// What a chart is drawn on, in its pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Medium {
    /// Width of the whole picture.
    pub width: i32,
    /// Height of the plot alone.
    pub plot: i32,
    /// Height of a line of text.
    pub line: i32,
    /// Between things that must not touch.
    pub gap: i32,
    /// Length of a tick mark of y and of x.
    pub ticks: [i32; 2],
    /// Width that a text takes, rather too much than too little.
    pub text: fn(&str) -> i32,
}

/// A chart with its places.
#[derive(Debug)]
pub(super) struct Layout {
    pub title: Vec<String>,
    pub legend: Vec<Entry>,
    pub y_label: Vec<String>,
    pub x_label: Vec<String>,
    pub x: Axis,
    pub y: Axis,
    /// Edges of the plot.
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
    /// Height of the whole picture.
    pub height: i32,
}

/// A series in the legend: its first line of text begins at `(x, y)`, behind a sample of its line.
#[derive(Debug)]
pub(super) struct Entry {
    pub series: usize,
    pub x: i32,
    pub y: i32,
    pub text: Vec<String>,
}

impl Layout {
    pub(super) fn of(chart: &Chart, medium: &Medium) -> Self {
        let Medium { width, plot, line, gap, ticks, text } = *medium;
        let points = || chart.series.iter().flat_map(|series| series.points.iter().copied());
        let mut x = Axis::spanning(points().map(|point| point.0), chart.log_x);
        let shown = |(at, value)| x.at(at).map(|_| value);
        let mut y = Axis::spanning(points().filter_map(shown).chain(chart.y_includes), false);
        y.label(plot, |_| line);
        if points().next().is_none() {
            y.ticks.clear();
        }

        let room = width - 2 * gap;
        let title = wrapped(&chart.title, room, text);
        let mut next = gap + line * lines(&title);
        let legend = legend(&chart.series, &mut next, medium);
        let y_label = wrapped(&chart.y_label, room, text);
        let top = next + line * lines(&y_label) + gap;

        let widest = |axis: &Axis| axis.ticks.iter().map(|tick| text(&tick.1)).max().unwrap_or(0);
        let beside = gap + widest(&y) + 2 * ticks[0];
        // Half of the first and of the last label lie beyond the ends of the axis; their length is known only with the ticks.
        x.label(room - beside, |label| text(label) + 2 * gap);
        let left = beside.max(gap + x.ticks.first().map_or(0, |first| text(&first.1) / 2));
        let right = width - gap - widest(&x).div_euclid(2);
        x.label(right - left, |label| text(label) + 2 * gap);
        if points().next().is_none() {
            x.ticks.clear();
        }
        let bottom = top + plot;
        let x_label = wrapped(&chart.x_label, room, text);
        let height = bottom + 2 * ticks[1] + line * (1 + lines(&x_label)) + gap;
        Self { title, legend, y_label, x_label, x, y, left, right, top, bottom, height }
    }

    /// The points of a series as runs that are joined: a value that cannot be drawn ends one.
    pub(super) fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let places: Vec<Option<(f64, f64)>> =
            series.points.iter().map(|point| self.x.at(point.0).zip(self.y.at(point.1))).collect();
        places
            .split(Option::is_none)
            .map(|run| run.iter().copied().flatten().collect())
            .filter(|run: &Vec<_>| !run.is_empty())
            .collect()
    }
}

/// Length of the sample of a line in the legend.
pub(super) const fn sample(medium: &Medium) -> i32 {
    medium.line * 3 / 2
}

/// Entries beside each other while they fit, from `next` down, which is moved below them.
fn legend(series: &[Series], next: &mut i32, medium: &Medium) -> Vec<Entry> {
    let Medium { width, line, gap, text, .. } = *medium;
    let indent = sample(medium) + gap;
    let (mut at, mut deepest) = (gap, 0);
    let mut entries = Vec::new();
    for (index, series) in series.iter().enumerate().filter(|(_, series)| !series.label.trim().is_empty()) {
        let label = wrapped(&series.label, width - 2 * gap - indent, text);
        let long = indent + label.iter().map(|part| text(part)).max().unwrap_or(0);
        if at > gap && at + long > width - gap {
            *next += line * deepest;
            (at, deepest) = (gap, 0);
        }
        deepest = deepest.max(lines(&label));
        entries.push(Entry { series: index, x: at + indent, y: *next, text: label });
        at += long + 2 * line;
    }
    *next += line * deepest;
    entries
}

fn lines(text: &[String]) -> i32 {
    i32::try_from(text.len()).unwrap_or(i32::MAX)
}

/// `text` in lines of at most `room`, broken between words, and within those that are longer than a line. Characters
/// that an SVG cannot hold are spaces.
fn wrapped(text: &str, room: i32, width: fn(&str) -> i32) -> Vec<String> {
    let printable = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
    let text: String = text.chars().map(printable).collect();
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && width(&format!("{line} {word}")) <= room
        {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        lines.push(String::new());
        for c in word.chars() {
            if let Some(line) = lines.last_mut() {
                line.push(c);
                if width(line) > room && line.chars().count() > 1 {
                    line.pop();
                    lines.push(c.to_string());
                }
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIUM: Medium = Medium {
        width: 200,
        plot: 100,
        line: 10,
        gap: 4,
        ticks: [2, 2],
        text: |text| 8 * text.chars().count() as i32,
    };

    #[test]
    fn words_are_broken_between_and_where_too_long_within() {
        let width = MEDIUM.text;
        assert_eq!(wrapped("one two\tthree", 64, width), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghijkl mn", 32, width), ["abcd", "efgh", "ijkl", "mn"]);
        assert_eq!(wrapped("ab", 0, width), ["a", "b"]);
        assert!(wrapped(" \n", 80, width).is_empty());
    }

    #[test]
    fn everything_lies_inside_at_any_width() {
        let series: Vec<Series> = (0..30)
            .map(|i| Series::new("name ".repeat(1 + i % 7), vec![(0.0, -1e300), (f64::from(i as u32), 1e-9)]))
            .collect();
        let chart = Chart {
            title: "a title that is rather long".repeat(3),
            x_label: "x".repeat(100),
            y_label: "values".into(),
            series,
            ..Chart::default()
        };
        for width in [80, 200, 700] {
            let medium = Medium { width, ..MEDIUM };
            let layout = Layout::of(&chart, &medium);
            let text = |text: &String| (medium.text)(text);
            assert_eq!(layout.legend.len(), 30);
            for entry in &layout.legend {
                assert!(entry.text.iter().all(|line| entry.x + text(line) <= width), "{width} {entry:?}");
                assert!(entry.y + 10 * lines(&entry.text) <= layout.top);
            }
            for line in layout.title.iter().chain(&layout.x_label).chain(&layout.y_label) {
                assert!(text(line) <= width, "{line}");
            }
            assert!(layout.left < layout.right && layout.top < layout.bottom, "{layout:?}");
            assert!(layout.y.ticks.iter().all(|tick| text(&tick.1) < layout.left));
            let last = layout.x.ticks.last().unwrap();
            assert!(layout.right + text(&last.1) / 2 <= width);
        }
    }

    #[test]
    fn a_long_first_label_of_x_lies_inside() {
        let points = vec![(-1.234e300, 0.0), (1.0, 1.0)];
        let chart = Chart { series: vec![Series::new("s", points)], ..Chart::default() };
        let layout = Layout::of(&chart, &MEDIUM);
        let first = &layout.x.ticks[0];
        assert_eq!(first.1, "-1.234e300");
        assert!(layout.left >= (MEDIUM.text)(&first.1) / 2, "{layout:?}");
    }

    #[test]
    fn entries_of_the_legend_do_not_overlap() {
        let series = ["short", "a longer name", "other", "x"].map(|label| Series::new(label, vec![]));
        let entries = legend(&series, &mut 0, &MEDIUM);
        for (i, a) in entries.iter().enumerate() {
            for b in &entries[i + 1..] {
                let apart = a.y != b.y || a.x + (MEDIUM.text)(&a.text[0]) <= b.x - sample(&MEDIUM);
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_drawn_ends_a_run() {
        let points =
            vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, f64::INFINITY), (5.0, 0.0)];
        let chart = Chart { series: vec![Series::new("s", points)], ..Chart::default() };
        let runs = Layout::of(&chart, &MEDIUM).runs(&chart.series[0]);
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    }
}
