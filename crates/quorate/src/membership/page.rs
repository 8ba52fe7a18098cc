//! What membership shows to Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use quorate_runtime::datagram::Refusal;

use super::{Membership, Standing};

pub(super) fn put(membership: &Membership, page: &mut String) {
    let roster = membership.roster();
    family(page, "members", "gauge", "Nodes by how they stand, as far as this node knows.");
    for standing in Standing::ALL {
        line(page, "members", &format!("{{standing=\"{}\"}}", standing.name()), roster.count(standing) as u64);
    }
    family(page, "health_signs", "gauge", "Signs that this node hears badly; 0 is well.");
    line(page, "health_signs", "", membership.health_signs().into());
    family(page, "rumours", "gauge", "Rumours that this node tells.");
    line(page, "rumours", "", membership.rumours());

    let datagrams = membership.datagrams();
    let counters = [
        ("sent", "Datagrams to other nodes.", &datagrams.sent),
        ("sent_bytes", "Bytes of datagrams to other nodes.", &datagrams.sent_bytes),
        ("received", "Datagrams from other nodes.", &datagrams.received),
        ("received_bytes", "Bytes of all datagrams that came, from wherever.", &datagrams.received_bytes),
        ("socket_errors", "Errors of the socket that datagrams come from.", &datagrams.failed_kernel),
    ];
    for (name, help, counter) in counters {
        let name = format!("{name}_total");
        family(page, &name, "counter", help);
        line(page, &name, "", counter.load(Ordering::Relaxed));
    }
    family(page, "dropped_total", "counter", "Messages to other nodes that were not sent, by reason.");
    let dropped = [
        ("nowhere", &datagrams.dropped_nowhere),
        ("kernel", &datagrams.dropped_kernel),
        ("too_long", &datagrams.dropped_too_long),
    ];
    for (reason, counter) in dropped {
        line(page, "dropped_total", &format!("{{reason=\"{reason}\"}}"), counter.load(Ordering::Relaxed));
    }
    family(page, "refused_total", "counter", "Datagrams that were not heard, by reason.");
    for (reason, counter) in Refusal::NAMES.iter().zip(&datagrams.refused) {
        line(page, "refused_total", &format!("{{reason=\"{reason}\"}}"), counter.load(Ordering::Relaxed));
    }
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    write!(page, "# HELP quorate_gossip_{name} {help}\n# TYPE quorate_gossip_{name} {kind}\n")
        .expect("a String takes any text");
}

fn line(page: &mut String, name: &str, labels: &str, value: u64) {
    writeln!(page, "quorate_gossip_{name}{labels} {value}").expect("a String takes any text");
}
