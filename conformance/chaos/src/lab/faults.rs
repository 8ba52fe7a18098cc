//! What happens, in which order, and how it is brought about.

use std::time::Duration;

use anyhow::{Context, bail};
use quorate::bench::connection::Link;
use quorate::etcd::generated::etcdserverpb as pb;
use rand::{Rng, RngExt};
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::Instant;

use super::cluster::{Lab, NODE_COUNT};

/// How long a node that was killed is down at most.
const DOWN_MAX: Duration = Duration::from_secs(2);
/// How long a stopped process stands still.
const PAUSE: Duration = Duration::from_secs(30);
/// How long links are cut and disks are slow or full.
const HOLD: Duration = Duration::from_secs(10);
/// The shortest that anything lasts.
const HOLD_MIN: Duration = Duration::from_secs(2);
/// How long nothing happens between two faults.
const CALM: Duration = Duration::from_secs(1);
/// How long a full disk may go unnoticed, while all that is written is large.
const NOTICE_WITHIN: Duration = Duration::from_secs(60);
/// A large write: so many bytes.
const BALLAST_BYTES: usize = 256 << 10;
/// Large writes at a time.
const BALLAST_COUNT: usize = 16;
/// How long a large write may take.
const BALLAST_PATIENCE: Duration = Duration::from_secs(5);

/// What a node is in the chain, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The first member.
    Head,
    /// One between the first and the last.
    Middle,
    /// The last member.
    Tail,
    /// Who decides on members.
    Swami,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and a start soon after.
    Kill(Role),
    /// SIGKILL of one, and of another before the first is back.
    KillTwo,
    /// SIGSTOP, and SIGCONT much later.
    Pause,
    /// A node and all others do not hear each other.
    CutOff,
    /// Two neighbours in the chain do not hear each other; everyone else hears both.
    CutLink,
    /// A node hears no other, and all hear it.
    Deaf,
    /// No node hears it, and it hears all.
    Mute,
    /// Two nodes and the other three do not hear each other.
    Halves,
    /// A node's disk takes no more.
    FullDisk,
    /// A node's disk takes a few writes a second.
    SlowDisk,
    /// SIGKILL of all nodes at once, and a start of all.
    RestartAll,
    /// A new node for each of the first ones.
    Replace,
}

impl Fault {
    /// All, in the order of the report.
    pub const ALL: &[Self] = &[
        Self::Kill(Role::Head),
        Self::Kill(Role::Middle),
        Self::Kill(Role::Tail),
        Self::Kill(Role::Swami),
        Self::KillTwo,
        Self::Pause,
        Self::CutOff,
        Self::CutLink,
        Self::Deaf,
        Self::Mute,
        Self::Halves,
        Self::FullDisk,
        Self::SlowDisk,
        Self::RestartAll,
        Self::Replace,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill(Role::Head) => "kill -9 of the head",
            Self::Kill(Role::Middle) => "kill -9 in the middle",
            Self::Kill(Role::Tail) => "kill -9 of the tail",
            Self::Kill(Role::Swami) => "kill -9 of who decides",
            Self::KillTwo => "kill -9 of two",
            Self::Pause => "SIGSTOP",
            Self::CutOff => "one node cut off",
            Self::CutLink => "one link cut",
            Self::Deaf => "one node hears nobody",
            Self::Mute => "one node is not heard",
            Self::Halves => "cut two from three",
            Self::FullDisk => "full disk",
            Self::SlowDisk => "slow disk",
            Self::RestartAll => "kill -9 of all at once",
            Self::Replace => "a node replaced",
        }
    }

    /// Whether it needs namespaces or mounts.
    pub fn needs_root(self) -> bool {
        matches!(
            self,
            Self::CutOff | Self::CutLink | Self::Deaf | Self::Mute | Self::Halves | Self::FullDisk | Self::SlowDisk
        )
    }
}

/// Which fault is next: each kind once in an order that chance gives, then the replacements, then each kind again.
pub struct Plan {
    kinds: Vec<Fault>,
    waiting: Vec<Fault>,
    has_replaced: bool,
}

impl Plan {
    /// A plan with these kinds.
    pub fn new(kinds: Vec<Fault>) -> Self {
        let kinds = kinds.into_iter().filter(|fault| *fault != Fault::Replace).collect();
        Self { kinds, waiting: Vec::new(), has_replaced: false }
    }

    /// Whether the first nodes are gone.
    pub fn has_replaced(&self) -> bool {
        self.has_replaced
    }

    /// The replacements, whatever else waits.
    pub fn replace(&mut self) -> Fault {
        self.has_replaced = true;
        Fault::Replace
    }

