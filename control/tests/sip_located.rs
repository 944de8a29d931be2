//! Servers found by NAPTR and SRV records of a real name server (NSD), and fail-over among them (RFC 3263).

mod peer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peer::{Caller, LOCALHOST, Peer, options};
use sipcast_control::sip_endpoint::{SipEndpoint, SipOptions};
use sipcast_sip::{Account, CallOrder, CallStatus, Transport};

/// NSD with one zone, `sipcast.test`.
struct NameServer {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl NameServer {
    fn start(records: &str) -> Self {
        let probe = std::net::UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        let address = probe.local_addr().expect("bound");
        drop(probe);
        let directory =
            std::env::temp_dir().join(format!("sipcast-nsd-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&directory).expect("a writable temporary directory");
        let path = directory.display();
        let configuration = format!(
            "server:\n server-count: 1\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{path}\"\n \
             database: \"\"\n pidfile: \"{path}/nsd.pid\"\n xfrdfile: \"{path}/xfrd.state\"\n \
             zonelistfile: \"{path}/zone.list\"\n logfile: \"{path}/nsd.log\"\n\
             remote-control:\n control-enable: no\nzone:\n name: sipcast.test\n zonefile: zone\n",
            address.ip(),
            address.port()
        );
        let zone = format!(
            "$ORIGIN sipcast.test.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n{records}"
        );
        std::fs::write(directory.join("nsd.conf"), configuration).expect("writable");
        std::fs::write(directory.join("zone"), zone).expect("writable");
        let program = if std::path::Path::new("/usr/sbin/nsd").exists() { "/usr/sbin/nsd" } else { "nsd" };
        let process = Command::new(program)
            .arg("-d")
            .arg("-c")
            .arg(directory.join("nsd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsd is installed: see tests/run");
        let server = Self { process, directory, address };
        server.wait();
        server
    }

    /// Until it takes TCP connections.
    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(self.address).is_err() {
            let log = || std::fs::read_to_string(self.directory.join("nsd.log")).unwrap_or_default();
            assert!(Instant::now() < until, "nsd does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // Its children end with the main process only when that one is asked.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn endpoint(server: &NameServer) -> SipEndpoint {
    let options = SipOptions { name_servers: vec![server.address], ..options() };
    SipEndpoint::bind(options).await.expect("a free port")
}

fn order(peer: &Peer, transport: Option<Transport>) -> CallOrder {
    let account = Account { domain: "sipcast.test".into(), port: 5060, transport, ..peer.account() };
    CallOrder { account, ..peer.order() }
}

/// A port that refuses.
fn dead_port() -> u16 {
    let listener = std::net::TcpListener::bind((LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

#[tokio::test]
async fn dead_and_silent_targets_are_passed_over_in_order() {
    let (mut silent, mut peer) = (Peer::udp().await, Peer::udp().await);
    let server = NameServer::start(&format!(
        "@ NAPTR 20 1 \"s\" \"SIP+D2U\" \"\" _sip._udp\n@ NAPTR 10 1 \"s\" \"SIP+D2T\" \"\" _sip._tcp\n\
         _sip._tcp SRV 1 0 {} a\n_sip._udp SRV 2 0 {} b\n_sip._udp SRV 1 0 {} a\na A 127.0.0.1\nb A 127.0.0.1\n",
        dead_port(),
        peer.address().port(),
        silent.address().port()
    ));
    let endpoint = endpoint(&server).await;
    let mut call = Caller::new(endpoint.call(order(&peer, None)));
    let unheard = silent.expect("INVITE").await;
    let invite = peer.establish(&mut call, &[]).await;
    assert_eq!(invite.uri(), "sip:8801@sipcast.test");
    assert_eq!(invite.header("Call-ID"), unheard.header("Call-ID"));
    assert_ne!(invite.branch(), unheard.branch(), "a transaction of its own");
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);

    // RFC 3263 §4.3: what failed a moment ago comes last.
    let begun = Instant::now();
    let mut call = Caller::new(endpoint.call(order(&peer, None)));
    peer.establish(&mut call, &[]).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_out_of_service_leads_to_the_next() {
    let (mut busy, mut peer) = (Peer::udp().await, Peer::udp().await);
    let server = NameServer::start(&format!(
        "_sip._udp SRV 1 0 {} a\n_sip._udp SRV 2 0 {} a\na A 127.0.0.1\n",
        busy.address().port(),
        peer.address().port()
    ));
    let endpoint = endpoint(&server).await;
    let mut call = Caller::new(endpoint.call(order(&peer, Some(Transport::Udp))));
    let invite = busy.expect("INVITE").await;
    busy.reply(&invite, "503 Service Unavailable", &[], "").await;
    busy.expect("ACK").await;
    peer.establish(&mut call, &[]).await;
}

#[tokio::test]
async fn every_target_failing_fails_the_call() {
    let server = NameServer::start(&format!(
        "_sip._tcp SRV 1 0 {} a\n_sip._tcp SRV 2 0 {} a\na A 127.0.0.1\n",
        dead_port(),
        dead_port()
    ));
    let endpoint = endpoint(&server).await;
    let peer = Peer::udp().await;
    let end = Caller::new(endpoint.call(order(&peer, Some(Transport::Tcp)))).end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 503));
    assert!(end.reason.contains("connecting to 127.0.0.1:"), "{}", end.reason);
    let account = Account { domain: "nowhere.sipcast.test".into(), ..order(&peer, None).account };
    let end = Caller::new(endpoint.call(CallOrder { account, ..peer.order() })).end().await;
    assert!(end.reason.contains("has no address"), "{}", end.reason);
}
