//! A tiny chat between two, with the router inside the program.
//!
//! ```text
//! chat listen ROUTERINFO...             says its address, and waits for somebody
//! chat connect ADDRESS ROUTERINFO...    talks to them
//! chat demo                             both, in a small network of its own
//! ```
//!
//! One line is one message. Who ends their input ends the chat: the other side still says what it
//! has to say.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

mod common;

use common::{Failed, join};
use ramson_tokio::{Destination, Stream, testing};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, split, stdin, stdout,
};

/// The port that a chat listens to.
const PORT: u16 = 4;
/// The longest line; who sends longer ones is not talked to any more.
const MAX_LINE: usize = 4096;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo"] => demo().await,
        ["listen", ..] => {
            let (router, me) = join("chat", None, arguments.get(1..).unwrap_or_default()).await?;
            println!("waiting for tunnels");
            me.ready().await?;
            println!("call me at {}", me.identity().b32_address());
            let talked = host(&me, BufReader::new(stdin()), stdout()).await;
            router.shutdown().await;
            talked
        }
        ["connect", address, ..] => {
            let (router, me) = join("chat", None, arguments.get(2..).unwrap_or_default()).await?;
            println!("waiting for tunnels");
            me.ready().await?;
            let talked = guest(&me, address, BufReader::new(stdin()), stdout()).await;
            router.shutdown().await;
            talked
        }
        _ => Err("chat listen ROUTERINFO... | connect ADDRESS ROUTERINFO... | demo".into()),
    }
}

/// Talks to the first who comes.
async fn host(
    me: &Destination,
    said: impl AsyncBufRead + Unpin,
    heard: impl AsyncWrite + Unpin,
) -> Result<(), Failed> {
    let mut listener = me.listen(PORT).await?;
    let stream = listener.accept().await.ok_or("closed")?;
    println!("here is {}", stream.remote().b32_address());
    talk(stream, said, heard).await
}

/// Talks to who listens at `address`.
async fn guest(
    me: &Destination,
    address: &str,
    said: impl AsyncBufRead + Unpin,
    heard: impl AsyncWrite + Unpin,
) -> Result<(), Failed> {
    let stream = me.connect(&format!("{address}:{PORT}")).await?;
    talk(stream, said, heard).await
}

/// Carries lines both ways until both have ended.
async fn talk(
    stream: Stream,
    mut said: impl AsyncBufRead + Unpin,
    mut heard: impl AsyncWrite + Unpin,
) -> Result<(), Failed> {
    let (read, mut write) = split(stream);
    let mut read = BufReader::new(read);
    let say = async {
        while let Some(line) = line(&mut said).await? {
            write.write_all(&line).await?;
            // People read line by line, so each goes at once.
            write.flush().await?;
        }
        write.shutdown().await?;
        Ok::<_, Failed>(())
    };
    let listen = async {
        while let Some(line) = line(&mut read).await? {
            heard.write_all(&shown(line)).await?;
            heard.flush().await?;
        }
        Ok::<_, Failed>(())
    };
    tokio::try_join!(say, listen)?;
    // Both have ended; wait until the other side knows that we heard.
    read.into_inner().unsplit(write).closed().await?;
    Ok(())
}

/// A line as it may be shown: who talks to us must not talk to our terminal.
fn shown(mut line: Vec<u8>) -> Vec<u8> {
    for byte in &mut line {
        if byte.is_ascii_control() && *byte != b'\n' {
            *byte = b'?';
        }
    }
    line
}

/// The next line with its end, `None` after the last.
async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Vec<u8>>, Failed> {
    let mut line = Vec::new();
    loop {
        let piece = from.fill_buf().await?;
        let end = piece.iter().position(|b| *b == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(piece.len());
        line.extend_from_slice(piece.get(..taken).unwrap_or_default());
        from.consume(taken);
        if line.len() > MAX_LINE {
            return Err("a line without end".into());
        }
        if end.is_some() || taken == 0 {
            return Ok((!line.is_empty()).then_some(line));
        }
    }
}

/// Alice calls bob, each says two lines.
async fn demo() -> Result<(), Failed> {
    let net = testing::network().await.map_err(|e| e.to_string())?;
    let address = net.bob.identity().b32_address();
    let (mut to_alice, mut to_bob) = (Vec::new(), Vec::new());
    tokio::try_join!(
        host(&net.bob, &b"good evening\nand good bye\n"[..], &mut to_alice),
        guest(&net.alice, &address, &b"hello\nthis is alice\n"[..], &mut to_bob),
    )?;
    // What one said, the other heard.
    print!("{}", String::from_utf8_lossy(&to_alice));
    print!("{}", String::from_utf8_lossy(&to_bob));
    if (to_alice, to_bob)
        != (b"hello\nthis is alice\n".into(), b"good evening\nand good bye\n".into())
    {
        return Err("not what was said".into());
    }
    net.router.shutdown().await;
    println!("ended well");
    Ok(())
}

#[tokio::test]
async fn the_demo_ends_well() {
    demo().await.unwrap();
}
