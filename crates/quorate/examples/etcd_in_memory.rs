//! An etcd of one node in memory, to try the gateway with any etcd client:
//!
//! `cargo run --release --example etcd_in_memory -- 127.0.0.1:2379 [threads]`
//!
//! Nothing is kept when it ends. Each thread has a listener of its own on the port.

#[path = "../tests/support/store.rs"]
mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate::etcd::{Cluster, Gateway, Limits, Member};
use quorate::http::Metrics;
use tokio::net::TcpSocket;

/// How many connections wait to be accepted.
const BACKLOG: u32 = 1_024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:2379".to_owned()).parse()?;
    let threads: usize = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let keyspace = store::start(Duration::from_secs(5));
    let metrics = Arc::new(Metrics::default());
    let url = format!("http://{address}");
    let member =
        Member { id: 1, name: "default".to_owned(), peer_urls: vec![url.clone()], client_urls: vec![url.clone()] };
    let cluster = Cluster { id: 1, member_id: 1, members: vec![member] };
    println!("{url}");
    std::thread::scope(|scope| {
        let serve = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let socket = TcpSocket::new_v4()?;
                socket.set_reuseport(true)?;
                socket.bind(address)?;
                let listener = socket.listen(BACKLOG)?;
                let gateway = Gateway::new(keyspace.clone(), cluster.clone(), Limits::default(), metrics.clone());
                quorate::http::serve(listener, gateway, std::future::pending()).await
            })
        };
        let serving: Vec<_> = (0..threads).map(|_| scope.spawn(serve)).collect();
        serving.into_iter().try_for_each(|thread| thread.join().expect("serving does not panic"))
    })?;
    Ok(())
}
