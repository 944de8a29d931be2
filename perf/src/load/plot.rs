//! Line plots as SVG, one panel above the other over the same axis, readable on light and dark pages.
//! Takes: panels of named lines. Gives: a document without scripts, styles from outside, or fonts of its own.
//! Leaves out: what is plotted (`series`).
//!
//! The axis is logarithmic when the highest value is 20 times the lowest or more: 1, 10, 50, 100, 200 calls then have
//! room each.

use std::fmt::Write as _;

/// Pixels.
const WIDTH: f64 = 720.0;
const PANEL_HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;
const FOOT: f64 = 26.0;
/// Ratio of highest to lowest value from which the axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 20.0;
/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One figure over all runs.
pub(crate) struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Lines with one scale.
pub(crate) struct Panel {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

/// The document.
pub(crate) fn svg(panels: &[Panel], axis: &str, foot: &str) -> String {
    let height = PANEL_HEIGHT * panels.len() as f64 + FOOT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let axis = Axis::over(panels, axis);
    for (place, panel) in panels.iter().enumerate() {
        draw(panel, &axis, PANEL_HEIGHT * place as f64, &mut out);
    }
    let _ =
        writeln!(out, "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#666\">{}</text>", height - 8.0, escaped(foot));
    out.push_str("</svg>\n");
    out
}

/// The horizontal axis.
struct Axis<'a> {
    name: &'a str,
    ticks: Vec<f64>,
    logarithmic: bool,
}

impl<'a> Axis<'a> {
    fn over(panels: &[Panel], name: &'a str) -> Self {
        let mut ticks: Vec<f64> = panels
            .iter()
            .flat_map(|panel| &panel.lines)
            .flat_map(|line| line.points.iter().map(|(x, _)| *x))
            .collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let logarithmic = match (ticks.first(), ticks.last()) {
            (Some(low), Some(high)) => *low > 0.0 && high / low >= LOGARITHMIC_FROM,
            _ => false,
        };
        Self { name, ticks, logarithmic }
    }

    fn x(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (low, high) = (self.ticks.first().copied(), self.ticks.last().copied());
        let (low, high) = (scale(low.unwrap_or(0.0)), scale(high.unwrap_or(1.0)));
        let part = if high > low { (scale(value) - low) / (high - low) } else { 0.5 };
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }
}

fn draw(panel: &Panel, axis: &Axis<'_>, top: f64, out: &mut String) {
    let highest = panel.lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y)).fold(0.0, f64::max);
    let step = round_step(highest / 4.0);
    let steps = (highest / step).ceil().max(1.0);
    let (above, below) = (top + TOP, top + PANEL_HEIGHT - BOTTOM);
    let y = |value: f64| below - value / (step * steps) * (below - above);
    let right = WIDTH - RIGHT;
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"bold\" fill=\"#222\">{}</text>",
        top + 20.0,
        escaped(panel.title)
    );
    for place in 0..=steps as usize {
        let value = step * place as f64;
        let at = y(value);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" \
             text-anchor=\"end\" fill=\"#444\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            number(value)
        );
    }
    for tick in &axis.ticks {
        let at = axis.x(*tick);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {below:.1}v5\" stroke=\"#888\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\" fill=\"#444\">{}</text>",
            below + 18.0,
            number(*tick)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.0}\" y=\"{:.1}\" fill=\"#444\">{}</text>",
        right + 12.0,
        below + 18.0,
        escaped(axis.name)
    );
    for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
        draw_line(line, colour, axis, &y, out);
    }
    for (place, (line, colour)) in panel.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            right + 12.0,
            above + 12.0 + 16.0 * place as f64,
            escaped(line.name)
        );
    }
}

fn draw_line(line: &Line, colour: &str, axis: &Axis<'_>, y: &impl Fn(f64) -> f64, out: &mut String) {
    let places: Vec<String> =
        line.points.iter().map(|(x, value)| format!("{:.1},{:.1}", axis.x(*x), y(*value))).collect();
    if places.len() > 1 {
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
    }
    for (x, value) in &line.points {
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {}</title></circle>",
            axis.x(*x),
            y(*value),
            number(*x),
            number(*value)
        );
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    if step <= 0.0 || !step.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= step)
        .unwrap_or(step)
}

/// As few digits as tell it.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel() -> Panel {
        let line = |name, points: &[(f64, f64)]| Line { name, points: points.to_vec() };
        Panel {
            title: "CPU <per> call",
            lines: vec![
                line("sipcast", &[(1.0, 1.35), (10.0, 0.67), (100.0, 0.32)]),
                line("floor", &[(1.0, 0.9), (100.0, 0.1)]),
            ],
        }
    }

    #[test]
    fn draws_the_golden_picture() {
        let drawn = svg(&[panel()], "calls", "2 cores & more");
        let golden = include_str!("plot_golden.svg");
        assert_eq!(drawn, golden, "compare the two pictures; take the new one if it is right");
    }

    #[test]
    fn the_axis_is_logarithmic_only_over_a_wide_range() {
        let panels = [panel()];
        let axis = Axis::over(&panels, "calls");
        assert!((axis.x(10.0) - (axis.x(1.0) + axis.x(100.0)) / 2.0).abs() < 1e-9);
        let narrow =
            [Panel { title: "", lines: vec![Line { name: "", points: vec![(10.0, 1.0), (30.0, 1.0)] }] }];
        let axis = Axis::over(&narrow, "calls");
        assert!((axis.x(20.0) - (axis.x(10.0) + axis.x(30.0)) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_a_single_point_are_drawn_within_the_picture() {
        let empty = svg(&[Panel { title: "none", lines: vec![] }], "calls", "");
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
        let single = Panel { title: "one", lines: vec![Line { name: "a", points: vec![(5.0, 0.0)] }] };
        let drawn = svg(&[single], "calls", "");
        assert!(!drawn.contains("NaN") && drawn.matches("<circle").count() == 1, "{drawn}");
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.3, 0.7, 1.0, 3.0, 70.0].map(round_step), [0.5, 1.0, 1.0, 5.0, 100.0]);
        assert_eq!([0.0, f64::NAN].map(round_step), [1.0, 1.0]);
        assert_eq!([0.5, 12.0, 0.125].map(number), ["0.5", "12", "0.125"]);
    }
}
