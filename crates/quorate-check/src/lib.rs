//! The tools that prove the protocols. They host `quorate_model::Process`, so the very code that ships is explored and
//! simulated.
//!
//! | tool | what it answers | file |
//! |------|-----------------|------|
//! | *explorer* | does it hold in every interleaving of a small instance? | [`mod@explore`] |
//! | *simulator* | does it hold, and recover, over long runs with every kind of fault? | [`mod@simulate`] |
//! | *history check* | could one copy, asked one at a time, have given these answers? | [`linearizable`] |
//! | *scenario* | what exactly happens in this one run? | [`scenario`] |
//! | *shrinking* | which faults and questions does a failing run take? | [`mod@shrink`] |
//! | *space-time diagram* | what does a trace look like? | [`space_time_diagram`] |
//!
//! All of them take a [`Cast`]: a set of processes, what people outside ask them, and what must be true.
//!
//! Several roles of one protocol are one type (`enum Role { Node(..), Client(..) }`) that is hosted at several pids.
//! Pids of [`Service::Outside`](quorate_model::Service::Outside) are people. Each asks what its script says, one thing
//! at a time: a message from an outside pid is an *invocation*, a message to it is the *return*. Between people and the
//! process they ask nothing is delayed or lost, which makes the history as strict as it can be; when the process dies
//! that was asked, the outcome is unknown and the person goes on.
//!
//! ```ignore
//! let cast = Cast::new()
//!     .process(Pid::chain(1, 0), Role::node(..))
//!     .process(Pid::chain(2, 0), Role::node(..))
//!     .process(Pid::client(1, 0), Role::client(..))
//!     .asks(Pid::outside(1, 0), Pid::client(1, 0), [put(7, b"k", b"x"), get(8, b"k")])
//!     .asks(Pid::outside(1, 1), Pid::client(1, 0), [put(9, b"k", b"y")])
//!     .always("the successor is never ahead", |view| .. view.process(Pid::chain(1, 0)) ..)
//!     .sometimes("a read sees a write", |view| ..)
//!     .possible("all is answered", |view| view.all_answered())     // from every state there is a way to there
//!     .steps_until("all is answered", |view| view.all_answered())  // a step from every state that is not final
//!     .linearizable_by_key("registers are atomic", RegisterMap::new(), |ask, answer| Some(Call { op, ret }))
//!     .compaction_is_faithful();
//!
//! let run = explore(&cast, Faults::none().crashes(1).losses(1));
//! expect!["holds: 1234 states, 5678 transitions, depth 21"].assert_eq(&run.verdict.to_string());
//! print!("{}", space_time_diagram::text(&run.trace, 120)); // of a shortest counterexample, if there is one
//!
//! let costs = cost(&cast); // of each operation, run alone: messages, delays, durable writes
//!
//! let report = simulate(|draw| cast(draw), &Seeds::new(0..1000).threads(2));
//! assert!(report.holds(), "{report}");
//! ```
//!
//! `explore(..)` is short for `Explorer::new(&cast).faults(..).run()`, which also has threads, limits, depth first,
//! progress, and clocks (alarms and `now` by local clocks of different rates).

pub mod cast;
pub mod casts;
pub mod explore;
pub mod fingerprint;
pub mod history;
pub mod linearizable;
pub mod scenario;
pub mod shrink;
pub mod simulate;
pub mod space_time_diagram;

pub use cast::{Call, Cast, Status, View};
pub use explore::{Alarms, Clocks, Explorable, Exploration, Explorer, Faults, cost, explore};
pub use history::{History, Operation};
pub use simulate::{Draw, Seeds, simulate};
