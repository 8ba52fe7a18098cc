//! A request in HTTP and JSON to the first node that answers.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Bytes, CONNECT_PATIENCE, START, Target};

/// The longest answer that is read: a list of as many nodes as gossip knows.
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl Target {
    /// Asks the nodes one after the other until one answers. What is asked for may be asked twice.
    ///
    /// # Errors
    /// When none answers, or the one that does refuses.
    pub(super) async fn http<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let body = body.map_or(Ok(Bytes::new()), |body| serde_json::to_vec(body).map(Bytes::from))?;
        let mut why = Vec::new();
        for endpoint in &self.endpoints {
            match ask(endpoint, &method, path, body.clone(), Duration::from_secs(self.timeout_s)).await {
                Ok((status, answer)) if status.is_success() => {
                    return serde_json::from_slice(&answer)
                        .context("it answers what is not understood: is it of another version?");
                }
                Ok((StatusCode::SERVICE_UNAVAILABLE, answer)) => why.push(format!("{endpoint}: {}", error_in(&answer))),
                Ok((StatusCode::NOT_FOUND, answer)) if !answer.starts_with(b"{") => {
                    why.push(format!("{endpoint}: it has no {path}: is it a node of Quorate?"));
                }
                Ok((_, answer)) => bail!("{}", error_in(&answer)),
                Err(why_not) => why.push(format!("{endpoint}: {why_not:#}")),
            }
        }
        bail!("no node answers ({}). {START}", why.join("; "))
    }

    /// Asks for what is at `path`.
    ///
    /// # Errors
    /// As for [`Target::http`].
    pub(super) async fn http_get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.http(Method::GET, path, None::<&()>).await
    }
}

/// The error in an answer that is a refusal.
fn error_in(answer: &[u8]) -> String {
    let error = serde_json::from_slice::<serde_json::Value>(answer).ok();
    let error = error.and_then(|value| value.get("error")?.as_str().map(str::to_owned));
    error.unwrap_or_else(|| String::from_utf8_lossy(answer).trim().to_owned())
}

async fn ask(
    endpoint: &str,
    method: &Method,
    path: &str,
    body: Bytes,
    patience: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    if host.starts_with("https://") {
        bail!("there is no TLS yet: say http://");
    }
    let connected = timeout(CONNECT_PATIENCE, TcpStream::connect(host)).await.context("it does not answer")?;
    let socket = connected.context("cannot connect")?;
    timeout(patience, exchange(host, socket, method, path, body)).await.context("no answer within --timeout-s")?
}

async fn exchange(
    host: &str,
    socket: TcpStream,
    method: &Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let request = http::Request::builder().method(method).uri(path).header(http::header::HOST, host);
    let request = request.body(Full::new(body))?;
    let answered = async {
        let response = requests.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
        Ok::<_, anyhow::Error>((status, body))
    };
    tokio::select! {
        answered = answered => answered,
        Err(error) = connection => bail!("the connection broke ({error})"),
    }
}
