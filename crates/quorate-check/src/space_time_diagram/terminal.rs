//! The diagram as text.

use std::fmt::Write as _;

use quorate_model::Pid;
use quorate_model::trace::{Trace, What};

use super::{columns, cut, lands_at_once, sends};

const COLUMN_WIDTH: usize = 12;

/// A row: one character for each place, then words at the right.
struct Row {
    places: Vec<char>,
    words: String,
}

/// The trace as text, at most `width` characters wide where the columns leave room.
#[must_use]
pub fn text(trace: &Trace, width: usize) -> String {
    let columns = columns(trace);
    let sends = sends(trace);
    let center = |pid: Pid| columns.iter().position(|it| *it == pid).expect("columns hold all pids") * COLUMN_WIDTH + 5;
    let words_max = width.saturating_sub(columns.len() * COLUMN_WIDTH + 1).max(24);
    let mut up = vec![true; columns.len()];
    let mut out = String::new();
    for pid in &columns {
        // The name stands in the middle of its column.
        let name = cut(&pid.to_string(), COLUMN_WIDTH - 1);
        let before = 5_usize.saturating_sub(name.chars().count() / 2);
        out.push_str(&format!("{:before$}{name:rest$}", "", rest = COLUMN_WIDTH - before));
    }
    out = out.trim_end().to_owned() + "\n";

    let mut index = 0;
    while index < trace.len() {
        let step = &trace[index];
        let here = center(step.at);
        let mut row = blank(&up);
        let column = columns.iter().position(|it| *it == step.at).expect("columns hold all pids");
        match &step.what {
            What::Send { id, to, label } if !lands_at_once(trace, index) => {
                row.places[here] = '●';
                row.words = format!("#{id} to {to}: {label}");
            }
            What::Send { .. } => {
                index += 1;
                continue; // the next row shows the whole way
            }
            What::Receive { id, from, label } => {
                arrow(&mut row, center(*from), here, '▶', '◀');
                let at_once = index > 0 && lands_at_once(trace, index - 1);
                row.words = if at_once { label.clone() } else { format!("#{id}: {label}") };
            }
            What::Lose { id } => {
                if index > 0 && lands_at_once(trace, index - 1) {
                    arrow(&mut row, center(trace[index - 1].at), here, '╳', '╳');
                } else {
                    row.places[here] = '╳';
                }
                let label = sends.get(id).map_or("", |(_, _, label)| *label);
                row.words = format!("#{id} is lost: {label}");
            }
            What::Start => {
                up[column] = true;
                row.places[here] = '◇';
                row.words = format!("{} starts", step.at);
            }
            What::Alarm { label } => {
                row.places[here] = '◷';
                row.words = format!("{}: alarm {label}", step.at);
            }
            What::Sync { count } => {
                row.places[here] = '■';
                row.words = format!("{}: {count} more on disk", step.at);
            }
            What::Crash { kept } => {
                up[column] = false;
                row.places[here] = '✖';
                row.words = format!("{} dies; its disk keeps {kept} more", step.at);
            }
            What::Note { label } => row.words = format!("{}: {label}", step.at),
        }
        let places: String = row.places.iter().collect();
        writeln!(out, "{places} {}", cut(&row.words, words_max)).expect("a string takes all that is written");
        index += 1;
    }
    out
}

fn blank(up: &[bool]) -> Row {
    let mut places = vec![' '; up.len() * COLUMN_WIDTH];
    for (column, up) in up.iter().enumerate() {
        if *up {
            places[column * COLUMN_WIDTH + 5] = '│';
        }
    }
    Row { places, words: String::new() }
}

fn arrow(row: &mut Row, from: usize, to: usize, right: char, left: char) {
    let (low, high) = (from.min(to), from.max(to));
    for at in low + 1..high {
        row.places[at] = if row.places[at] == '│' { '┼' } else { '─' };
    }
    row.places[from] = if from < to { '├' } else { '┤' };
    if from == to {
        row.places[from] = '●';
    } else if from < to {
        row.places[to - 1] = right;
    } else {
        row.places[to + 1] = left;
    }
    if from != to {
        row.places[to] = '│';
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::trace::Step;

    use super::*;

    #[test]
    fn a_trace_reads_from_top_to_bottom() {
        let (outside, client, node) = (Pid::outside(1, 0), Pid::client(1, 0), Pid::chain(1, 0));
        let label = |text: &str| text.to_owned();
        let trace: Trace = [
            (node, What::Start),
            (outside, What::Send { id: 0, to: client, label: label("Put a") }),
            (client, What::Receive { id: 0, from: outside, label: label("Put a") }),
            (client, What::Send { id: 1, to: node, label: label("Forward") }),
            (client, What::Send { id: 2, to: node, label: label("Forward") }),
            (node, What::Lose { id: 2 }),
            (node, What::Crash { kept: 0 }),
            (node, What::Start),
            (node, What::Receive { id: 1, from: client, label: label("Forward") }),
            (node, What::Sync { count: 1 }),
            (node, What::Send { id: 3, to: outside, label: label("Done") }),
            (outside, What::Receive { id: 3, from: node, label: label("Done") }),
        ]
        .into_iter()
        .map(|(at, what)| Step { at, what })
        .collect();
        let expected = "\
\u{20}outside1     client1      node1
     │           │           ◇       node1 starts
     ├──────────▶│           │       Put a
     │           ●           │       #1 to node1: Forward
     │           ├──────────╳│       #2 is lost: Forward
     │           │           ✖       node1 dies; its disk keeps 0 more
     │           │           ◇       node1 starts
     │           ├──────────▶│       #1: Forward
     │           │           ■       node1: 1 more on disk
     │◀──────────┼───────────┤       Done
";
        assert_eq!(text(&trace, 100), expected, "\n{}", text(&trace, 100));
    }
}
