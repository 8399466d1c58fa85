//! The report as a picture: times on a scale of powers of ten. SVG, on light and on dark pages.

use std::fmt::{self, Write};

use crate::report::{QUANTILES, Report, Row, Sample};

const WIDTH: f64 = 860.0;
/// Where the scale begins, and how long it is.
const LEFT: f64 = 190.0;
const LENGTH: f64 = 600.0;
/// Of a row and the room around it; of a table's title.
const LINE: f64 = 30.0;
const TITLE: f64 = 44.0;
/// The scale, in milliseconds.
const LEAST: f64 = 0.01;
const MOST: f64 = 10_000.0;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600 }
.name { text-anchor: end }
.tick { text-anchor: middle; font-size: 10px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line { stroke: #0f766e; stroke-width: 2 }
.dot { fill: #0f766e }
@media (prefers-color-scheme: dark) {
  text { fill: #b1bac4 }
  .grid { stroke: #30363d }
  .line { stroke: #2dd4bf }
  .dot { fill: #2dd4bf }
}
";

impl Report {
    pub(crate) fn to_svg(&self) -> String {
        let mut svg = String::new();
        // Writing into a string does not fail.
        let _ = self.draw(&mut svg);
        svg
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let panels = self.panels();
        let whole: f64 = panels.iter().map(Panel::height).sum();
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" width=\"{WIDTH}\" height=\"{whole}\" \
             role=\"img\" aria-label=\"what a live transfer costs those who write meanwhile\">\n<style>\n{STYLE}</style>"
        )?;
        let mut top = 0.0;
        for panel in panels {
            panel.draw(svg, top)?;
            top += panel.height();
        }
        writeln!(svg, "</svg>")
    }

    fn panels(&self) -> Vec<Panel<'_>> {
        let names: Vec<&str> = QUANTILES.iter().map(|(name, _)| *name).collect();
        let all = [
            Panel::of(format!("latency of writes, {}", names.join(", ")), &self.writers, |row| {
                row.quantiles().to_vec()
            }),
            Panel::of("latch, by the size of the state: median, at most".into(), &self.latch, |row| {
                median_and_most(row, |sample| sample.latch)
            }),
            Panel::of(
                "until the joiner serves, by the rate of writes: median, at most".into(),
                &self.cut_over,
                |row| median_and_most(row, |sample| sample.seconds),
            ),
        ];
        all.into_iter().filter(|panel| !panel.rows.is_empty()).collect()
    }
}

fn median_and_most(row: &Row, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    vec![row.median(&of).unwrap_or(0.0) * 1e3, row.most(&of) * 1e3]
}

/// Rows of times, each with its name.
struct Panel<'a> {
    title: String,
    /// Milliseconds, ascending.
    rows: Vec<(&'a str, Vec<f64>)>,
}

impl<'a> Panel<'a> {
    fn of(title: String, rows: &'a [Row], millis: impl Fn(&Row) -> Vec<f64>) -> Self {
        Self { title, rows: rows.iter().map(|row| (row.name.as_str(), millis(row))).collect() }
    }

    fn height(&self) -> f64 {
        TITLE + LINE * self.rows.len() as f64 + LINE
    }

    fn draw(&self, svg: &mut String, top: f64) -> fmt::Result {
        let Self { title, rows } = self;
        writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"{:.0}\">{title}</text>", top + 24.0)?;
        let bottom = top + TITLE + LINE * rows.len() as f64;
        let mut tick = LEAST;
        while tick <= MOST * 1.01 {
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{bottom:.0}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.0}\">{tick} ms</text>",
                top + TITLE - 8.0,
                bottom + 12.0,
                x = at(tick),
            )?;
            tick *= 10.0;
        }
        for (n, (name, millis)) in rows.iter().enumerate() {
            draw_row(svg, name, millis, top + TITLE + LINE * n as f64 + LINE / 2.0)?;
        }
        Ok(())
    }
}

fn draw_row(svg: &mut String, name: &str, millis: &[f64], y: f64) -> fmt::Result {
    let (shortest, longest) = (millis[0], millis[millis.len() - 1]);
    writeln!(
        svg,
        "<text class=\"name\" x=\"{:.0}\" y=\"{:.0}\">{name}</text>\
         <line class=\"line\" x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>",
        LEFT - 8.0,
        y + 4.0,
        at(shortest),
        at(longest),
    )?;
    for millis in millis {
        write!(svg, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\"/>", at(*millis))?;
    }
    writeln!(svg)
}

/// Where a time stands on the scale.
fn at(millis: f64) -> f64 {
    let place = (millis.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    LEFT + LENGTH * place
}
