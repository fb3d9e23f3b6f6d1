//! The chart as SVG. Colours are mid-tones that read on both grounds; where the viewer says that it is dark, text turns
//! lighter.

use plotters::prelude::{IntoDrawingArea, SVGBackend};
use unicode_width::UnicodeWidthChar;

use super::Chart;
use super::draw::{Pen, draw};
use super::layout::{Layout, Medium};

/// plotters places points on whole pixels: the picture is drawn at this multiple of the size at which it is shown.
const FINE: i32 = 4;

const MEDIUM: Medium = Medium {
    width: 720 * FINE,
    plot: 292 * FINE,
    line: 20 * FINE,
    gap: 8 * FINE,
    ticks: [4 * FINE, 4 * FINE],
    text: width,
};

const LETTERS: i32 = 13 * FINE;

const STYLE: &str = "text{font-family:system-ui,sans-serif;fill:#57606a}text[font-weight]{fill:#24292f}\
polyline{stroke-linejoin:round;stroke-linecap:round}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}text[font-weight]{fill:#e6edf3}}";

pub(super) fn render(chart: &Chart) -> String {
    let charts: Vec<(&Chart, Layout)> =
        std::iter::once(chart).chain(&chart.below).map(|chart| (chart, Layout::of(chart, &MEDIUM))).collect();
    let height: i32 = charts.iter().map(|(_, layout)| layout.height).sum();
    let size = (MEDIUM.width.unsigned_abs(), height.unsigned_abs());
    // plotters counts a font's size with the space between its lines.
    let pen = Pen { font: f64::from(LETTERS) * 1.24, stroke: 2 * FINE as u32, grid: true };
    let mut body = String::new();
    {
        let mut rest = SVGBackend::with_string(&mut body, size).into_drawing_area();
        for (chart, layout) in &charts {
            let (here, below) = rest.split_vertically(layout.height);
            // Drawing into a string cannot fail.
            let _ = draw(&here, chart, layout, &MEDIUM, pen);
            rest = below;
        }
        let _ = rest.present();
    }
    let inside = body.split_once('>').map_or("", |(_, inside)| inside);
    let (width, shown) = (MEDIUM.width / FINE, height / FINE);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" width=\"{width}\" height=\"{shown}\" \
         role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>{inside}",
        MEDIUM.width,
        escaped(&charts[0].1.title.join(" "))
    )
}

/// What a text takes in the widest of the usual sans-serif fonts, rather too much than too little.
fn width(text: &str) -> i32 {
    let tenths = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | '!' | ' ' => 4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 10,
        'a'..='z' | '0'..='9' => 7,
        c => match c.width() {
            Some(2..) => 11,
            Some(0) => 0,
            _ => 8,
        },
    };
    text.chars().map(tenths).sum::<i32>() * LETTERS / 10
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::plot::Series;

    fn chart(series: Vec<Series>) -> Chart {
        Chart { title: "a<b & \"c\"".into(), x_label: "step".into(), series, ..Chart::default() }
    }

    /// The corners of the lines of the first colour, the sample in the legend left out.
    fn curves(svg: &str) -> Vec<Vec<(i32, i32)>> {
        let corner = |pair: &str| {
            let (x, y) = pair.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        svg.lines()
            .filter(|line| line.starts_with("<polyline") && line.contains("#0D7FC2"))
            .skip(1)
            .map(|line| {
                let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
                points.split_whitespace().map(corner).collect()
            })
            .collect()
    }

    #[test]
    fn the_axes_end_at_the_data() {
        let chart = chart(vec![Series::new("s", vec![(3.0, 0.25), (10.0, 97.5)])]);
        let layout = Layout::of(&chart, &MEDIUM);
        let svg = chart.to_svg();
        let ends = [(layout.left, layout.bottom - 1), (layout.right - 1, layout.top)];
        for ((x, y), end) in curves(&svg)[0].iter().zip(ends) {
            assert!((x - end.0).abs() <= 1 && (y - end.1).abs() <= 1, "{x} {y} {end:?}\n{svg}");
        }
        for label in ["\n3\n", "\n10\n", "\n0.25\n", "\n97.5\n", "a&lt;b &amp; &quot;c&quot;"] {
            assert!(svg.contains(label), "{label}\n{svg}");
        }
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_lone_point_is_a_dot() {
        let points =
            vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, f64::INFINITY), (5.0, 0.0)];
        let svg = chart(vec![Series::new("s", points)]).to_svg();
        assert_eq!((curves(&svg).len(), svg.matches("<circle").count()), (1, 2), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_logarithmic_axis_leaves_out_zero_and_spaces_decades_evenly() {
        let points = vec![(0.0, 5.0), (1.0, 0.0), (10.0, 0.5), (100.0, 1.0)];
        let svg = Chart { log_x: true, ..chart(vec![Series::new("s", points)]) }.to_svg();
        let curve = &curves(&svg)[0];
        let halves = (curve[1].0 - curve[0].0, curve[2].0 - curve[1].0);
        assert!(curve.len() == 3 && (halves.0 - halves.1).abs() <= 2, "{curve:?}");
    }

    #[test]
    fn without_values_the_chart_says_so() {
        for series in [vec![], vec![Series::new("s", vec![])], vec![Series::new("s", vec![(f64::NAN, 1.0)])]]
        {
            for log_x in [false, true] {
                let svg = Chart { log_x, ..chart(series.clone()) }.to_svg();
                assert!(svg.contains("no values yet") && !svg.contains("NaN"), "{svg}");
            }
        }
    }

    #[test]
    fn each_of_many_series_has_its_name_and_its_own_line() {
        let series = (0..20).map(|i| Series::new(format!("<{i}>"), vec![(0.0, 0.0), (1.0, f64::from(i))]));
        let svg = chart(series.collect()).to_svg();
        for i in 0..20 {
            assert!(svg.contains(&format!("\n&lt;{i}&gt;\n")), "{i}");
        }
        // The seventh has the first colour again, in dashes.
        let long = |curve: &&Vec<(i32, i32)>| curve[0].0.abs_diff(curve[1].0) > 1000;
        let curves = curves(&svg);
        assert!(curves.len() > 40 && curves.iter().filter(long).count() == 1, "{curves:?}");
    }

    #[test]
    fn charts_stand_below_each_other() {
        let above = chart(vec![Series::new("one", vec![(0.0, 1.0)])]);
        let both = Chart { below: vec![chart(vec![Series::new("two", vec![(0.0, 1.0)])])], ..above.clone() };
        let height = |svg: &str| -> i32 {
            svg.split(" height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        let svg = both.to_svg();
        assert_eq!(height(&svg), 2 * height(&above.to_svg()));
        assert!(svg.contains("\none\n") && svg.contains("\ntwo\n"));
    }
}
