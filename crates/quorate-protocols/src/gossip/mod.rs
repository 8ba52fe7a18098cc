//! Gossip: each member tells a few others what it heard, and soon all know who is there.
//!
//! | at          | hears            | does                                        | tells                                  |
//! |-------------|------------------|---------------------------------------------|----------------------------------------|
//! | member      | round is over    | suspect the target that did not answer      | next target: Ping                      |
//! | target      | Ping             |                                             | asker: Ack                             |
//! | member      | no Ack in time   |                                             | a few others: Help; target: Ping again |
//! | helper      | Help             |                                             | target: Ping; asker: Ack or Nack       |
//! | member      | suspected for long | call it dead                              | (a rumour)                             |
//! | member      | it is suspected  | raise the own incarnation                   | (a rumour)                             |
//! | member      | now and then     |                                             | one alive, one lost: Compare           |
//! | member      | Compare          | nothing if it holds the same                | shorter parts: Compare; or Offer       |
//! | member      | Offer            | keep what is above                          | what it holds above: Give              |
//! | member      | Give             | keep what is above                          |                                        |
//! | member      | Leave            | hold itself to have left                    | some others: Ping                      |
//!
//! Rumours travel along with Ping, Ack and Help, so that they cost no messages. All messages fit a datagram, and may be
//! lost, doubled, late and out of order.
//!
//! **Why it converges.** Facts about one member are in one order (its incarnation, then alive < suspected < dead < left) and
//! everyone keeps the greatest it heard of, so what a member holds only grows, and whoever heard the same facts holds the
//! same. Rumours bring news to nearly all in a number of rounds that grows with the logarithm of the members; they stop by
//! a statistical rule (`rumours`). What they missed, comparing brings (`member::exchange`): each pair of members that
//! can reach each other, the dead included, compares again and again, and after one comparison without losses both hold
//! the greater of both. So from the last change on all come to hold the same.
//!
//! **Why a member that is alive and reachable is not held dead for ever.** Only the member itself raises its incarnation,
//! and never back: its lives are counted on its disk before it speaks in them. Whoever holds it suspect or dead says so in
//! the next message to it, and compares with it in time though it holds it dead; the member then raises its incarnation
//! above what was said, and that overrules it everywhere. A name comes back from the dead in the same way: with the next
//! life.
//!
//! **Why nobody is called dead by one loss, or two.** It takes a round in which neither two pings nor any helper's word came
//! back, and then a whole suspicion without a refutation (`suspicion`); a member that hears badly notices it by more than
//! the target's silence, and waits longer (`health`).
//!
//! **How long the dead are remembered.** For [`Options::fallen_for`] from when one heard of it, and at most
//! [`Options::fallen_len_max`] of them. Until then no late word brings them back; afterwards a member that was cut off all
//! the while can, for as long as it takes to find out again.
//!
//! Membership decides nothing that must be right: leases and configurations do. It finds members and tells what they say
//! of themselves.
//!
//! Source: notes "Endemic Spreading"; Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process
//! Group Membership Protocol", DSN 2002; Dadgar, Phillips and Currey, "Lifeguard", DSN 2018; Demers et al., "Epidemic
//! Algorithms for Replicated Database Maintenance", PODC 1987.

mod fact;
mod health;
mod member;
mod message;
mod profile;
mod roster;
mod rumours;
mod suspicion;
mod wire;

pub use fact::{Fact, Incarnation, Standing};
pub use health::Health;
#[cfg(feature = "mutants")]
pub use member::Mutant;
pub use member::{Member, Options};
pub use message::{Message, News, Part, Record, Timer};
pub use profile::{Addresses, EXTRA_BYTES_MAX, Profile, ProfileError, Roles, VERSION_BYTES_MAX, ZONE_BYTES_MAX};
