//! Kamailio as registrar over TLS, TCP and UDP, by IPv4 and IPv6: digest, REGISTER, INVITE, un-registration.

mod peer;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peer::authority::Authority;
use peer::{Caller, LOCALHOST, Peer, options};
use sipcast_contract::Secret;
use sipcast_control::sip_endpoint::{SipEndpoint, SipOptions, TlsOptions};
use sipcast_sip::{Account, CallOrder, CallStatus, LocalMedia, Transport};

const LOCALHOST_6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PASSWORD: &str = "s3cret-Pa55word";

/// A running Kamailio with the configuration of the interop tests, its listeners changed.
struct Kamailio {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Kamailio {
    /// Listens for `transport` on `address`; for TLS it needs a certificate.
    fn start(transport: Transport, address: IpAddr, authority: &Authority) -> Self {
        let probe = std::net::TcpListener::bind((address, 0)).expect("a free port");
        let address = probe.local_addr().expect("bound");
        drop(probe);
        let identity = authority.issue(&[&address.ip().to_string()]).identity();
        let directory =
            std::env::temp_dir().join(format!("sipcast-kamailio-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&directory).expect("a writable temporary directory");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/kamailio/kamailio.cfg");
        let configuration = std::fs::read_to_string(file).expect("part of the repository");
        let own = ["listen=", "alias="];
        let mut lines: Vec<String> = configuration
            .lines()
            .filter(|line| !own.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect();
        let at = lines.iter().position(|line| line.starts_with("loadmodule")).expect("it loads modules");
        let mut listeners =
            vec![format!("listen={}:{address}", transport.name()), format!("alias=\"{address}\"")];
        if transport == Transport::Tls {
            listeners.push(
                "enable_tls=yes\nloadmodule \"tls.so\"\nmodparam(\"tls\", \"tls_method\", \"TLSv1.2+\")"
                    .into(),
            );
            for (name, path) in [("certificate", &identity.certificate), ("private_key", &identity.key)] {
                listeners.push(format!("modparam(\"tls\", \"{name}\", \"{}\")", path.display()));
            }
        }
        lines.splice(at..at, listeners);
        let configuration = lines.join("\n").replace("@PASSWORD@", PASSWORD);
        let path = directory.join("kamailio.cfg");
        std::fs::write(&path, configuration + "\n").expect("writable");
        let log = std::fs::File::create(directory.join("log")).expect("writable");
        let program =
            if Path::new("/usr/sbin/kamailio").exists() { "/usr/sbin/kamailio" } else { "kamailio" };
        let process = Command::new(program)
            .arg("-f")
            .arg(&path)
            .args(["-DD", "-E", "-m", "32", "-M", "8", "-w"])
            .arg(&directory)
            .arg("-Y")
            .arg(&directory)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kamailio is installed: see tests/run");
        Self { process, directory, address }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    async fn until_logged(&self, text: &str, times: usize) {
        let until = Instant::now() + Duration::from_secs(15);
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "{text} {times} times in {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its children end with the main process only when that one is asked.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn registers_and_calls(transport: Transport, address: IpAddr) {
    let authority = Authority::new();
    let kamailio = Kamailio::start(transport, address, &authority);
    let until = Instant::now() + Duration::from_secs(15);
    while transport != Transport::Udp && std::net::TcpStream::connect(kamailio.address).is_err() {
        assert!(Instant::now() < until, "{}", kamailio.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tls = TlsOptions { roots: authority.roots(), ..TlsOptions::default() };
    let also = (address == LOCALHOST_6).then_some(LOCALHOST_6);
    let patient = SipOptions { tls, bind_also: also, t1: Duration::from_millis(500), ..options() };
    let endpoint = SipEndpoint::bind(patient).await.expect("a free port");
    let template = Peer::udp().await;
    let account = Account {
        domain: address.to_string(),
        port: kamailio.address.port(),
        transport: Some(transport),
        password: Secret::new(PASSWORD.into()),
        authentication_name: "caster".into(),
        register: true,
        ..template.account()
    };
    let media = LocalMedia { address, audio_port: Some(40_000), video_port: Some(40_002) };
    let mut call = Caller::new(endpoint.call(CallOrder { account, media, ..template.order() }));
    let registered = format!("REGISTER of caster over {}", transport.name());
    kamailio.until_logged(&registered, 1).await;
    // Its password was taken for the INVITE, too: nobody is registered as the callee.
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 404), "{} {}", end.reason, kamailio.log());
    kamailio.until_logged(&registered, 2).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn over_tls() {
    registers_and_calls(Transport::Tls, LOCALHOST).await;
}

#[tokio::test]
async fn over_tls_and_ipv6() {
    if std::net::UdpSocket::bind((LOCALHOST_6, 0)).is_ok() {
        registers_and_calls(Transport::Tls, LOCALHOST_6).await;
    }
}

#[tokio::test]
async fn over_tcp_and_ipv6() {
    if std::net::UdpSocket::bind((LOCALHOST_6, 0)).is_ok() {
        registers_and_calls(Transport::Tcp, LOCALHOST_6).await;
    }
}

#[tokio::test]
async fn over_udp_and_ipv6() {
    if std::net::UdpSocket::bind((LOCALHOST_6, 0)).is_ok() {
        registers_and_calls(Transport::Udp, LOCALHOST_6).await;
    }
}
