//! One HTTP exchange after another between a client and a server: bodies both ways, and the
//! response's head written anew.
//!
//! The machine around it judges and writes request heads; this one knows where messages end.

use super::BUFFER;
use super::buffer::Buffer;
use super::sanitize::{self, Connection};
use crate::wire::http::{
    Body, Framing, HeadBuffer, HttpError, Kind, Piece, parse_response, response_framing, tokens,
};
use alloc::format;

/// Most interim (1xx) responses before the final one.
const MAX_INTERIM: u8 = 16;

/// What the relay has to know of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) framing: Framing,
    /// HEAD: the response has no body.
    pub(crate) to_head: bool,
    /// The head asks for WebSocket.
    pub(crate) upgrade: bool,
    /// The client speaks HTTP/1.0: no chunks, no interim responses.
    pub(crate) old_client: bool,
    /// The client lets the connection stay open.
    pub(crate) keep: bool,
}

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) to_server: Buffer,
    pub(crate) to_client: Buffer,
    /// Responses leave our own site, rather than coming from another.
    site: bool,
    head: HeadBuffer,
    plan: Plan,
    request: Body,
    response: Response,
    interim: u8,
    /// The server sent something of a response.
    heard: bool,
    /// The final response's head was passed on.
    started: bool,
    /// The server's connection can carry another exchange.
    server_keeps: bool,
    /// The response said that the client's connection stays open.
    client_keeps: bool,
}

#[derive(Debug)]
enum Response {
    Head,
    Body {
        body: Body,
        /// Whether chunks are written to the client.
        chunks: bool,
    },
    Upgraded,
    Done,
}

impl Relay {
    pub(crate) const fn new(site: bool) -> Self {
        Self {
            to_server: Buffer::new(BUFFER),
            to_client: Buffer::new(BUFFER),
            site,
            head: HeadBuffer::new(Kind::Response),
            plan: Plan {
                framing: Framing::Empty,
                to_head: false,
                upgrade: false,
                old_client: false,
                keep: false,
            },
            request: Body::new(Framing::Empty, Kind::Request),
            response: Response::Done,
            interim: 0,
            heard: false,
            started: false,
            server_keeps: false,
            client_keeps: false,
        }
    }

    /// Begins an exchange with the request's head as the server shall see it.
    pub(crate) fn start(&mut self, plan: Plan, head: &[u8]) {
        self.plan = plan;
        self.request = Body::new(plan.framing, Kind::Request);
        self.response = Response::Head;
        self.head.clear();
        self.interim = 0;
        self.heard = false;
        self.started = false;
        self.server_keeps = false;
        self.client_keeps = false;
        self.to_server.append(head);
    }

    /// All of the request was read from the client.
    pub(crate) const fn request_done(&self) -> bool {
        self.request.is_done()
    }

    /// The server said something.
    pub(crate) const fn heard(&self) -> bool {
        self.heard
    }

    /// The client was given the head of the response: too late for a page of ours.
    pub(crate) const fn started(&self) -> bool {
        self.started
    }

    /// All of the response was read from the server.
    pub(crate) const fn response_done(&self) -> bool {
        matches!(self.response, Response::Done)
    }

    /// The request was HEAD: an answer of ours has no body either.
    pub(crate) const fn to_head(&self) -> bool {
        self.plan.to_head
    }

    pub(crate) const fn upgraded(&self) -> bool {
        matches!(self.response, Response::Upgraded)
    }

    /// Both messages are complete and the client was told that it may go on.
    pub(crate) const fn client_keeps(&self) -> bool {
        self.client_keeps && self.request_done() && self.response_done()
    }

    /// Both messages are complete and the server expects another request.
    pub(crate) const fn server_keeps(&self) -> bool {
        self.server_keeps
            && self.request_done()
            && self.response_done()
            && self.to_server.is_empty()
    }

    /// The response is delimited by the end of the connection only, so that a break has to look
    /// like one.
    pub(crate) const fn until_close(&self) -> bool {
        match &self.response {
            Response::Body { body, chunks } => body.is_until_close() || !*chunks,
            Response::Head | Response::Upgraded | Response::Done => false,
        }
    }

    /// Bytes of the request's body; takes what there is room for, nothing behind the body.
    pub(crate) fn handle_client(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        pump(&mut self.request, true, &mut self.to_server, input)
    }

