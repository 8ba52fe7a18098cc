//! Scenarios: one run of a protocol as text. Script in, text out.
//!
//! A scenario file holds commands, each on a line that begins with `> `, and below each what came of it. A test plays
//! the commands again and compares. With `QUORATE_BLESS=1` in its environment it writes what came of them instead; then
//! read the difference before you commit it. Lines with `#` and empty lines stay as they are.
//!
//! | command | does |
//! |---------|------|
//! | `outside1 asks client1: put a 1` | someone outside asks; the words are read by the test |
//! | `deliver node1 -> node2` | the oldest message of that link arrives |
//! | `deliver newest node1 -> node2` | the newest message of that link overtakes the others |
//! | `deliver all` | messages arrive in the order in which they were sent, and records become durable, until nothing is left |
//! | `deliver all quietly` | the same, and nothing is written down: for what comes before the story |
//! | `lose node1 -> node2` | the oldest message of that link is lost |
//! | `copy node1 -> node2` | the oldest message of that link arrives, and stays on its way |
//! | `sync node1` | all records of that process are durable |
//! | `crash node1 keeping 1` | it dies; of what was not durable the first record is kept |
//! | `wipe node1` | it is down, and its disk is an empty one from now on |
//! | `judge` | which claims that are made of every state are broken now |
//! | `restart node1` | it begins again from what is durable |
//! | `alarm node1` or `alarm node1 Retry` | the alarm rings; the name is needed if several are set |
//! | `wait 1500ms` | all clocks go on; no alarm rings by itself |
//! | `show node1` | its state |
//! | `expect WORDS` | fails unless what came of the last command has the words, so that blessing cannot hide a mistake |

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use quorate_model::{AlarmChange, Choose, Context, Event, Instant, Outbox, Pid, Process};

use crate::cast::{Asked, Cast, Claim, InFlight, Property, Stage as Shown, View};

/// The most messages that `deliver all` delivers.
const DELIVERIES_MAX: usize = 100_000;

/// Why a scenario cannot be played on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScenarioError {
    /// Which line, counted from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// Plays a scenario. What comes back is the same text with what came of each command below it. `parse` reads what is
/// asked.
///
/// # Errors
/// If a command is not known, cannot be done in its place, or expects what did not happen.
pub fn play<P: Process + Clone>(
    cast: &Cast<P>,
    parse: impl Fn(&str) -> Option<P::Message>,
    text: &str,
) -> Result<String, ScenarioError> {
    let mut stage = Stage::new(cast);
    let mut played = String::new();
    let mut last = stage.start();
    for (index, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("> ") {
            let at = |reason| ScenarioError { line: index + 1, reason };
            writeln!(played, "{line}").map_err(|error| at(error.to_string()))?;
            if let Some(words) = command.strip_prefix("expect ") {
                if !last.contains(words.trim()) {
                    return Err(at(format!("expected {words:?}, but what happened is:\n{last}")));
                }
                continue;
            }
            last = stage.command(command.trim(), &parse).map_err(at)?;
            played.push_str(&last);
        } else if line.trim().is_empty() || line.starts_with('#') {
            writeln!(played, "{line}").map_err(|error| ScenarioError { line: index + 1, reason: error.to_string() })?;
        }
    }
    Ok(played)
}

/// Plays the scenario file `name` of the folder `scenarios` and compares.
///
/// # Panics
/// If it cannot be read or played, or if something else came of it than it says.
pub fn check_file<P: Process + Clone>(name: &str, cast: &Cast<P>, parse: impl Fn(&str) -> Option<P::Message>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("scenario {name} cannot be read: {error}"));
    let played = play(cast, parse, &text).unwrap_or_else(|error| panic!("scenario {name}, {error}"));
    if std::env::var_os("QUORATE_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, played).unwrap_or_else(|error| panic!("scenario {name} cannot be written: {error}"));
        return;
    }
    let differs = text.lines().zip(played.lines()).position(|(said, came)| said != came);
    let differs = differs.or((text.lines().count() != played.lines().count()).then_some(text.lines().count()));
    if let Some(line) = differs {
        panic!(
            "scenario {name} comes out differently from line {} on. It says\n  {}\nbut what came is\n  {}\nThe whole:\n\
             {played}\nIf that is right, run the test again with QUORATE_BLESS=1.",
            line + 1,
            text.lines().nth(line).unwrap_or("(nothing)"),
            played.lines().nth(line).unwrap_or("(nothing)"),
        );
    }
}

