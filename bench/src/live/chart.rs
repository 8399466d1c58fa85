//! The report as a picture: latencies of writers on a scale of powers of ten. SVG, on light and on dark pages.

use std::fmt::{self, Write};

use crate::report::{QUANTILES, Report, Row};

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
        let tables = self.tables().into_iter().filter(|(_, rows)| !rows.is_empty());
        let height = |rows: &[Row]| TITLE + LINE * rows.len() as f64 + LINE;
        let whole: f64 = tables.clone().map(|(_, rows)| height(rows)).sum();
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" width=\"{WIDTH}\" height=\"{whole}\" \
             role=\"img\" aria-label=\"how long writes take, before and during a live transfer\">\n<style>\n{STYLE}</style>"
        )?;
        let mut top = 0.0;
        for (name, rows) in tables {
            draw_table(svg, name, rows, top)?;
            top += height(rows);
        }
        writeln!(svg, "</svg>")
    }
}

fn draw_table(svg: &mut String, name: &str, rows: &[Row], top: f64) -> fmt::Result {
    let names: Vec<&str> = QUANTILES.iter().map(|(name, _)| *name).collect();
    writeln!(
        svg,
        "<text class=\"title\" x=\"{LEFT}\" y=\"{:.0}\">{name}: latency of writes, {}</text>",
        top + 24.0,
        names.join(", ")
    )?;
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
    for (n, row) in rows.iter().enumerate() {
        draw_row(svg, row, top + TITLE + LINE * n as f64 + LINE / 2.0)?;
    }
    Ok(())
}

fn draw_row(svg: &mut String, row: &Row, y: f64) -> fmt::Result {
    let quantiles = row.quantiles();
    writeln!(
        svg,
        "<text class=\"name\" x=\"{:.0}\" y=\"{:.0}\">{}</text>\
         <line class=\"line\" x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>",
        LEFT - 8.0,
        y + 4.0,
        row.name,
        at(quantiles[0]),
        at(quantiles[QUANTILES.len() - 1]),
    )?;
    for millis in quantiles {
        write!(svg, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\"/>", at(millis))?;
    }
    writeln!(svg)
}

/// Where a time stands on the scale.
fn at(millis: f64) -> f64 {
    let place = (millis.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    LEFT + LENGTH * place
}
