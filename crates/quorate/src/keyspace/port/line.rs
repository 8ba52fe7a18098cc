//! What the port says when the members of the chain change.

use quorate_protocols::chain::Configuration;

use super::ChainPort;

impl ChainPort {
    /// Says what became of the chain since this was looked at last. Several changes may have come at once.
    pub(super) fn say_line(&mut self, now: &Configuration) {
        if self.line.as_ref().is_some_and(|before| before.prefix_len() == now.prefix_len()) {
            return;
        }
        let members: Vec<_> = now.members().iter().map(|node| node.0.to_string()).collect();
        let (members, prefix_len) = (members.join(" > "), now.prefix_len());
        match self.line.replace(now.clone()) {
            Some(before) => {
                tracing::info!("chain {members} (configuration {prefix_len}): {}", news(&before, now).join(", "));
            }
            None => tracing::info!("chain {members} (configuration {prefix_len})"),
        }
    }
}

fn news(before: &Configuration, now: &Configuration) -> Vec<String> {
    let gone = before.line().filter(|node| now.line().all(|other| other != *node));
    let gone = gone.map(|node| format!("node {} left", node.0));
    let new = now.members().iter().filter(|node| !before.is_member(**node));
    let new = new.map(|node| format!("node {} is a member now", node.0));
    let joins = now.joiner().filter(|joiner| before.joiner() != Some(*joiner));
    let joins = joins.map(|node| format!("node {} joins", node.0));
    gone.chain(new).chain(joins).collect()
}
