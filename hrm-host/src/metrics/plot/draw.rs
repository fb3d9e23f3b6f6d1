//! A chart drawn by plotters on any of its backends.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, DrawingBackend, IntoFont,
    LabelAreaPosition, PathElement, RGBColor, ShapeStyle, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Chart;
use super::layout::{Layout, Medium, sample};

/// Told apart by people with any colour vision (after Okabe and Ito), all of middling lightness.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0x0d, 0x7f, 0xc2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xc2, 0x60, 0x9a),
    RGBColor(0xb8, 0x86, 0x0b),
    RGBColor(0x7a, 0x6f, 0xd0),
];
const GREY: RGBColor = RGBColor(0x8c, 0x95, 0x9f);

/// How lines and letters are drawn on a medium.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen {
    /// Size of letters as plotters counts it.
    pub font: f64,
    /// Width of a curve; a thin line has half of it.
    pub stroke: u32,
    /// Whether there is a grid behind the curves.
    pub grid: bool,
}

type Outcome<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Draws `chart` as `layout` has it. `area` begins at the layout's corner.
pub(super) fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    chart: &Chart,
    layout: &Layout,
    medium: &Medium,
    pen: Pen,
) -> Outcome<B> {
    let font = TextStyle::from(("sans-serif", pen.font).into_font()).color(&GREY);
    let title = TextStyle::from(("sans-serif", pen.font).into_font().style(plotters::style::FontStyle::Bold))
        .color(&GREY);
    let (line, middle) = (medium.line, Pos::new(HPos::Center, VPos::Top));
    let write = |text: &[String], style: &TextStyle<'_>, x: i32, y: i32| {
        (0..).zip(text).try_for_each(|(row, text)| area.draw_text(text, style, (x, y + row * line)))
    };
    write(&layout.title, &title, medium.gap, medium.gap)?;
    let above = layout.top - medium.gap - line * layout.y_label.len() as i32;
    write(&layout.y_label, &font, medium.gap, above)?;
    let below = layout.bottom + 2 * medium.ticks[1] + line;
    write(&layout.x_label, &font.pos(middle), i32::midpoint(layout.left, layout.right), below)?;
    for entry in &layout.legend {
        write(&entry.text, &font, entry.x, entry.y)?;
        let (from, y) = (entry.x - medium.gap - sample(medium), entry.y + line / 2);
        let ends = vec![(from, y), (from + sample(medium), y)];
        let style = stroke(entry.series, pen);
        match dash(entry.series, pen) {
            None => area.draw(&PathElement::new(ends, style))?,
            Some((on, off)) => area.draw(&DashedPathElement::new(ends, on, off, style))?,
        }
    }

    let (width, height) = area.dim_in_pixel();
    let mut plot = ChartBuilder::on(area)
        .margin_top(layout.top)
        .margin_right(i32::try_from(width).unwrap_or(i32::MAX) - layout.right)
        .margin_bottom(i32::try_from(height).unwrap_or(i32::MAX) - layout.bottom - 2 * medium.ticks[1] - line)
        .set_label_area_size(LabelAreaPosition::Left, layout.left)
        .set_label_area_size(LabelAreaPosition::Bottom, 2 * medium.ticks[1] + line)
        .build_cartesian_2d(layout.x.clone(), layout.y.clone())?;
    let thin = |alpha: f64| GREY.mix(alpha).stroke_width((pen.stroke / 2).max(1));
    let mut mesh = plot.configure_mesh();
    mesh.disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(thin(0.3))
        .axis_style(thin(1.0))
        .label_style(font.clone())
        .set_tick_mark_size(LabelAreaPosition::Left, medium.ticks[0])
        .set_tick_mark_size(LabelAreaPosition::Bottom, medium.ticks[1]);
    if !pen.grid {
        mesh.disable_y_mesh();
    }
    mesh.draw()?;

    let mut drawn = false;
    for (index, series) in chart.series.iter().enumerate() {
        let style = stroke(index, pen);
        for run in layout.runs(series) {
            drawn = true;
            match (&run[..], dash(index, pen)) {
                ([lone], _) => {
                    plot.draw_series([Circle::new(*lone, pen.stroke + pen.stroke / 2, style.filled())])?
                }
                (_, None) => plot.draw_series([PathElement::new(run, style)])?,
                (_, Some((on, off))) => plot.draw_series([DashedPathElement::new(run, on, off, style)])?,
            };
        }
    }
    if !drawn {
        let centre = (i32::midpoint(layout.left, layout.right), i32::midpoint(layout.top, layout.bottom));
        area.draw_text("no values yet", &font.pos(Pos::new(HPos::Center, VPos::Center)), centre)?;
    }
    Ok(())
}

fn stroke(series: usize, pen: Pen) -> ShapeStyle {
    COLOURS[series % COLOURS.len()].stroke_width(pen.stroke)
}

/// Dash and gap of a series whose colour an earlier one has already.
fn dash(series: usize, pen: Pen) -> Option<(i32, i32)> {
    let round = i32::try_from(series / COLOURS.len()).unwrap_or(i32::MAX / 64).min(1 << 20);
    let stroke = pen.stroke as i32;
    (round > 0).then(|| (stroke * (3 * round - 1), stroke * 2))
}
