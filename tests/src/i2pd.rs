//! A small network of real i2pd routers inside the caller's namespace.

use crate::http;
use ramson_core::wire::base64;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::router_info::RouterInfo;
use sha2::{Digest, Sha256};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The network id of the test network.
pub const NET_ID: u8 = 99;

/// The address of router `i`; each in a /16 of its own, and in a range that i2pd takes as public.
#[must_use]
pub fn address(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(11, 10 + i as u8, 0, 1)
}

/// The addresses for a network of `routers` i2pd and `others` routers under test.
#[must_use]
pub fn addresses(routers: usize, others: usize) -> Vec<Ipv4Addr> {
    (0..routers + others).map(address).collect()
}

/// A server tunnel or HTTP proxy that a router gets when it starts.
pub enum Tunnel {
    /// An eepsite that forwards to this target.
    Site(SocketAddr),
    /// An HTTP proxy on this port of 127.0.0.1.
    Proxy(u16),
}

/// A running network. Ends its routers when dropped.
pub struct Network {
    /// Everything lives here; deleted when dropped.
    pub dir: PathBuf,
    routers: Vec<Router>,
}

struct Router {
    dir: PathBuf,
    child: Option<Child>,
}

/// What the routers speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over TCP.
    Ntcp2,
    /// Over UDP.
    Ssu2,
}

impl Network {
    /// Starts `count` routers, the first `floodfills` of them floodfills, each knowing all, and
    /// also the RouterInfos in `extra`. `tunnels` are (router, tunnel) pairs with `hops` hops.
    #[must_use]
    pub fn start(
        name: &str,
        count: usize,
        floodfills: usize,
        tunnels: &[(usize, Tunnel)],
        extra: &[Vec<u8>],
    ) -> Self {
        Self::start_over(Transport::Ntcp2, name, count, floodfills, tunnels, extra)
    }

