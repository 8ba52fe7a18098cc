//! A stream of answers that a task of its own makes, for the streams that are not worth a state machine.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;
use tonic::Status;

/// So many answers wait for the client before their maker does.
const ANSWERS_MAX: usize = 4;

/// The client's end.
#[derive(Debug)]
pub struct Answers<T>(mpsc::Receiver<Result<T, Status>>);

/// The maker's end.
pub(super) type AnswerSender<T> = mpsc::Sender<Result<T, Status>>;

impl<T: Send + 'static> Answers<T> {
    /// Runs `make` until it is done or the client is gone. An error that it ends with is the stream's last item.
    pub(super) fn of<F>(make: impl FnOnce(AnswerSender<T>) -> F) -> Self
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        let making = make(sender.clone());
        tokio::spawn(async move {
            tokio::select! {
                done = making => {
                    if let Err(status) = done {
                        // Nobody is left to tell when the client went first.
                        let _ = sender.send(Err(status)).await;
                    }
                }
                () = sender.closed() => {}
            }
        });
        Self(receiver)
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// The client of a stream went away.
pub(super) fn gone<T>(_: mpsc::error::SendError<T>) -> Status {
    Status::cancelled("the client is gone")
}
