//! Measures how news spread through crowds of members, and writes `results.md` and `spread.svg` into a folder.
//!
//! `cargo run --release -p quorate-check --example gossip_spread -- bench/gossip [largest crowd]`

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use plotters::prelude::*;
use quorate_check::casts::gossip_crowd::{CrowdShape, Spread, spread};

/// How many members, and how many seeds of each.
const SIZES: [(u32, u64); 4] = [(10, 21), (100, 21), (1_000, 11), (10_000, 3)];

/// Messages lost, of a thousand.
const LOSSES: [u32; 2] = [0, 100];

/// A crowd that takes longer has not come to know.
const ROUNDS_MAX: u32 = 200;

/// One size and loss, over all its seeds.
struct Row {
    member_count: u32,
    loss_per_mille: u32,
    runs: Vec<Spread>,
}

impl Row {
    /// The median, the least and the greatest of what `figure` reads of a run.
    fn figure(&self, figure: impl Fn(&Spread) -> f64) -> (f64, f64, f64) {
        let mut figures: Vec<f64> = self.runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
    }

    fn members(&self) -> f64 {
        f64::from(self.member_count)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).ok_or("name the folder to write to")?;
    let largest = env::args().nth(2).map_or(Ok(u32::MAX), |size| size.parse())?;
    let mut rows = Vec::new();
    for (member_count, seeds) in SIZES.into_iter().filter(|(size, _)| *size <= largest) {
        for loss_per_mille in LOSSES {
            let run = |seed| spread(CrowdShape::new(member_count, loss_per_mille), ROUNDS_MAX, seed);
            let runs = (0..seeds).map(run).collect::<Option<Vec<_>>>().ok_or("some never came to know")?;
            println!("{member_count} members, {loss_per_mille} per mille lost: done");
            rows.push(Row { member_count, loss_per_mille, runs });
        }
    }
    fs::write(Path::new(&folder).join("results.md"), table(&rows)?)?;
    plot(&rows, &Path::new(&folder).join("spread.svg"))
}

fn table(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let mut text = String::from(
        "# How news spread\n\n\
         Command: `cargo run --release -p quorate-check --example gossip_spread -- bench/gossip`. Virtual time and seeded \
         chance, so every machine gets the same figures.\n\n\
         Members as they ship all know each other; one changes what it says of itself, and the others hear of it by rumours \
         along with probes, one probe a member and round (1 s). Each figure is the median over the seeds (least to greatest). \
         Bytes are whole datagrams, sealed, sent by one member on average until all knew; *without news* is what the same \
         members sent in the same time before, when losses had not made as many suspicions yet.\n\n\
         | members | lost | seeds | rounds until half know | rounds until all know | all / log2(members) | bytes a member | \
         bytes a member, without news | bytes a member and round |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let rounds = |(median, least, greatest): (f64, f64, f64)| format!("{median:.1} ({least:.1} to {greatest:.1})");
        let bytes = |(median, least, greatest): (f64, f64, f64)| format!("{median:.0} ({least:.0} to {greatest:.0})");
        writeln!(
            text,
            "| {} | {} % | {} | {} | {} | {:.2} | {} | {:.0} | {:.0} |",
            row.member_count,
            row.loss_per_mille / 10,
            row.runs.len(),
            rounds(row.figure(|run| run.half)),
            rounds(row.figure(|run| run.all)),
            row.figure(|run| run.all).0 / row.members().log2(),
            bytes(row.figure(|run| run.traffic.bytes as f64 / row.members())),
            row.figure(|run| run.idle_bytes as f64 / row.members()).0,
            row.figure(|run| run.traffic.bytes as f64 / row.members() / run.all).0,
        )?;
    }
    text.push_str("\n![Rounds until all know, against the number of members](spread.svg)\n");
    Ok(text)
}

fn plot(rows: &[Row], path: &Path) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (720, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = rows.iter().map(|row| row.figure(|run| run.all).2).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("Rounds until all members know (median, least to greatest)", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(48)
        .build_cartesian_2d((8.0..12_500.0).log_scale(), 0.0..most + 2.0)?;
    chart.configure_mesh().x_desc("members").y_desc("rounds").x_label_formatter(&|x| format!("{x:.0}")).draw()?;
    for (loss_per_mille, color) in LOSSES.into_iter().zip([&BLUE, &RED]) {
        let rows = || rows.iter().filter(move |row| row.loss_per_mille == loss_per_mille);
        let line = rows().map(|row| (row.members(), row.figure(|run| run.all).0));
        chart
            .draw_series(LineSeries::new(line, color))?
            .label(format!("{} % lost", loss_per_mille / 10))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        let ranges = rows().map(|row| {
            let (_, least, greatest) = row.figure(|run| run.all);
            PathElement::new([(row.members(), least), (row.members(), greatest)], color)
        });
        chart.draw_series(ranges)?;
    }
    let logarithm = [10.0_f64, 10_000.0].map(|members| (members, members.log2()));
    chart
        .draw_series(LineSeries::new(logarithm, BLACK.mix(0.4)))?
        .label("log2(members)")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLACK.mix(0.4)));
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.2)).draw()?;
    area.present()?;
    Ok(())
}