    /// The same, with routers that speak one transport only.
    pub fn start_over(
        transport: Transport,
        name: &str,
        count: usize,
        floodfills: usize,
        tunnels: &[(usize, Tunnel)],
        extra: &[Vec<u8>],
    ) -> Self {
        let dir = std::env::temp_dir().join(format!("ramson-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let mut routers = Vec::new();
        for i in 0..count {
            let router = Router { dir: dir.join(format!("r{i:02}")), child: None };
            fs::create_dir_all(router.dir.join("tunnels.d")).unwrap();
            fs::create_dir_all(router.dir.join("certificates")).unwrap();
            let config = config(transport, i, i < floodfills);
            fs::write(router.dir.join("i2pd.conf"), config).unwrap();
            fs::write(router.dir.join("tunnels.conf"), tunnels_config(i, tunnels, &[])).unwrap();
            routers.push(router);
        }
        let mut network = Self { dir, routers };
        // The first start makes keys and RouterInfos; the second finds those of all the others.
        network.start_all();
        for i in 0..count {
            let info = network.router_info_path(i);
            wait("router.info", Duration::from_secs(60), || {
                fs::metadata(&info).is_ok_and(|m| m.len() > 400).then_some(())
            });
        }
        std::thread::park_timeout(Duration::from_millis(300));
        network.stop_all();
        let net_db = network.net_db();
        fs::create_dir_all(&net_db).unwrap();
        for i in 0..count {
            let bytes = fs::read(network.router_info_path(i)).unwrap();
            fs::write(net_db.join(file_name(&bytes)), &bytes).unwrap();
            for j in (0..count).filter(|j| *j != i) {
                network.add_router_info(j, &bytes);
            }
        }
        for bytes in extra {
            fs::write(net_db.join(file_name(bytes)), bytes).unwrap();
            (0..count).for_each(|i| network.add_router_info(i, bytes));
        }
        network.start_all();
        network
    }

    /// A folder with the RouterInfos of all routers.
    #[must_use]
    pub fn net_db(&self) -> PathBuf {
        self.dir.join("netDb")
    }

    /// The configuration of a router of this project at the `i`th address, with a proxy at
    /// `proxy` and a site whose target is `target`. It listens at port 30000. With NTCP2 it has the rest as users
    /// have it; SSU2 is all that it speaks.
    #[must_use]
    pub fn config_of_ours(
        &self,
        transport: Transport,
        i: usize,
        proxy: &str,
        target: SocketAddr,
    ) -> String {
        let (ours, net_db) = (address(i), self.net_db());
        let section = match transport {
            Transport::Ntcp2 => "[ntcp2]",
            Transport::Ssu2 => "[ntcp2]\nenabled = false\n[ssu2]",
        };
        format!(
            "[network]\nid = {NET_ID}\nallow_local = true\n\
             {section}\nhost = \"{ours}\"\nport = 30000\nbind = \"{ours}\"\npublish = true\n\
             [reseed]\nfiles = [\"{}\"]\n\
             [limits]\nbandwidth_in = 100000000\nbandwidth_out = 100000000\n\
             [http_proxy]\nlisten = \"{proxy}\"\nlength = 3\nquantity = 3\n\
             [[server]]\nname = \"site\"\ntarget = \"{target}\"\nkind = \"http\"\nkeys = \"site.dat\"\n\
             length = 3\nquantity = 3\n\
             [log]\nlevel = \"debug\"\n",
            net_db.display(),
        )
    }

    /// Ends router `i` at once.
    pub fn kill(&mut self, i: usize) {
        if let Some(mut child) = self.routers[i].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts router `i` again.
    pub fn restart(&mut self, i: usize) {
        self.kill(i);
        self.routers[i].child = Some(spawn(&self.routers[i].dir));
    }

    /// Gives router `i` these tunnels, and starts it again. All their hops are `path`, in this order.
    pub fn set_tunnels(&mut self, i: usize, tunnels: &[(usize, Tunnel)], path: &[Hash]) {
        let text = tunnels_config(i, tunnels, path);
        fs::write(self.routers[i].dir.join("tunnels.conf"), text).unwrap();
        self.restart(i);
    }

    /// The hash of router `i`.
    #[must_use]
    pub fn hash(&self, i: usize) -> Hash {
        // It may be written just now.
        wait("router.info", Duration::from_secs(10), || {
            let bytes = fs::read(self.router_info_path(i)).ok()?;
            RouterInfo::decode(&bytes).ok().map(|info| info.hash())
        })
    }

    /// Bytes that router `i` relayed, as its console says.
    #[must_use]
    pub fn relayed(&self, i: usize) -> f64 {
        let console = SocketAddr::from((Ipv4Addr::LOCALHOST, console(i)));
        let url = format!("http://{console}/");
        let page = http::request(console, "GET", &url, &[], Duration::from_secs(10)).unwrap().body;
        let page = String::from_utf8_lossy(&page).into_owned();
        let rest = page.split("<b>Transit:</b> ").nth(1).unwrap();
        let mut words = rest.split_whitespace();
        let number: f64 = words.next().unwrap().parse().unwrap();
        number
            * match words.next().unwrap() {
                "GiB" => 1024.0 * 1024.0 * 1024.0,
                "MiB" => 1024.0 * 1024.0,
                "KiB" => 1024.0,
                _ => 1.0,
            }
    }

    /// The `.b32.i2p` name of the site on router `i`.
    #[must_use]
    pub fn site(&self, i: usize) -> String {
        let keys = self.routers[i].dir.join("site.dat");
        wait("the site's keys", Duration::from_secs(30), || {
            let bytes = fs::read(&keys).ok().filter(|b| b.len() > 400)?;
            Some(b32_of_destination(&bytes))
        })
    }

    /// Fetches a little from the site on router `i` through `proxy` until that works, for at most
    /// `limit`.
    ///
    /// i2pd 2.45.1 publishes a lease set when an inbound tunnel is built. When no outbound tunnel is
    /// there at that moment, the attempt is lost and none follows until the next inbound tunnel: if
    /// all three were faster, as happens once in some fifty starts, in ten minutes. Its log tells,
    /// and then it is started again.
    pub fn reach_site(&mut self, i: usize, proxy: SocketAddr, limit: Duration) {
        let url = format!("http://{}/10", self.site(i));
        let start = Instant::now();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            let Err(last) = http::try_until(proxy, &url, left.min(Duration::from_secs(60))) else {
                return;
            };
            let log = fs::read_to_string(self.routers[i].dir.join("i2pd.log")).unwrap_or_default();
            let lost = log.matches("Can't publish LeaseSet. Destination is not ready").count();
            assert!(
                start.elapsed() < limit,
                "{url} through {proxy} failed for {limit:?}: {last}; lost attempts to publish: {lost}"
            );
            eprintln!("{url}: {last}; i2pd lost {lost} attempts to publish its lease set");
            if lost > 0 {
                let _ = fs::remove_file(self.routers[i].dir.join("i2pd.log"));
                self.restart(i);
            }
        }
    }

    /// The process id of router `i`.
    #[must_use]
    pub fn pid(&self, i: usize) -> Option<u32> {
        self.routers[i].child.as_ref().map(Child::id)
    }

    fn router_info_path(&self, i: usize) -> PathBuf {
        self.routers[i].dir.join("router.info")
    }

    fn add_router_info(&self, i: usize, bytes: &[u8]) {
        let name = file_name(bytes);
        let first = name.trim_start_matches("routerInfo-").chars().next().unwrap();
        let folder = self.routers[i].dir.join("netDb").join(format!("r{first}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }

    fn start_all(&mut self) {
        for router in &mut self.routers {
            router.child = Some(spawn(&router.dir));
        }
    }

    fn stop_all(&mut self) {
        for router in &mut self.routers {
            if let Some(child) = &router.child {
                let pid = child.id().to_string();
                let _ = Command::new("kill").args(["-TERM", &pid]).status();
            }
        }
        for router in &mut self.routers {
            if let Some(mut child) = router.child.take() {
                let start = Instant::now();
                while child.try_wait().ok().flatten().is_none() {
                    if start.elapsed() > Duration::from_secs(8) {
                        let _ = child.kill();
                        let _ = child.wait();
                        break;
                    }
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for i in 0..self.routers.len() {
            self.kill(i);
        }
        if std::thread::panicking() || std::env::var_os("RAMSON_KEEP").is_some() {
            eprintln!("kept for a look: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn spawn(dir: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.join("console.log")).unwrap();
    let arg = |name: &str, file: &str| format!("--{name}={}", dir.join(file).display());
    Command::new("i2pd")
        .arg(format!("--datadir={}", dir.display()))
        .arg(arg("conf", "i2pd.conf"))
        .arg(arg("tunconf", "tunnels.conf"))
        .arg(arg("tunnelsdir", "tunnels.d"))
        .arg(arg("certsdir", "certificates"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .current_dir(dir)
        .spawn()
        .unwrap()
}

/// The port of its console.
const fn console(i: usize) -> u16 {
    20_001 + 10 * i as u16
}

fn config(transport: Transport, i: usize, floodfill: bool) -> String {
    let (ntcp2, ssu2) = (transport == Transport::Ntcp2, transport == Transport::Ssu2);
    let (address, port, console) = (address(i), 20_000 + 10 * i, console(i));
    format!(
        "netid = {NET_ID}\nhost = {address}\naddress4 = {address}\nport = {port}\n\
         ipv4 = true\nipv6 = false\nnat = false\nreservedrange = false\n\
         floodfill = {floodfill}\nbandwidth = X\nshare = 100\nlog = file\nlogfile = i2pd.log\n\
         loglevel = {}\n\
         [ntcp2]\nenabled = {ntcp2}\npublished = {ntcp2}\nport = {port}\n\
         [ssu2]\nenabled = {ssu2}\npublished = {ssu2}\nport = {port}\n\
         [http]\nenabled = true\naddress = 127.0.0.1\nport = {console}\nstrictheaders = false\n\
         [httpproxy]\nenabled = false\n[socksproxy]\nenabled = false\n[sam]\nenabled = false\n\
         [upnp]\nenabled = false\n[nettime]\nenabled = false\n\
         [reseed]\nverify = false\nthreshold = 0\nurls = https://127.0.0.1:1/\n\
         [addressbook]\ndefaulturl = http://127.0.0.1:1/hosts.txt\n\
         subscriptions = http://127.0.0.1:1/hosts.txt\n\
         [limits]\ntransittunnels = 10000\n[persist]\nprofiles = false\n",
        std::env::var("RAMSON_I2PD_LOG").unwrap_or_else(|_| "warn".into())
    )
}

/// Without a `path`, i2pd chooses the hops.
fn tunnels_config(router: usize, tunnels: &[(usize, Tunnel)], path: &[Hash]) -> String {
    let mut text = String::new();
    let peers: Vec<String> = path.iter().map(|hash| base64::encode(&hash.0)).collect();
    for (_, tunnel) in tunnels.iter().filter(|(r, _)| *r == router) {
        text.push_str(&match tunnel {
            Tunnel::Site(target) => format!(
                "[site]\ntype = http\nhost = {}\nport = {}\nkeys = site.dat\n",
                target.ip(),
                target.port()
            ),
            Tunnel::Proxy(port) => format!(
                "[proxy]\ntype = httpproxy\naddress = 127.0.0.1\nport = {port}\nkeys = proxy.dat\n"
            ),
        });
        if !peers.is_empty() {
            text.push_str(&format!("explicitPeers = {}\n", peers.join(",")));
        }
        for direction in ["inbound", "outbound"] {
            text.push_str(&format!(
                "{direction}.length = 3\n{direction}.quantity = 3\n{direction}.lengthVariance = 0\n"
            ));
        }
    }
    text
}

/// Tries until `f` has something, for at most `limit`.
pub fn wait<T>(what: &str, limit: Duration, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(v) = f() {
            return v;
        }
        assert!(start.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn identity(bytes: &[u8]) -> &[u8] {
    let certificate = usize::from(u16::from_be_bytes([bytes[385], bytes[386]]));
    &bytes[..387 + certificate]
}

fn file_name(router_info: &[u8]) -> String {
    let hash = Sha256::digest(identity(router_info));
    let name = data_encoding::BASE64.encode(&hash).replace('+', "-").replace('/', "~");
    format!("routerInfo-{name}.dat")
}

fn b32_of_destination(keys: &[u8]) -> String {
    let hash = Sha256::digest(identity(keys));
    format!("{}.b32.i2p", data_encoding::BASE32_NOPAD.encode(&hash).to_ascii_lowercase())
}
