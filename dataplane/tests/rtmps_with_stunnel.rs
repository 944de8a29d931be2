//! RTMPS against OpenSSL: stunnel with a private authority in front of the embedded RTMP server.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sipcast_contract::report::TargetFault;
use sipcast_contract::{TargetState, TlsTrust};
use sipcast_dataplane::TlsRoots;
use support::{LOCALHOST, Node, origin, until, wait_pictures};

/// A stunnel with its certificate, ended when dropped.
struct Stunnel {
    directory: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Stunnel {
    /// `None` where stunnel is not installed. `versions` are lines of its configuration.
    fn start(name: &str, host: &str, server: SocketAddr, versions: &str) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("sipcast-stunnel-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a writable temporary directory");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("random bytes"));
        let issuer = issuer.expect("a key that can sign");
        let key = KeyPair::generate().expect("random bytes");
        let parameters = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let certificate = parameters.signed_by(&key, &issuer).expect("a key that can sign");
        let write = |file, text| std::fs::write(directory.join(file), text).expect("just made");
        write("roots.pem", issuer.pem());
        write("server.pem", format!("{}{}", key.serialize_pem(), certificate.pem()));
        let address = TcpListener::bind((LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port");
        let shown = directory.display();
        write(
            "stunnel.conf",
            format!(
                "foreground = quiet\npid =\nsyslog = no\n[rtmps]\naccept = {address}\nconnect = {server}\n\
                 cert = {shown}/server.pem\n{versions}\n"
            ),
        );
        let mut stunnel = Self { directory, address, child: None };
        stunnel.run().then_some(stunnel)
    }

    fn run(&mut self) -> bool {
        let child = Command::new("stunnel4")
            .arg(self.directory.join("stunnel.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = child.ok();
        if self.child.is_some() {
            until("stunnel listens", || TcpStream::connect(self.address).ok());
        }
        self.child.is_some()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    fn roots(&self) -> TlsRoots {
        TlsRoots::load(Some(&self.directory.join("roots.pem"))).expect("just written")
    }
}

impl Drop for Stunnel {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const NOT_HERE: &str = "stunnel4 is not installed: nothing is checked";

#[test]
fn publishes_to_openssl_in_either_version_and_again_after_it_was_away() {
    for (name, versions) in
        [("tls12", "sslVersionMin = TLSv1.2\nsslVersionMax = TLSv1.2"), ("tls13", "sslVersionMin = TLSv1.3")]
    {
        let server = origin(0);
        let Some(mut stunnel) = Stunnel::start(name, "localhost", server.rtmp_address(), versions) else {
            eprintln!("{NOT_HERE}");
            return;
        };
        let mut node = Node::trusting(4096 * 4, &stunnel.roots());
        let _callee = node.open(1, 30);
        node.add_rtmps_target(1, 1, "localhost", stunnel.address, name, TlsTrust::Verify);
        node.wait_publishing(1, 1);
        wait_pictures(&server, name, 50);
        stunnel.kill();
        node.wait_state(1, 1, |state| matches!(state, TargetState::Reconnecting(_)));
        assert!(stunnel.run());
        node.wait_publishing(1, 1);
        wait_pictures(&server, name, 50);
        node.finish();
    }
}

#[test]
fn only_a_certificate_of_a_known_root_for_that_host_is_taken() {
    let server = origin(0);
    let Some(stunnel) = Stunnel::start("trust", "other.example", server.rtmp_address(), "") else {
        eprintln!("{NOT_HERE}");
        return;
    };
    let mut node = Node::trusting(4096, &stunnel.roots());
    let _callee = node.open(1, 2);
    let mut add = |target, host, trust, wanted: TargetState| {
        node.add_rtmps_target(1, target, host, stunnel.address, &format!("trust{target}"), trust);
        node.wait_state(1, target, |state| state == wanted);
    };
    let refused = TargetState::Reconnecting(TargetFault::CertificateForAnotherHost);
    add(1, "localhost", TlsTrust::Verify, refused);
    add(2, "other.example", TlsTrust::Verify, TargetState::Publishing);
    add(3, "localhost", TlsTrust::AcceptAny, TargetState::Publishing);
    // Plain RTMP on the port of stunnel.
    node.add_target(1, 4, stunnel.address, "plain");
    node.wait_state(1, 4, |state| {
        let seen = [TargetFault::NeedsTls, TargetFault::ClosedInHandshake];
        matches!(state, TargetState::Reconnecting(fault) if seen.contains(&fault))
    });
    node.finish();
    let mut strict = Node::trusting(4096, &TlsRoots::load(None).expect("no file"));
    let _callee = strict.open(1, 2);
    strict.add_rtmps_target(1, 1, "other.example", stunnel.address, "stranger", TlsTrust::Verify);
    let refused = TargetState::Reconnecting(TargetFault::CertificateRefused);
    strict.wait_state(1, 1, |state| state == refused);
    strict.finish();
}
