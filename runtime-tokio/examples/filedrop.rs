//! A place where others drop files, with the router inside the program.
//!
//! ```text
//! filedrop receive FOLDER ROUTERINFO...        takes what comes; the same address each time
//! filedrop send ADDRESS FILE ROUTERINFO...     drops a file
//! filedrop demo                                both, in a small network of its own
//! ```
//!
//! A drop is the length of the name (1 byte), the name, the length of the content (8 bytes) and the
//! content. The receiver answers with the SHA-256 of what it kept, and only then the sender ends its
//! direction: many programs take that for the end of both. A drop that breaks off leaves nothing.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

mod common;

use common::{Failed, join};
use ramson_tokio::{Destination, Listener, Stream, testing};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The port that drops go to.
const PORT: u16 = 21;
/// The largest file that is taken, in bytes.
const MAX_LEN: u64 = 1 << 30;
/// Where the receiver keeps who it is.
const KEYS: &str = ".filedrop.keys";

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo"] => demo().await,
        ["receive", folder, ..] => {
            let folder = Path::new(folder);
            let kept = match fs::read(folder.join(KEYS)).await {
                Ok(keys) => Some(keys),
                // Only what is not there is made: keys that cannot be read are somebody's address.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
                Err(e) => return Err(e.into()),
            };
            let reseed = arguments.get(2..).unwrap_or_default();
            let (_router, me) = join("filedrop", kept.as_deref(), reseed).await?;
            if kept.is_none() {
                keep_keys(&folder.join(KEYS), me.keys()).await?;
            }
            let listener = me.listen(PORT).await?;
            me.ready().await?;
            println!("drop files at {}", me.identity().b32_address());
            receive_all(listener, folder).await
        }
        ["send", address, file, ..] => {
            let reseed = arguments.get(3..).unwrap_or_default();
            let (router, me) = join("filedrop", None, reseed).await?;
            let sent = send(&me, address, Path::new(file)).await;
            router.shutdown().await;
            println!("{} bytes are there", sent?);
            Ok(())
        }
        _ => {
            Err("filedrop receive FOLDER ROUTERINFO... | send ADDRESS FILE ROUTERINFO... | demo"
                .into())
        }
    }
}

/// Takes drops until the router stops, several at once.
async fn receive_all(mut listener: Listener, folder: &Path) -> Result<(), Failed> {
    while let Some(mut stream) = listener.accept().await {
        let folder = folder.to_owned();
        tokio::spawn(async move {
            match receive(&mut stream, &folder).await {
                Ok(path) => println!("{}", path.display()),
                // The stream is dropped, and so reset: the sender knows.
                Err(e) => println!("not taken: {e}"),
            }
        });
    }
    Ok(())
}

/// Takes one drop.
async fn receive(stream: &mut Stream, folder: &Path) -> Result<PathBuf, Failed> {
    let mut name = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut name).await?;
    let name = String::from_utf8(name)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err("not a name that is taken".into());
    }
    let path = folder.join(&name);
    let partial = folder.join(format!(".{name}.partial"));
    // Only one drop at a time can have the name, and nothing is overwritten.
    let file = OpenOptions::new().write(true).create_new(true).open(&partial).await?;
    let kept = async {
        let digest = take(stream, file).await?;
        if fs::try_exists(&path).await? {
            return Err("there is a file of that name".into());
        }
        fs::rename(&partial, &path).await?;
        Ok::<_, Failed>(digest)
    };
    let digest = match kept.await {
        Ok(digest) => digest,
        Err(e) => {
            fs::remove_file(&partial).await?;
            return Err(e);
        }
    };
    stream.write_all(&digest).await?;
    stream.shutdown().await?;
    Ok(path)
}

/// Writes the content as it comes.
async fn take(stream: &mut Stream, mut file: File) -> Result<[u8; 32], Failed> {
    let len = stream.read_u64().await?;
    if len > MAX_LEN {
        return Err("too large".into());
    }
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut content = stream.take(len);
    loop {
        let n = content.read(&mut buffer).await?;
        let bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        digest.update(bytes);
        file.write_all(bytes).await?;
    }
    if content.limit() > 0 {
        return Err("it broke off".into());
    }
    file.sync_all().await?;
    Ok(digest.finalize().into())
}

/// Drops a file and waits until it is there; says how many bytes that were.
async fn send(me: &Destination, address: &str, path: &Path) -> Result<u64, Failed> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or("the file has no plain name")?;
    let file = File::open(path).await?;
    let mut stream = me.connect(&format!("{address}:{PORT}")).await?;
    stream.write_u8(u8::try_from(name.len())?).await?;
    stream.write_all(name.as_bytes()).await?;
    let len = file.metadata().await?.len();
    stream.write_u64(len).await?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut content = file.take(len);
    loop {
        let n = content.read(&mut buffer).await?;
        let bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        digest.update(bytes);
        stream.write_all(bytes).await?;
    }
    let mut there = [0; 32];
    stream.read_exact(&mut there).await?;
    if there != <[u8; 32]>::from(digest.finalize()) {
        return Err("what is there is something else".into());
    }
    stream.shutdown().await?;
    Ok(len)
}

/// Keeps the keys where only we can read them.
async fn keep_keys(path: &Path, keys: &[u8]) -> Result<(), Failed> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(path).await?;
    file.write_all(keys).await?;
    Ok(file.sync_all().await?)
}

/// Alice drops a file at bob's, and one that bob does not take.
async fn demo() -> Result<(), Failed> {
    let net = testing::network().await.map_err(|e| e.to_string())?;
    let scratch = std::env::temp_dir().join(format!("filedrop-{}", std::process::id()));
    let folder = scratch.join("dropped");
    fs::create_dir_all(&folder).await?;
    let file = scratch.join("letter.txt");
    let letter = "It is late. ".repeat(100_000);
    fs::write(&file, &letter).await?;

    let listener = net.bob.listen(PORT).await?;
    let receiver = tokio::spawn({
        let folder = folder.clone();
        async move { receive_all(listener, &folder).await }
    });
    let address = net.bob.identity().b32_address();
    let len = send(&net.alice, &address, &file).await?;
    println!("{len} bytes are there");
    let same = fs::read(folder.join("letter.txt")).await? == letter.as_bytes();
    let again = send(&net.alice, &address, &file).await;
    println!("a second time: {}", again.as_ref().err().ok_or("it was overwritten")?);

    net.other.shutdown().await;
    receiver.await??;
    fs::remove_dir_all(&scratch).await?;
    if same { Ok(()) } else { Err("not what was sent".into()) }
}

#[tokio::test]
async fn the_demo_ends_well() {
    demo().await.unwrap();
}
