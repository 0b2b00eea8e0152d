//! Routers of a network over loopback, recorded and played again.

use super::plan::{self, AUTHOR, Folder, READER};
use super::routers::{self, Routers};
use super::{Notice, bench, free_proxy, site};
use crate::record;
use std::fs::File;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// Bytes of the download.
const SIZE: u64 = 3_000_000;

#[test]
fn each_router_of_a_network_does_the_same_again() {
    let folder = Folder::temporary().unwrap();
    let proxy = free_proxy("127.0.0.1:0".parse().unwrap()).unwrap();
    let site = site::serve(4).unwrap();
    let mut plans = plan::make(folder.path(), 4, proxy, site).unwrap();
    for plan in &mut plans {
        let settings = &mut plan.settings;
        // Two hops, for there are but four routers.
        settings.router.client.length = 1;
        settings.router.exploratory.length = 1;
        for tunnels in settings
            .router
            .http_proxy
            .iter_mut()
            .map(|proxy| &mut proxy.tunnels)
            .chain(settings.router.servers.iter_mut().map(|server| &mut server.tunnels))
        {
            tunnels.length = 1;
        }
        settings.record.enabled = true;
    }
    let folders = routers::folders(&plans);
    let (say, notices) = channel();
    let mut routers = Routers::start(plans, &say).unwrap();
    bench::visit(proxy);
    let mut got = 0;
    let answer =
        super::fetch::get(proxy, &format!("/{SIZE}.bin"), |body| got += body.len() as u64).unwrap();
    assert_eq!((answer.status, got), (200, SIZE));
    routers.shut_down();
    while routers.running() > 0 {
        if let Notice::Ended(i) = notices.recv_timeout(PATIENCE).unwrap() {
            routers.ended(i).unwrap();
        }
    }

    let mut compared = Vec::new();
    for folder in folders {
        let path = folder.join("recordings/000001.recording");
        let report = record::play(File::open(path).unwrap(), None).unwrap();
        assert!(report.is_same(), "{}", report.to_text());
        assert!(report.to_text().contains("the router stopped"), "{}", report.to_text());
        let json = report.to_json();
        compared.push(["inputs", "outputs_same"].map(|key| json[key].as_u64().unwrap()));
    }
    for i in [READER, AUTHOR] {
        let [inputs, outputs] = compared[i];
        assert!(inputs > 100 && outputs > 1000, "{compared:?}");
    }
}
