//! The report as a picture: bars for medians, whiskers for the spread. SVG, on light and on dark pages.

use std::fmt::{self, Write};

use super::{Report, Row, Table};

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 270.0;
const LENGTH: f64 = 440.0;
/// Of a bar and the room around it.
const BAR: f64 = 14.0;
const LINE: f64 = 20.0;
/// Of a table's title and the room around it.
const TITLE: f64 = 36.0;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600 }
.name { text-anchor: end }
.bar { fill: #9aa4af }
.ours { fill: #0f766e }
.spread { stroke: #57606a; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #b1bac4 }
  .bar { fill: #6e7681 }
  .ours { fill: #2dd4bf }
  .spread { stroke: #b1bac4 }
}
";

impl Report {
    pub(crate) fn to_svg(&self) -> String {
        let height: f64 = self.tables.iter().map(Table::height).sum();
        let mut svg = String::new();
        // Writing into a string does not fail.
        let _ = self.draw(&mut svg, height);
        svg
    }

    fn draw(&self, svg: &mut String, height: f64) -> fmt::Result {
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"longhaul beside the machine's limits and other tools\">\n\
             <style>\n{STYLE}</style>"
        )?;
        let mut top = 0.0;
        for table in &self.tables {
            table.draw(svg, top)?;
            top += table.height();
        }
        writeln!(svg, "</svg>")
    }
}

/// What a bar shows of a row: how long it is in the middle, at the least and at the most.
struct Bar {
    median: f64,
    low: f64,
    high: f64,
    label: String,
}

impl Bar {
    /// GB/s; milliseconds where little is moved.
    fn new(row: &Row) -> Self {
        let (seconds, gb) = (row.seconds(), row.bytes() as f64 / 1e9);
        match row.gb_per_second() {
            Some(median) => Self {
                median,
                low: gb / seconds.max,
                high: gb / seconds.min,
                label: format!("{median:.2} GB/s"),
            },
            None => Self {
                median: seconds.median * 1e3,
                low: seconds.min * 1e3,
                high: seconds.max * 1e3,
                label: format!("{:.1} ms", seconds.median * 1e3),
            },
        }
    }
}

impl Table {
    fn height(&self) -> f64 {
        TITLE + LINE * self.rows.len() as f64
    }

    fn draw(&self, svg: &mut String, top: f64) -> fmt::Result {
        let bars: Vec<(&Row, Bar)> = self.rows.iter().map(|row| (row, Bar::new(row))).collect();
        let most = bars.iter().map(|(_, bar)| bar.high).fold(f64::MIN_POSITIVE, f64::max);
        let at = |value: f64| LEFT + LENGTH * value / most;
        writeln!(
            svg,
            "<text class=\"title\" x=\"{LEFT}\" y=\"{:.0}\">{}: {}</text>",
            top + 24.0,
            escaped(&self.name),
            escaped(&self.what)
        )?;
        for (n, (row, bar)) in bars.iter().enumerate() {
            let y = top + TITLE + LINE * n as f64;
            let (middle, text) = (y + BAR / 2.0, y + BAR - 3.0);
            let class = if row.name.starts_with("longhaul") { "bar ours" } else { "bar" };
            writeln!(
                svg,
                "<text class=\"name\" x=\"{:.0}\" y=\"{text:.0}\">{}</text>\
                 <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR}\"/>\
                 <line class=\"spread\" x1=\"{:.1}\" y1=\"{middle:.0}\" x2=\"{:.1}\" y2=\"{middle:.0}\"/>\
                 <text x=\"{:.1}\" y=\"{text:.0}\">{}</text>",
                LEFT - 8.0,
                escaped(&row.name),
                at(bar.median) - LEFT,
                at(bar.low),
                at(bar.high),
                at(bar.high) + 8.0,
                bar.label,
            )?;
        }
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