struct Seat<P: Process> {
    pid: Pid,
    live: Option<P>,
    durable: P,
    outbox: Outbox<P>,
    alarms: Vec<P::Timer>,
    /// How often its disk was lost.
    losses: u64,
}

struct Stage<'a, P: Process> {
    cast: &'a Cast<P>,
    seats: Vec<Seat<P>>,
    network: VecDeque<(Pid, Pid, P::Message)>,
    now: Instant,
    said: String,
}

impl<P: Process> Shown<P> for Stage<'_, P> {
    fn pid(&self, index: usize) -> Pid {
        self.seats[index].pid
    }

    fn len(&self) -> usize {
        self.seats.len()
    }

    fn live(&self, index: usize) -> Option<&P> {
        self.seats[index].live.as_ref()
    }

    fn durable(&self, index: usize) -> &P {
        &self.seats[index].durable
    }

    fn unsynced_count(&self, index: usize) -> usize {
        self.seats[index].outbox.unsynced().count()
    }

    fn flight(&self, index: usize) -> Option<InFlight<'_, P::Message>> {
        let (from, to, message) = self.network.get(index)?;
        Some(InFlight { from: *from, to: *to, message, copies: 1 })
    }

    /// A script is read by the test: what was asked is in its text, and judged there.
    fn asked(&self, _: usize) -> Option<Asked<'_, P::Message>> {
        None
    }

    fn now(&self, _: usize) -> Instant {
        self.now
    }
}

struct First;

impl Choose for First {
    fn choose(&mut self, _: usize) -> usize {
        0
    }
}

impl<'a, P: Process + Clone> Stage<'a, P> {
    fn new(cast: &'a Cast<P>) -> Self {
        let seats = cast.seats.iter().map(|(pid, process)| Seat {
            pid: *pid,
            live: Some(process.clone()),
            durable: process.clone(),
            outbox: Outbox::new(),
            alarms: Vec::new(),
            losses: 0,
        });
        Self { cast, seats: seats.collect(), network: VecDeque::new(), now: Instant::default(), said: String::new() }
    }

    fn start(&mut self) -> String {
        for index in 0..self.seats.len() {
            self.step(index, Event::Start);
        }
        std::mem::take(&mut self.said)
    }

    fn say(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
    }