    /// The next fault.
    pub fn next(&mut self, chance: &mut impl Rng) -> Fault {
        if self.waiting.is_empty() {
            self.waiting = self.kinds.clone();
            for at in (1..self.waiting.len()).rev() {
                self.waiting.swap(at, chance.random_range(0..=at));
            }
            if !self.has_replaced {
                self.waiting.insert(0, Fault::Replace);
            }
        }
        let next = self.waiting.pop().unwrap_or(Fault::Replace);
        self.has_replaced |= next == Fault::Replace;
        next
    }
}

/// A fault that was.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Which.
    pub fault: Fault,
    /// Whom it met.
    pub target: String,
    /// When it began, in nanoseconds of the run.
    pub began: u64,
    /// When its cause was gone.
    pub healed: u64,
    /// When the cluster was whole.
    pub whole: u64,
    /// Nodes that ended by themselves: who, how, and what they said last.
    pub ended: Vec<String>,
}

impl Lab {
    /// Lets it happen, for `share` of the time that it is meant to last, until the cluster is whole again and calm.
    ///
    /// # Errors
    /// When it cannot be brought about, or the cluster does not become whole.
    pub async fn suffer(&mut self, fault: Fault, share: f64) -> anyhow::Result<Vec<Occurrence>> {
        let mut suffered = Vec::new();
        let times = if fault == Fault::Replace { NODE_COUNT } else { 1 };
        for number in 1..=times {
            self.ended.clear();
            let began = self.now();
            let target = match fault {
                Fault::Replace => {
                    let drains = number % 2 == 0;
                    let new = self.replace(number, drains).await?;
                    format!("node {number} by node {new}{}", if drains { ", drained first" } else { "" })
                }
                _ => self.inject(fault, share).await?,
            };
            let healed = self.now();
            self.whole().await.with_context(|| target.clone())?;
            let whole = self.now();
            let seconds = |ns: u64| ns as f64 / 1e9;
            eprintln!(
                "{:6.1} s  {}: {target}; whole {:.1} s after its end",
                seconds(began),
                fault.name(),
                seconds(whole - healed)
            );
            for end in &self.ended {
                eprintln!("          {end}");
            }
            suffered.push(Occurrence { fault, target, began, healed, whole, ended: self.ended.clone() });
            self.hold(CALM).await?;
        }
        Ok(suffered)
    }

    fn now(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.now())
    }

    /// Brings it about, holds it, and takes its cause away; whom it met.
    async fn inject(&mut self, fault: Fault, share: f64) -> anyhow::Result<String> {
        let scaled = |full: Duration| full.mul_f64(share).max(HOLD_MIN);
        let chain = self.members().await?;
        let place = self.chance.random_range(0..chain.len());
        let victim = chain[place];
        let others: Vec<_> = chain.iter().copied().filter(|node| *node != victim).collect();
        match fault {
            Fault::Kill(role) => {
                let victim = self.who_is(role).await?;
                self.node(victim).kill().await?;
                let down = self.down();
                self.hold(down).await?;
                self.start(victim)?;
                return Ok(format!("node {victim}, down for {:.1} s", down.as_secs_f64()));
            }
            Fault::KillTwo => {
                let second = others[self.chance.random_range(0..others.len())];
                for node in [victim, second] {
                    self.node(node).kill().await?;
                    let down = self.down();
                    self.hold(down).await?;
                }
                self.start(second)?;
                self.start(victim)?;
                return Ok(format!("nodes {victim} and {second}"));
            }
            Fault::Pause => {
                self.node(victim).signal(Signal::STOP)?;
                self.hold(scaled(PAUSE)).await?;
                self.node(victim).signal(Signal::CONT)?;
            }
            Fault::CutOff => self.cut(&both(&[victim], &others), scaled(HOLD)).await?,
            Fault::CutLink => {
                let place = place.min(chain.len() - 2);
                let (one, other) = (chain[place], chain[place + 1]);
                self.cut(&both(&[one], &[other]), scaled(HOLD)).await?;
                return Ok(format!("between nodes {one} and {other}"));
            }
            Fault::Deaf => self.cut(&pairs(&others, &[victim]), scaled(HOLD)).await?,
            Fault::Mute => self.cut(&pairs(&[victim], &others), scaled(HOLD)).await?,
            Fault::Halves => {
                let second = others[self.chance.random_range(0..others.len())];
                let rest: Vec<_> = others.into_iter().filter(|node| *node != second).collect();
                self.cut(&both(&[victim, second], &rest), scaled(HOLD)).await?;
                return Ok(format!("nodes {victim} and {second}"));
            }
            Fault::FullDisk => {
                let through = self.node(others[0]).client.clone();
                self.disk(victim)?.fill()?;
                let noticed = self.until_noticed(&through).await;
                self.hold(scaled(HOLD)).await?;
                self.disk(victim)?.free()?;
                return Ok(format!("node {victim}, {}", noticed?));
            }
            Fault::SlowDisk => {
                let pid = self.node(victim).pid()?.as_raw_nonzero().get();
                self.disk(victim)?.slow(pid)?;
                self.hold(scaled(HOLD)).await?;
                self.disk(victim)?.speed()?;
            }
            Fault::RestartAll => {
                for node in &chain {
                    self.node(*node).signal(Signal::KILL)?;
                }
                for node in &chain {
                    self.node(*node).kill().await?;
                }
                for node in &chain {
                    self.start(*node)?;
                }
                return Ok("all nodes".into());
            }
            Fault::Replace => bail!("it is no fault"),
        }
        Ok(format!("node {victim}"))
    }

    fn down(&mut self) -> Duration {
        Duration::from_millis(self.chance.random_range(0..=DOWN_MAX.as_millis() as u64))
    }

    fn disk(&mut self, node: u32) -> anyhow::Result<&super::disk::Disk> {
        self.node(node).disk.as_ref().context("it has no disk of its own")
    }

    /// The members, head first.
    async fn members(&self) -> anyhow::Result<Vec<u32>> {
        let list = self.chains().await?;
        let members: Vec<_> = list.chains[0].members.iter().map(|member| member.node).collect();
        anyhow::ensure!(members.len() == NODE_COUNT as usize, "the chain has the members {members:?}");
        Ok(members)
    }

    async fn who_is(&mut self, role: Role) -> anyhow::Result<u32> {
        let members = self.members().await?;
        match role {
            Role::Head => Ok(members[0]),
            Role::Middle => Ok(members[self.chance.random_range(1..members.len() - 1)]),
            Role::Tail => Ok(members[members.len() - 1]),
            Role::Swami => self.chains().await?.chains[0].swami.context("nobody decides"),
        }
    }

    async fn cut(&mut self, pairs: &[(u32, u32)], lasts: Duration) -> anyhow::Result<()> {
        let network = self.network.as_mut().context("there is no network to cut")?;
        for (from, to) in pairs {
            network.cut(*from, *to).await?;
        }
        self.hold(lasts).await?;
        self.network.as_mut().context("it was there")?.heal().await
    }

    /// Writes much until a member has no room for more, or ends.
    async fn until_noticed(&mut self, through: &str) -> anyhow::Result<&'static str> {
        let link = Link::new(through);
        let until = Instant::now() + NOTICE_WITHIN;
        while Instant::now() < until {
            let ballast = (0..BALLAST_COUNT).map(|_| write_and_leave_no_trace(&link));
            let refused = futures_util::future::join_all(ballast).await.into_iter().any(|refused| refused);
            self.look_after()?;
            if !self.ended.is_empty() {
                return Ok("which ended it");
            }
            if refused {
                return Ok("which stopped writes");
            }
        }
        Ok("which nobody noticed")
    }
}

