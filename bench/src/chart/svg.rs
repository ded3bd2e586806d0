//! The little of SVG that bars and curves need.

use std::fmt::Write as _;

const FONT: &str = "font-family=\"system-ui,sans-serif\" font-size=\"11\"";

/// A picture under way.
pub(super) struct Svg {
    text: String,
}

/// Where a text stands, and which end of it.
pub(super) struct TextAt {
    x: f64,
    y: f64,
    anchor: &'static str,
}

impl TextAt {
    pub(super) fn begin(x: f64, y: f64) -> Self {
        Self { x, y, anchor: "start" }
    }

    pub(super) fn middle(x: f64, y: f64) -> Self {
        Self { x, y, anchor: "middle" }
    }

    pub(super) fn end(x: f64, y: f64) -> Self {
        Self { x, y, anchor: "end" }
    }
}

impl Svg {
    /// On white: a picture in a page may be seen on any ground.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" {FONT}>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        Self { text }
    }

    pub(super) fn heading(&mut self, title: &str, subtitle: &str) {
        let title = escaped(title);
        self.add(format_args!("<text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"600\">{title}</text>"));
        let subtitle = escaped(subtitle);
        self.add(format_args!("<text x=\"12\" y=\"39\" fill=\"#555\">{subtitle}</text>"));
    }

    pub(super) fn legend<'a>(&mut self, names: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut x = 12.0;
        for (name, colour) in names {
            self.bar(x, 50.0, 10.0, 10.0, colour);
            self.text(TextAt::begin(x + 14.0, 59.0), name);
            #[expect(clippy::cast_precision_loss, reason = "a short name")]
            let width = name.chars().count() as f64 * 6.2;
            x += width + 34.0;
        }
    }

    pub(super) fn text(&mut self, at: TextAt, text: &str) {
        let TextAt { x, y, anchor } = at;
        let text = escaped(text);
        self.add(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
    }

    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#999\" stroke-width=\"0.7\"/>"
        ));
    }

    pub(super) fn curve(&mut self, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{x:.1},{y:.1} ");
        }
        let list = list.trim_end();
        self.add(format_args!(
            "<polyline points=\"{list}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{element}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
