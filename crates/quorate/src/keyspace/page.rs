//! What a keyspace's loop shows of itself to Prometheus: the log's syncs, the chain, the store.
//!
//! The loop writes the page about once a second and gateways read it: nobody waits for anybody.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_model::Machine;
use quorate_protocols::chain::Node;
use quorate_runtime::metrics::HistogramSnapshot;
use quorate_runtime::wal::Wal;

use super::Kv;

/// The page; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Page(Arc<Mutex<String>>);

impl Page {
    /// Appends the page to `out`.
    pub fn read(&self, out: &mut String) {
        out.push_str(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the page anew.
    pub(super) fn write(&self, node: &Node<Kv>, wal: &Wal) {
        let mut page = String::new();
        let status = node.status();
        let syncs = wal.metrics().sync_us.snapshot();
        histogram(
            &mut page,
            "etcd_disk_wal_fsync_duration_seconds",
            "How long writing and syncing the log took.",
            &syncs,
        );
        for (name, help, value) in [
            ("quorate_wal_bytes", "The size of the log on disk.", wal.bytes()),
            ("quorate_wal_full", "Whether the log takes no new work until it has freed itself.", wal.is_full().into()),
            ("quorate_chain_joined", "Whether this member knows its place in the chain.", status.joined.into()),
            ("quorate_chain_linked", "Whether its neighbours have greeted it.", status.linked.into()),
            ("quorate_chain_trouble", "Whether something keeps it from serving.", status.trouble.is_some().into()),
            (
                "quorate_chain_crowded",
                "Whether this node, as the head, takes no new work until more is committed.",
                status.crowded.into(),
            ),
            ("quorate_chain_last_index", "The last index of its log.", status.last),
            ("quorate_chain_committed_index", "The last index that it knows to be committed.", status.committed),
            (
                "quorate_store_checkpoint_index",
                "The index of the last checkpoint on disk.",
                node.machine().stored().unwrap_or(0),
            ),
        ] {
            put(&mut page, format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

/// A histogram of microseconds, as one of seconds.
fn histogram(page: &mut String, name: &str, help: &str, snapshot: &HistogramSnapshot) {
    put(page, format_args!("# HELP {name} {help}\n# TYPE {name} histogram\n"));
    let mut below = 0;
    for (index, count) in snapshot.counts.iter().enumerate() {
        below += count;
        let end = HistogramSnapshot::bucket_end(index) as f64 / 1e6;
        put(page, format_args!("{name}_bucket{{le=\"{end}\"}} {below}\n"));
    }
    let sum = snapshot.sum as f64 / 1e6;
    put(page, format_args!("{name}_bucket{{le=\"+Inf\"}} {below}\n{name}_sum {sum}\n{name}_count {below}\n"));
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes everything");
}
