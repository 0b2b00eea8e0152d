//! What handles ask of the router's future.

use crate::destination::{ListenError, Shared};
use crate::pipe::Pipe;
use crate::stream::Stream;
use ramson_core::client::control::InfoReport;
use ramson_core::client::{Failure, Target};
use ramson_core::router::embed::{
    DatagramKind, DestinationId, NewDestination, OpenError, Ports, SendError,
};
use ramson_core::wire::identity::Identity;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// One request. The queue has no bound, and needs none: each handle has at most a few under way,
/// because it waits for their answers.
pub(crate) enum Request {
    Report(oneshot::Sender<InfoReport>),
    Shutdown,
    Open {
        new: Box<NewDestination>,
        shared: Arc<Shared>,
        answer: oneshot::Sender<Result<(), OpenError>>,
    },
    Close {
        id: DestinationId,
        /// Finished streams may still get rid of what they have.
        linger: bool,
    },
    Listen {
        id: DestinationId,
        port: u16,
        queue: mpsc::Sender<Stream>,
        answer: oneshot::Sender<Result<(), ListenError>>,
    },
    Unlisten {
        id: DestinationId,
        port: u16,
    },
    Connect {
        id: DestinationId,
        to: Target,
        ports: Ports,
        pipe: Arc<Pipe>,
    },
    /// There is something to do for a stream.
    Touched(Arc<Pipe>),
    LookUp {
        id: DestinationId,
        to: Target,
        answer: oneshot::Sender<Result<Identity, Failure>>,
    },
    Send {
        id: DestinationId,
        to: Target,
        ports: Ports,
        kind: DatagramKind,
        payload: Vec<u8>,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
}