    fn command(&mut self, command: &str, parse: &impl Fn(&str) -> Option<P::Message>) -> Result<String, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            [asker, "asks", whom, ..] => {
                let to = self.seat(whom.trim_end_matches(':'))?;
                let (_, asked) = command.split_once(':').ok_or("a colon stands before what is asked")?;
                let message = parse(asked.trim()).ok_or_else(|| format!("{:?} is no question", asked.trim()))?;
                let from = self.asker(asker)?;
                self.must_be_up(to)?;
                self.step(to, Event::Message { from, message });
            }
            ["deliver", "all"] => self.deliver_all()?,
            ["deliver", "all", "quietly"] => {
                self.deliver_all()?;
                self.said.clear();
            }
            ["deliver", from, "->", to] => self.deliver(self.oldest(from, to)?, false)?,
            ["deliver", "newest", from, "->", to] => {
                let oldest = self.oldest(from, to)?;
                let newest = self.network.iter().rposition(|it| is_on(it, from, to));
                self.deliver(newest.unwrap_or(oldest), false)?;
            }
            ["copy", from, "->", to] => self.deliver(self.oldest(from, to)?, true)?,
            ["lose", from, "->", to] => {
                let at = self.oldest(from, to)?;
                self.network.remove(at);
            }
            ["sync", who] => {
                let seat = self.seat(who)?;
                if !self.sync(seat) {
                    return Err(format!("{who} has nothing to sync"));
                }
            }
            ["crash", who] => self.crash(who, 0)?,
            ["crash", who, "keeping", kept] => {
                self.crash(who, kept.parse().map_err(|_| format!("{kept:?} is no number"))?)?;
            }
            ["restart", who] => {
                let seat = self.seat(who)?;
                if self.seats[seat].live.is_some() {
                    return Err(format!("{who} is up"));
                }
                self.seats[seat].live = Some(self.seats[seat].durable.clone());
                self.step(seat, Event::Start);
            }
            ["wipe", who] => {
                let seat = self.seat(who)?;
                if self.seats[seat].live.is_some() {
                    return Err(format!("{who} is up"));
                }
                let losses = self.seats[seat].losses + u64::from(self.cast.losable.is_some());
                self.seats[seat].losses = losses;
                self.seats[seat].durable = self.cast.begins(seat, losses);
            }
            ["judge"] => self.judge(),
            ["alarm", who, name @ ..] => self.ring(who, &name.join(" "))?,
            ["wait", duration] => self.now = self.now + parse_duration(duration)?,
            ["show", who] => {
                let seat = self.seat(who)?;
                let shown = match &self.seats[seat].live {
                    Some(_) => self.shown(seat),
                    None => "down".to_owned(),
                };
                self.say(&format!("  {who} is {shown}"));
            }
            _ => return Err(format!("{command:?} is no command")),
        }
        Ok(std::mem::take(&mut self.said))
    }

    /// Says which claims about every state are broken.
    fn judge(&mut self) {
        let broken = |property: &&Property<P>| match &property.claim {
            Claim::Always(check) => !check(&View::new(self)),
            _ => false,
        };
        let broken: Vec<_> = self.cast.properties.iter().filter(broken).map(|it| it.name.clone()).collect();
        for name in &broken {
            self.say(&format!("  broken: {name}"));
        }
        if broken.is_empty() {
            self.say("  all claims hold");
        }
    }

    /// The durable state as the records that would make it: what every process can show.
    fn shown(&self, seat: usize) -> String {
        let seat = &self.seats[seat];
        let records: Vec<_> = seat.live.iter().flat_map(Process::compact).collect();
        let alarms = if seat.alarms.is_empty() { String::new() } else { format!(", alarms {:?}", seat.alarms) };
        format!("up, {} unsynced{alarms}, holds {records:?}", seat.outbox.unsynced().count())
    }

    fn seat(&self, name: &str) -> Result<usize, String> {
        let found = self.seats.iter().position(|seat| seat.pid.to_string() == name);
        found.ok_or_else(|| format!("{name:?} is not in the cast"))
    }

    fn asker(&self, name: &str) -> Result<Pid, String> {
        let found = self.cast.askers.iter().find(|asker| asker.pid.to_string() == name);
        found.map(|asker| asker.pid).ok_or_else(|| format!("{name:?} does not stand outside in this cast"))
    }

    fn must_be_up(&self, seat: usize) -> Result<(), String> {
        let seat = &self.seats[seat];
        if seat.live.is_some() { Ok(()) } else { Err(format!("{} is down", seat.pid)) }
    }

    fn oldest(&self, from: &str, to: &str) -> Result<usize, String> {
        let found = self.network.iter().position(|it| is_on(it, from, to));
        found.ok_or_else(|| {
            let waiting: Vec<String> = self.network.iter().map(|(f, t, m)| format!("{f} -> {t}: {m:?}")).collect();
            format!("no message is on its way from {from} to {to}; these are: {waiting:#?}")
        })
    }

    fn deliver(&mut self, at: usize, keep: bool) -> Result<(), String> {
        let (from, to, message) = self.network[at].clone();
        let seat = self.seat(&to.to_string())?;
        self.must_be_up(seat)?;
        if !keep {
            self.network.remove(at);
        }
        self.step(seat, Event::Message { from, message });
        Ok(())
    }

    fn deliver_all(&mut self) -> Result<(), String> {
        for _ in 0..DELIVERIES_MAX {
            if let Some((from, to, message)) = self.network.pop_front() {
                let seat = self.seat(&to.to_string())?;
                if self.seats[seat].live.is_some() {
                    self.step(seat, Event::Message { from, message });
                }
                continue;
            }
            let mut synced_any = false;
            for seat in 0..self.seats.len() {
                synced_any |= self.sync(seat);
            }
            if !synced_any {
                return Ok(());
            }
        }
        Err(format!("after {DELIVERIES_MAX} messages there are still more"))
    }

    fn ring(&mut self, who: &str, name: &str) -> Result<(), String> {
        let seat = self.seat(who)?;
        self.must_be_up(seat)?;
        let set = &self.seats[seat].alarms;
        let timer = match (name, set.as_slice()) {
            ("", [only]) => *only,
            _ => *set
                .iter()
                .find(|timer| format!("{timer:?}") == name)
                .ok_or_else(|| format!("{who} has these alarms set: {set:?}"))?,
        };
        self.seats[seat].alarms.retain(|other| *other != timer);
        self.step(seat, Event::Alarm(timer));
        Ok(())
    }

    fn crash(&mut self, who: &str, kept: usize) -> Result<(), String> {
        let index = self.seat(who)?;
        self.must_be_up(index)?;
        let seat = &mut self.seats[index];
        let unsynced: Vec<P::Record> = seat.outbox.unsynced().cloned().collect();
        if kept > unsynced.len() {
            return Err(format!("{who} has {} records that are not durable", unsynced.len()));
        }
        for record in unsynced.into_iter().take(kept) {
            seat.durable.replay(record);
        }
        seat.live = None;
        seat.outbox = Outbox::new();
        seat.alarms.clear();
        Ok(())
    }

    fn step(&mut self, index: usize, event: Event<P>) {
        let (pid, now) = (self.seats[index].pid, self.now);
        let seat = &mut self.seats[index];
        let records_before = seat.outbox.unsynced().count();
        let mut first = First;
        let live = seat.live.as_mut().expect("only a process that is up takes a step");
        live.on(event, &mut Context::new(pid, now, &mut seat.outbox, &mut first));
        let new: Vec<String> = seat.outbox.unsynced().skip(records_before).map(|it| format!("{it:?}")).collect();
        let mut lines: Vec<String> = new.into_iter().map(|record| format!("  {pid} appends {record}")).collect();
        while let Some(change) = seat.outbox.alarm_change() {
            match change {
                AlarmChange::Set(timer, after) => {
                    seat.alarms.retain(|other| *other != timer);
                    seat.alarms.push(timer);
                    seat.alarms.sort();
                    lines.push(format!("  {pid} sets {timer:?} to {:?}..{:?}", after.start, after.end));
                }
                AlarmChange::Stop(timer) => {
                    if seat.alarms.contains(&timer) {
                        seat.alarms.retain(|other| *other != timer);
                        lines.push(format!("  {pid} stops {timer:?}"));
                    }
                }
            }
        }
        for line in lines {
            self.say(&line);
        }
        self.release(index);
        let seat = &self.seats[index];
        let held = seat.outbox.held_count();
        if held > 0 {
            self.say(&format!("  {pid} holds {held} behind its disk"));
        }
    }

    fn sync(&mut self, index: usize) -> bool {
        let seat = &mut self.seats[index];
        let mut count = 0;
        while let Some(record) = seat.outbox.take_record() {
            seat.durable.replay(record.clone());
            count += 1;
        }
        if count == 0 {
            return false;
        }
        seat.outbox.synced(count);
        let pid = seat.pid;
        self.say(&format!("  {pid} has {count} more on disk"));
        self.release(index);
        true
    }

    fn release(&mut self, index: usize) {
        let from = self.seats[index].pid;
        while let Some((to, message)) = self.seats[index].outbox.release() {
            self.say(&format!("  {from} -> {to}: {message:?}"));
            if self.cast.index_of(to).is_some() {
                self.network.push_back((from, to, message));
            }
        }
    }
}

fn is_on<M>((sender, receiver, _): &(Pid, Pid, M), from: &str, to: &str) -> bool {
    sender.to_string() == from && receiver.to_string() == to
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let count: u64 = digits.parse().map_err(|_| format!("{text:?} is no duration: write 1500ms or 2s"))?;
    match &text[digits.len()..] {
        "us" => Ok(Duration::from_micros(count)),
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        unit => Err(format!("{unit:?} is no unit: us, ms or s")),
    }
}