    /// Bytes of responses; takes what there is room for. What follows a complete response is
    /// thrown away, and the server's connection is not used again.
    pub(crate) fn handle_server(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            self.heard = true;
            taken += match &mut self.response {
                Response::Head | Response::Body { .. } if self.to_client.free() == 0 => break,
                Response::Head => {
                    let n = self.head.push(rest)?;
                    if self.head.is_complete() {
                        self.handle_head()?;
                    }
                    n
                }
                Response::Body { body, chunks } => {
                    let n = pump(body, *chunks, &mut self.to_client, rest)?;
                    if body.is_done() {
                        self.response = Response::Done;
                    }
                    n
                }
                Response::Upgraded => break,
                Response::Done => {
                    self.server_keeps = false;
                    rest.len()
                }
            };
        }
        Ok(taken)
    }

    /// The server sends no more. An error when the response is not complete.
    pub(crate) fn handle_server_closed(&mut self) -> Result<(), HttpError> {
        self.server_keeps = false;
        match &mut self.response {
            Response::Head => Err(HttpError::Truncated),
            Response::Body { body, .. } => {
                body.handle_end()?;
                self.response = Response::Done;
                Ok(())
            }
            Response::Upgraded | Response::Done => Ok(()),
        }
    }

    fn handle_head(&mut self) -> Result<(), HttpError> {
        let head = parse_response(self.head.as_bytes())?;
        if head.status == 101 {
            let websocket = |t: &[u8]| t.eq_ignore_ascii_case(b"websocket");
            if !self.plan.upgrade || !tokens(&head.headers, "upgrade").all(websocket) {
                return Err(HttpError::Malformed("upgrade"));
            }
            let bytes =
                sanitize::response(&head, self.site, Connection::Upgrade, Framing::Empty, None);
            self.to_client.append(&bytes);
            self.response = Response::Upgraded;
            self.started = true;
            return Ok(());
        }
        if head.status < 200 {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(HttpError::Malformed("interim responses"));
            }
            // 100 answers an expectation, and those we answer ourselves.
            if head.status != 100 && !self.plan.old_client {
                let bytes =
                    sanitize::response(&head, self.site, Connection::Keep, Framing::Empty, None);
                self.to_client.append(&bytes);
            }
            self.head.clear();
            return Ok(());
        }
        // A site that asks for proxy credentials would have the browser ask its user for them.
        if head.status == 407 && !self.site {
            return Err(HttpError::Malformed("status"));
        }
        let (framing, server_keeps) = response_framing(&head, self.plan.to_head)?;
        let chunks = !self.plan.old_client;
        let written =
            if framing == Framing::Chunked && !chunks { Framing::UntilClose } else { framing };
        self.server_keeps = server_keeps;
        // A site's connection to its visitor lives as long as the one to its server. A request
        // still on its way will hardly be sent to its end, so nothing can follow it.
        self.client_keeps = self.plan.keep
            && written != Framing::UntilClose
            && self.request.is_done()
            && (server_keeps || !self.site);
        let connection = if self.client_keeps { Connection::Keep } else { Connection::Close };
        // HEAD is told what a GET would bring.
        let length = match response_framing(&head, false) {
            Ok((Framing::Length(n), _)) if self.plan.to_head => Some(n),
            Ok(_) | Err(_) => None,
        };
        let bytes = sanitize::response(&head, self.site, connection, written, length);
        self.to_client.append(&bytes);
        self.started = true;
        let body = Body::new(framing, Kind::Response);
        self.response =
            if body.is_done() { Response::Done } else { Response::Body { body, chunks } };
        self.head.clear();
        Ok(())
    }
}

/// Moves body bytes from `input` to `out` while there is room; chunks are framed anew, or not at
/// all. Stops behind the body.
fn pump(body: &mut Body, chunks: bool, out: &mut Buffer, input: &[u8]) -> Result<usize, HttpError> {
    let mut taken = 0;
    while !body.is_done() && out.free() > 0 {
        let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) else { break };
        let window = rest.get(..out.free()).unwrap_or(rest);
        let step = body.step(window)?;
        taken += step.taken;
        match step.piece {
            Piece::More => {}
            Piece::Data(data) => {
                out.push(data);
            }
            Piece::ChunkStart(n) if chunks => out.append(format!("{n:x}\r\n").as_bytes()),
            Piece::ChunkEnd if chunks => out.append(b"\r\n"),
            Piece::End if chunks => out.append(b"0\r\n\r\n"),
            Piece::ChunkStart(_) | Piece::ChunkEnd | Piece::End => {}
        }
    }
    Ok(taken)
}
