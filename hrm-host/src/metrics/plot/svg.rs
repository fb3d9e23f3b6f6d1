//! The chart as SVG. Colours are mid-tones that read on both grounds; where the viewer says that it is dark, text and
//! grid turn lighter.

use std::fmt::Write;

use super::{Axis, Chart, label};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 56.0;

/// Told apart by people with any colour vision (after Okabe and Ito), all of middling lightness.
const COLOURS: [&str; 6] = ["#0d7fc2", "#d55e00", "#009e73", "#c2609a", "#b8860b", "#7a6fd0"];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#57606a}.title{font-size:16px;font-weight:600;fill:#24292f}\
.grid{stroke:#8c959f;stroke-opacity:.3}.axis{stroke:#6e7781}.line{fill:none;stroke-width:2;stroke-linejoin:round;\
stroke-linecap:round}@media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#e6edf3}}";

pub(super) fn render(chart: &Chart) -> String {
    let x = Axis::spanning(points(chart).map(|p| p.0), chart.log_x);
    let y = match chart.y_range {
        Some((low, high)) if low < high => Axis { low, high, ..Axis::linear(low, high) },
        _ => Axis::spanning(points(chart).filter(|p| x.position(p.0).is_some()).map(|p| p.1), false),
    };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(&mut out, chart, &x, &y);
    out
}

fn points(chart: &Chart) -> impl Iterator<Item = (f64, f64)> {
    chart.series.iter().flat_map(|series| series.points.iter().copied())
}

fn draw(out: &mut String, chart: &Chart, x: &Axis, y: &Axis) -> std::fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let place_x = |value| x.position(value).map(|part| LEFT + part * (right - LEFT));
    let place_y = |value| y.position(value).map(|part| bottom - part * (bottom - TOP));

    let title = escape(&chart.title);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    )?;
    writeln!(out, "<style>{STYLE}</style>")?;
    writeln!(out, "<text class=\"title\" x=\"{LEFT}\" y=\"26\">{title}</text>")?;

    for &tick in &y.ticks {
        let Some(at) = place_y(tick).filter(|at| (TOP - 0.5..=bottom + 0.5).contains(at)) else { continue };
        writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>")?;
        let (x, y) = (LEFT - 8.0, at + 4.0);
        writeln!(out, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", label(tick))?;
    }
    for &tick in &x.ticks {
        let Some(at) = place_x(tick) else { continue };
        writeln!(out, "<path class=\"axis\" d=\"M{at:.1} {bottom}v5\"/>")?;
        let y = bottom + 20.0;
        writeln!(out, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", label(tick))?;
    }
    writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>")?;
    let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
    let (under, x_label, y_label) = (HEIGHT - 14.0, escape(&chart.x_label), escape(&chart.y_label));
    writeln!(out, "<text x=\"{middle_x}\" y=\"{under}\" text-anchor=\"middle\">{x_label}</text>")?;
    writeln!(
        out,
        "<text transform=\"translate(18 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{y_label}</text>"
    )?;

    writeln!(
        out,
        "<clipPath id=\"plot\"><path d=\"M{LEFT} {:.1}H{right}V{:.1}H{LEFT}z\"/></clipPath>",
        TOP - 2.0,
        bottom + 2.0
    )?;
    let mut legend = LEFT;
    for (series, colour) in chart.series.iter().zip(COLOURS.iter().cycle()) {
        let mut pen_up = true;
        let mut path = String::new();
        let mut lone = Vec::new();
        for (index, &(px, py)) in series.points.iter().enumerate() {
            let Some((px, py)) = place_x(px).zip(place_y(py)) else {
                pen_up = true;
                continue;
            };
            write!(path, "{}{px:.1} {py:.1}", if pen_up { 'M' } else { 'L' })?;
            let next = series.points.get(index + 1);
            if pen_up && next.is_none_or(|n| place_x(n.0).zip(place_y(n.1)).is_none()) {
                lone.push((px, py));
            }
            pen_up = false;
        }
        if !path.is_empty() {
            writeln!(
                out,
                "<path class=\"line\" clip-path=\"url(#plot)\" stroke=\"{colour}\" d=\"{path}\"/>"
            )?;
        }
        // A point without neighbours would be invisible as a line.
        for (px, py) in lone {
            writeln!(out, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
        }
        let (end, text) = (legend + 18.0, legend + 24.0);
        writeln!(out, "<path class=\"line\" stroke=\"{colour}\" d=\"M{legend:.1} 48H{end:.1}\"/>")?;
        writeln!(out, "<text x=\"{text:.1}\" y=\"52\">{}</text>", escape(&series.label))?;
        legend = text + 7.5 * series.label.chars().count() as f64 + 16.0;
    }
    writeln!(out, "</svg>")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write the other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::plot::Series;

    fn chart(series: Vec<Series>) -> Chart {
        Chart { title: "a<b & \"c\"".into(), x_label: "step".into(), series, ..Chart::default() }
    }

    #[test]
    fn the_corners_of_the_data_are_the_corners_of_the_plot() {
        let svg = chart(vec![Series::new("s", vec![(0.0, 0.0), (10.0, 1.0)])]).to_svg();
        assert!(svg.contains("d=\"M72.0 364.0L696.0 72.0\""), "{svg}");
        assert!(svg.contains("a&lt;b &amp; &quot;c&quot;"));
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_lone_point_is_a_dot() {
        let points =
            vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, f64::INFINITY), (5.0, 0.0)];
        let svg = chart(vec![Series::new("s", points)]).to_svg();
        let line = svg.lines().find(|line| line.contains("clip-path=")).unwrap();
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (3, 1), "{line}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_logarithmic_axis_leaves_out_zero_and_spaces_decades_evenly() {
        let points = vec![(0.0, 5.0), (1.0, 0.0), (10.0, 0.5), (100.0, 1.0)];
        let svg = Chart { log_x: true, ..chart(vec![Series::new("s", points)]) }.to_svg();
        assert!(svg.contains("d=\"M72.0 364.0L384.0 218.0L696.0 72.0\""), "{svg}");
    }

    #[test]
    fn no_data_is_an_empty_chart() {
        for series in [vec![], vec![Series::new("s", vec![])], vec![Series::new("s", vec![(f64::NAN, 1.0)])]]
        {
            for log_x in [false, true] {
                let svg = Chart { log_x, ..chart(series.clone()) }.to_svg();
                assert!(!svg.contains("NaN") && !svg.contains("clip-path="), "{svg}");
            }
        }
    }

    #[test]
    fn each_series_has_its_colour_and_label() {
        let lines = ["one", "two"].map(|label| Series::new(label, vec![(0.0, 0.0), (1.0, 1.0)]));
        let svg = chart(lines.to_vec()).to_svg();
        for expected in [">one<", ">two<", COLOURS[0], COLOURS[1]] {
            assert!(svg.contains(expected), "{expected}");
        }
    }
}
