//! The router in the middle, as a process.

use ramson_core::wire::router_info::RouterInfo;
use ramson_tests::i2pd::{self, Transport};
use ramson_tests::needs::missing_programs;
use ramson_tests::node::{self, Node};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
/// In a range that i2pd takes as public.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(11, 10, 0, 1);

/// Where a router of ours listens.
const PORT: u16 = 30_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ramson,
    I2pd,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ramson => "ramson",
            Self::I2pd => "i2pd",
        }
    }

    pub(crate) fn is_there(self) -> bool {
        self == Self::Ramson || missing_programs(&["i2pd"]).is_empty()
    }
}

enum Process {
    Ramson(Node),
    I2pd(i2pd::Network),
}

/// A running router that knows the sink.
pub(crate) struct Middle {
    process: Process,
    pub(crate) info: RouterInfo,
    pub(crate) address: SocketAddr,
}

impl Middle {
    pub(crate) fn start(kind: Kind, sink: &RouterInfo) -> Self {
        match kind {
            Kind::Ramson => Self::ramson(sink),
            Kind::I2pd => Self::i2pd(sink),
        }
    }

    fn ramson(sink: &RouterInfo) -> Self {
        let data = data();
        let _ = std::fs::remove_dir_all(&data);
        let known = data.join("known");
        std::fs::create_dir_all(&known).unwrap();
        std::fs::write(known.join("routerInfo-sink.dat"), sink.as_bytes()).unwrap();
        let node = Node::start(EXE, &data, &config(Transport::Ntcp2, ADDRESS, Some(&known)));
        let info = read_info(&data.join("router.info"));
        let address = SocketAddr::from((ADDRESS, PORT));
        Self { process: Process::Ramson(node), info, address }
    }

    fn i2pd(sink: &RouterInfo) -> Self {
        let network = i2pd::Network::start("relay", 1, 0, &[], &[sink.as_bytes().to_vec()]);
        let info = read_info(&network.dir.join("r00").join("router.info"));
        let address = SocketAddr::from((ADDRESS, 20_000));
        Self { process: Process::I2pd(network), info, address }
    }

    /// Resident KiB, and CPU seconds so far.
    pub(crate) fn usage(&self) -> (u64, f64) {
        match &self.process {
            Process::Ramson(node) => node.usage(),
            Process::I2pd(network) => node::usage(network.pid(0).expect("runs")),
        }
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        if let Process::Ramson(node) = &mut self.process {
            node.kill();
            let _ = std::fs::remove_dir_all(&node.data);
        }
    }
}

/// The folder of a router of ours.
pub(crate) fn data() -> PathBuf {
    std::env::temp_dir().join(format!("ramson-middle-{}", std::process::id()))
}

/// Its configuration; it knows who is in the folder `known`.
pub(crate) fn config(transport: Transport, address: Ipv4Addr, known: Option<&Path>) -> String {
    let (ntcp2, ssu2) = (transport == Transport::Ntcp2, transport == Transport::Ssu2);
    let reseed = known.map_or_else(String::new, |folder| {
        format!("[reseed]\nfiles = [\"{}\"]\n", folder.display())
    });
    format!(
        "[network]\nid = {}\nallow_local = true\n\
         [ntcp2]\nenabled = {ntcp2}\nhost = \"{address}\"\nport = {PORT}\nbind = \"{address}\"\n\
         [ssu2]\nenabled = {ssu2}\nport = {PORT}\n\
         [netdb]\nfloodfill = \"off\"\n\
         [limits]\nbandwidth_in = 4000000000\nbandwidth_out = 4000000000\nshare = 100\n\
         transit_tunnels = 10000\n\
         [http_proxy]\nlisten = \"off\"\n{reseed}",
        i2pd::NET_ID,
    )
}

pub(crate) fn read_info(path: &Path) -> RouterInfo {
    i2pd::wait("router.info", Duration::from_secs(30), || {
        RouterInfo::decode(&std::fs::read(path).ok()?).ok()
    })
}