/// A large write that the log holds and the store does not, so that it makes no revision: its condition never holds.
/// Whether it was refused for want of room.
async fn write_and_leave_no_trace(link: &Link) -> bool {
    let never = pb::Compare {
        result: pb::compare::CompareResult::Less.into(),
        target: pb::compare::CompareTarget::Version.into(),
        key: "ballast".into(),
        target_union: Some(pb::compare::TargetUnion::Version(0)),
        ..Default::default()
    };
    let put = pb::PutRequest { key: "ballast".into(), value: vec![b'x'; BALLAST_BYTES].into(), ..Default::default() };
    let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    let txn = pb::TxnRequest { compare: vec![never], success: vec![put], failure: Vec::new() };
    let outcome = link.unary::<pb::TxnResponse>("/etcdserverpb.KV/Txn", &txn, BALLAST_PATIENCE).await;
    outcome.is_err_and(|error| error.is_surely_without_effect())
}

/// Each of `from` with each of `to`.
fn pairs(from: &[u32], to: &[u32]) -> Vec<(u32, u32)> {
    from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))).collect()
}

/// [`pairs`], there and back.
fn both(one: &[u32], other: &[u32]) -> Vec<(u32, u32)> {
    [pairs(one, other), pairs(other, one)].concat()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn each_kind_has_its_turn_before_the_nodes_are_replaced_which_they_are_once() {
        let mut chance = ChaCha8Rng::seed_from_u64(1);
        let mut plan = Plan::new(Fault::ALL.to_vec());
        let round: Vec<_> = (0..Fault::ALL.len()).map(|_| plan.next(&mut chance)).collect();
        let mut sorted = round.clone();
        sorted.sort();
        assert_eq!(sorted, Fault::ALL);
        assert_eq!(round.last(), Some(&Fault::Replace));
        let second: Vec<_> = (1..Fault::ALL.len()).map(|_| plan.next(&mut chance)).collect();
        assert!(!second.contains(&Fault::Replace));
    }

    #[test]
    fn a_cut_both_ways_is_two_cuts_one_way() {
        assert_eq!(both(&[1], &[2, 3]), [(1, 2), (1, 3), (2, 1), (3, 1)]);
        assert_eq!(pairs(&[1, 2], &[3]), [(1, 3), (2, 3)]);
    }
}
