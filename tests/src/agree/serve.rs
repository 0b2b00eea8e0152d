//! What is behind the destinations: programs that do not care how their streams come to them.

use super::end::{End, Ended};
use super::scenario::Serves;
use std::io;
use tokio::sync::mpsc::UnboundedSender;

/// What a service heard on one stream, and how that ended.
pub(super) type Report = (super::end::Heard, Ended);

/// More than any buffer holds.
const POUR: usize = 1 << 20;
/// The longest head of a request.
const MAX_HEAD: usize = 16 << 10;

/// Serves one stream to its end.
pub(super) async fn serve(serves: Serves, mut end: End, reports: UnboundedSender<Report>) {
    let ended = match one(serves, &mut end).await {
        Ok(ended) => ended,
        Err(e) => Ended::Broken(e.kind()),
    };
    // When nobody listens any more, the scenario is over.
    let _over = reports.send((end.heard.clone(), ended));
    if matches!(serves, Serves::Reset(_)) {
        end.reset();
    }
}

async fn one(serves: Serves, end: &mut End) -> io::Result<Ended> {
    Ok(match serves {
        Serves::Echo => echo(end).await?,
        Serves::Http(size) => http(end, size).await?,
        Serves::Refuse => Ended::Enough,
        Serves::Answer(size) => {
            let ended = end.hear(usize::MAX).await;
            if ended == Ended::End {
                end.say(size).await?;
                end.finish().await?;
            }
            ended
        }
        Serves::Greet(size) => {
            end.say(size).await?;
            end.finish().await?;
            end.hear(usize::MAX).await
        }
        Serves::Close(size) => {
            end.say(size).await?;
            end.finish().await?;
            Ended::Enough
        }
        Serves::Reset(size) => {
            end.say(size).await?;
            end.hear(1).await
        }
        Serves::Sink => {
            let ended = end.hear(usize::MAX).await;
            if ended == Ended::End {
                end.finish().await?;
            }
            ended
        }
        Serves::Pour => loop {
            end.say(POUR).await?;
        },
    })
}

async fn echo(end: &mut End) -> io::Result<Ended> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if end.hear_bytes(&mut bytes).await? == 0 {
            end.finish().await?;
            return Ok(Ended::End);
        }
        end.heard.take(&bytes);
        end.say_bytes(&bytes).await?;
    }
}

/// One request, answered with a page.
async fn http(end: &mut End, size: usize) -> io::Result<Ended> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if end.hear_bytes(&mut head).await? == 0 || head.len() > MAX_HEAD {
            return Ok(Ended::End);
        }
    }
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    end.say_bytes(answer.as_bytes()).await?;
    end.say(size).await?;
    end.finish().await?;
    Ok(end.hear(usize::MAX).await)
}
