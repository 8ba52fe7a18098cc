//! The diagram as a picture (SVG).

use quorate_model::Pid;
use quorate_model::trace::{Trace, What};
use svg::Document;
use svg::node::element::{Circle, Definitions, Group, Line, Marker, Path, Rectangle, Style, Text, Title};

use super::{columns, cut, sends};

const COLUMN_WIDTH: f64 = 240.0;
const ROW_HEIGHT: f64 = 34.0;
/// Between messages that leave together, so that their ways do not cover each other.
const SEND_GAP: f64 = 6.0;
const TOP: f64 = 56.0;
const MARGIN: f64 = 90.0;
const LABEL_LEN_MAX: usize = 30;

/// Colours hold on white and on black; the words follow the page.
const STYLE: &str = "
  text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #1f2937; paint-order: stroke; stroke: #ffffff;
         stroke-width: 4px; stroke-linejoin: round }
  .name { font-weight: 600; font-size: 14px; text-anchor: middle }
  .life { stroke: #9ca3af; stroke-width: 1.5 }
  .down { stroke: #d1d5db; stroke-width: 1.5; stroke-dasharray: 2 6 }
  .way { stroke: #2563eb; stroke-width: 1.5; fill: none }
  .again { stroke-dasharray: 6 4 }
  .lost { stroke: #dc2626 }
  .left { fill: #2563eb }
  .disk { fill: #059669 }
  .alarm { fill: #ffffff; stroke: #d97706; stroke-width: 2 }
  .began { fill: #ffffff; stroke: #4b5563; stroke-width: 2 }
  .cross { stroke: #dc2626; stroke-width: 2.5 }
  .says { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: 11px }
  .fact { fill: #6b7280; font-size: 11px }
";

struct Canvas {
    lines: Group,
    marks: Group,
    words: Group,
}

/// The trace as an SVG document.
#[must_use]
pub fn svg(trace: &Trace) -> String {
    let columns = columns(trace);
    let x = |pid: Pid| {
        MARGIN + columns.iter().position(|it| *it == pid).expect("columns hold all pids") as f64 * COLUMN_WIDTH
    };
    let (rows, row_count) = rows(trace);
    let y = |index: usize| TOP + rows[index].0 as f64 * ROW_HEIGHT + rows[index].1 as f64 * SEND_GAP;
    let bottom = TOP + row_count as f64 * ROW_HEIGHT + 10.0;
    let width = MARGIN * 2.0 + (columns.len().max(1) - 1) as f64 * COLUMN_WIDTH + 120.0;

    let mut canvas = Canvas { lines: Group::new(), marks: Group::new(), words: Group::new() };
    for pid in &columns {
        canvas.lives(trace, *pid, x(*pid), bottom, &y);
        canvas.words = canvas.words.add(Text::new(pid.to_string()).set("class", "name").set("x", x(*pid)).set("y", 24));
    }
    let sends = sends(trace);
    let mut arrived = std::collections::BTreeSet::new();
    for (index, step) in trace.iter().enumerate() {
        let (at_x, at_y) = (x(step.at), y(index));
        match &step.what {
            What::Start => canvas.diamond(at_x, at_y),
            What::Send { .. } => canvas.mark(Circle::new().set("class", "left").set("r", 3.5), at_x, at_y),
            What::Receive { id, from, label } => {
                let again = !arrived.insert(*id);
                // A trace may be the end of a longer one: then the way begins where it ends.
                let from_y = sends.get(id).map_or(at_y - ROW_HEIGHT / 2.0, |(sent, ..)| y(*sent));
                canvas.way((x(*from), from_y), (at_x, at_y), if again { "way again" } else { "way" }, label);
            }
            What::Lose { id } => {
                if let Some((sent, from, label)) = sends.get(id) {
                    canvas.lost((x(*from), y(*sent)), (at_x, at_y), label);
                }
            }
            What::Alarm { label } => {
                canvas.mark(Circle::new().set("class", "alarm").set("r", 5), at_x, at_y);
                canvas.fact(at_x, at_y, &format!("alarm {label}"));
            }
            What::Sync { count } => {
                let square = Rectangle::new().set("class", "disk").set("width", 9).set("height", 9);
                canvas.marks = std::mem::take(&mut canvas.marks).add(square.set("x", at_x - 4.5).set("y", at_y - 4.5));
                canvas.fact(at_x, at_y, &format!("{count} on disk"));
            }
            What::Crash { kept } => {
                canvas.cross(at_x, at_y, 7.0);
                canvas.fact(at_x, at_y, &format!("dies, keeps {kept}"));
            }
            What::Note { label } => canvas.fact(at_x, at_y, label),
        }
    }
    Document::new()
        .set("viewBox", (0.0, 0.0, width, bottom + 20.0))
        .set("width", width)
        .set("height", bottom + 20.0)
        .add(Style::new(STYLE))
        .add(Definitions::new().add(head("head", "#2563eb")))
        .add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#ffffff"))
        .add(canvas.lines)
        .add(canvas.marks)
        .add(canvas.words)
        .to_string()
}

/// The row of each step, and its place within the row. What one process does at one moment shares a row: an arrival and
/// the messages that it makes leave.
fn rows(trace: &Trace) -> (Vec<(usize, usize)>, usize) {
    let mut rows: Vec<(usize, usize)> = Vec::with_capacity(trace.len());
    for (index, step) in trace.iter().enumerate() {
        let Some(before) = index.checked_sub(1).map(|before| &trace[before]) else {
            rows.push((0, 0));
            continue;
        };
        let (row, place) = rows[index - 1];
        let leaves = matches!(step.what, What::Send { .. }) && before.at == step.at;
        rows.push(match (&before.what, &step.what) {
            (What::Send { .. }, _) if leaves => (row, place + 1),
            (What::Receive { .. } | What::Start | What::Alarm { .. }, _) if leaves => (row, place),
            (What::Start, What::Start) if before.at != step.at => (row, 0),
            _ => (row + 1, 0),
        });
    }
    let count = rows.last().map_or(0, |(row, _)| row + 1);
    (rows, count)
}

fn head(id: &str, colour: &str) -> Marker {
    Marker::new()
        .set("id", id)
        .set("viewBox", "0 0 10 10")
        .set("refX", 9)
        .set("refY", 5)
        .set("markerWidth", 7)
        .set("markerHeight", 7)
        .set("orient", "auto")
        .add(Path::new().set("d", "M0,1 L9,5 L0,9 z").set("fill", colour))
}

impl Canvas {
    fn lives(&mut self, trace: &Trace, pid: Pid, x: f64, bottom: f64, y: &impl Fn(usize) -> f64) {
        let (mut from, mut class) = (TOP - 20.0, "life");
        let mut ends: Vec<(f64, &str)> = Vec::new();
        for (index, step) in trace.iter().enumerate().filter(|(_, step)| step.at == pid) {
            match step.what {
                What::Crash { .. } => ends.push((y(index), "down")),
                What::Start => ends.push((y(index), "life")),
                _ => {}
            }
        }
        ends.push((bottom, ""));
        for (until, next) in ends {
            let line = Line::new().set("class", class).set("x1", x).set("x2", x).set("y1", from).set("y2", until);
            self.lines = std::mem::take(&mut self.lines).add(line);
            (from, class) = (until, next);
        }
    }

    fn mark(&mut self, circle: Circle, x: f64, y: f64) {
        self.marks = std::mem::take(&mut self.marks).add(circle.set("cx", x).set("cy", y));
    }

    fn diamond(&mut self, x: f64, y: f64) {
        let path = format!("M{x},{} l6,6 l-6,6 l-6,-6 z", y - 6.0);
        self.marks = std::mem::take(&mut self.marks).add(Path::new().set("class", "began").set("d", path));
    }

    fn cross(&mut self, x: f64, y: f64, size: f64) {
        let path = format!("M{},{} l{d},{d} m0,-{d} l-{d},{d}", x - size, y - size, d = size * 2.0);
        self.marks = std::mem::take(&mut self.marks).add(Path::new().set("class", "cross").set("d", path));
    }

    fn way(&mut self, from: (f64, f64), to: (f64, f64), class: &str, label: &str) {
        // The head stops short of the line of its receiver.
        let short = (to.0 - from.0).signum() * 4.0;
        let line = Line::new()
            .set("class", class)
            .set("x1", from.0)
            .set("y1", from.1)
            .set("x2", to.0 - short)
            .set("y2", to.1)
            .set("marker-end", "url(#head)");
        self.lines = std::mem::take(&mut self.lines).add(line);
        self.says(from, to, label);
    }

    fn lost(&mut self, from: (f64, f64), to: (f64, f64), label: &str) {
        let end = ((from.0 + 2.0 * to.0) / 3.0, (from.1 + 2.0 * to.1) / 3.0);
        let line = Line::new().set("class", "way lost").set("x1", from.0).set("y1", from.1);
        self.lines = std::mem::take(&mut self.lines).add(line.set("x2", end.0).set("y2", end.1));
        self.cross(end.0, end.1, 5.0);
        self.says(from, end, label);
    }

    /// What a message says, along the last part of its way.
    fn says(&mut self, from: (f64, f64), to: (f64, f64), label: &str) {
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let rightward = across >= 0.0;
        let length = across.hypot(down).max(1.0);
        let at = (to.0 - across / length * 14.0, to.1 - down / length * 14.0);
        // Text that runs leftward would stand on its head.
        let angle = if rightward { down.atan2(across) } else { (-down).atan2(-across) }.to_degrees();
        let text = Text::new(cut(label, LABEL_LEN_MAX))
            .set("class", "says")
            .set("x", at.0)
            .set("y", at.1 - 4.0)
            .set("text-anchor", if rightward { "end" } else { "start" })
            .set("transform", format!("rotate({angle:.2} {:.1} {:.1})", at.0, at.1))
            .add(Title::new(label));
        self.words = std::mem::take(&mut self.words).add(text);
    }

    fn fact(&mut self, x: f64, y: f64, words: &str) {
        let text = Text::new(cut(words, LABEL_LEN_MAX)).set("class", "fact").set("x", x + 10.0).set("y", y + 4.0);
        self.words = std::mem::take(&mut self.words).add(text);
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::trace::Step;

    use super::*;

    #[test]
    fn words_of_a_message_are_escaped() {
        let (client, node) = (Pid::client(1, 0), Pid::chain(1, 0));
        let label = "Put { key: \"<a> & b\" }".to_owned();
        let trace = vec![
            Step { at: client, what: What::Send { id: 0, to: node, label: label.clone() } },
            Step { at: node, what: What::Receive { id: 0, from: client, label } },
        ];
        let picture = svg(&trace);
        assert!(picture.contains("&lt;a&gt; &amp; b"), "{picture}");
        assert!(!picture.contains("<a>"), "{picture}");
    }
}
