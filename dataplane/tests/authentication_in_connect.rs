//! `authmod=adobe` and `authmod=llnw` against a server that asks as theirs do. ffmpeg, which speaks both, and librtmp
//! try the same server: what they compute is what the server expects.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sipcast_contract::report::TargetFault;
use sipcast_contract::{
    BroadcastId, Command, Credentials, RtmpParameters, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState,
};
use sipcast_media::rtmp::amf0::Value;
use sipcast_media::rtmp::authentication::{Authentication, Verdict};
use sipcast_media::rtmp::handshake::ServerHandshake;
use sipcast_media::rtmp::{Chunker, Dechunker, MessageHeader, command, message_type};
use support::{LOCALHOST, Node, until};

const USER: &str = "bob";
const PASSWORD: &str = "hunter2";
const NEED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=";

/// A server that lets `bob` in, and what it has seen.
struct Guarded {
    address: SocketAddr,
    connects: Arc<AtomicUsize>,
    published: Arc<AtomicUsize>,
}

impl Guarded {
    fn start(scheme: &'static str) -> Self {
        let listener = TcpListener::bind((LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (connects, published) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let seen = (connects.clone(), published.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (connects, published) = seen.clone();
                std::thread::spawn(move || serve(client, scheme, &connects, &published));
            }
        });
        Self { address, connects, published }
    }
}

/// Why `connect` with this app is refused; `None`: it is let in.
fn refusal(app: &str, scheme: &str) -> Option<String> {
    let query = app.split_once('?').map_or("", |(_, query)| query);
    let field = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
    };
    if field("authmod") != Some(scheme) {
        return Some(format!("{NEED}{scheme} ] : "));
    }
    let question = match scheme {
        "adobe" => "salt=1hQ6Ag==&challenge=DhABAA==&opaque=DhABAA==",
        _ => "nonce=7a12bc",
    };
    let asked =
        format!("[ AccessManager.Reject ] : [ authmod={scheme} ] : ?reason=needauth&user={USER}&{question}");
    let Some(response) = field("response") else { return Some(asked) };
    let own = field("challenge").or(field("cnonce")).expect("the client's own challenge");
    let own = u64::from_str_radix(own, 16).expect("hexadecimal");
    let credentials = Credentials { user: USER.to_owned(), password: PASSWORD.to_owned() };
    let mut right = Authentication::new(Some(Secret::new(credentials)), "live");
    assert_eq!(right.handle_refusal(&asked, own), Verdict::TryAgain);
    let is_right = right.query().contains(&format!("response={response}"));
    (!is_right).then(|| format!("[ AccessManager.Reject ] : [ authmod={scheme} ] : ?reason=authfailed"))
}

/// Serves one client until it goes.
fn serve(mut client: TcpStream, scheme: &str, connects: &AtomicUsize, published: &AtomicUsize) -> Option<()> {
    let (mut chunker, mut dechunker) = (Chunker::new(), Dechunker::new(1 << 20));
    let mut handshake = Some(ServerHandshake::new(3));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = client.read(&mut buffer).ok().filter(|len| *len > 0)?;
        let mut input = &buffer[..len];
        let mut out = Vec::new();
        if let Some(waiting) = &mut handshake {
            if waiting.handle_input(&mut input, &mut out).ok()? {
                handshake = None;
            }
            client.write_all(&out).ok()?;
            if handshake.is_some() {
                continue;
            }
        }
        while let Some(message) = dechunker.next_message(&mut input).ok()? {
            if message.type_id != message_type::COMMAND_AMF0 {
                continue;
            }
            let came = command::Command::decode(message.type_id, &message.payload).ok()?;
            let id = came.transaction_id;
            let answer = match came.name.as_str() {
                "connect" => {
                    connects.fetch_add(1, Ordering::SeqCst);
                    match refusal(came.object.get("app").and_then(Value::as_str)?, scheme) {
                        Some(text) => command::error(id, "NetConnection.Connect.Rejected", &text),
                        None => command::connect_result(id),
                    }
                }
                "createStream" => command::call_with_number("_result", id, 1.0),
                "publish" => {
                    published.fetch_add(1, Ordering::SeqCst);
                    command::on_status("status", "NetStream.Publish.Start", "")
                }
                _ => continue,
            };
            let message_stream = u32::from(came.name == "publish");
            let type_id = message_type::COMMAND_AMF0;
            let header = MessageHeader { chunk_stream: 3, timestamp_ms: 0, type_id, message_stream };
            let mut out = Vec::new();
            chunker.write(&header, &answer, &mut out);
            client.write_all(&out).ok()?;
        }
    }
}

fn add(node: &Node, target: u64, server: SocketAddr, password: Option<&str>) {
    let url = RtmpUrl::parse(&format!("rtmp://{server}/live")).expect("valid");
    let credentials = password
        .map(|password| Secret::new(Credentials { user: USER.to_owned(), password: password.to_owned() }));
    let parameters = RtmpParameters { credentials, ..RtmpParameters::default() };
    let spec = RtmpTarget::new(url, Secret::new("key".to_owned()), vec![server]).with_parameters(parameters);
    let (broadcast, target) = (BroadcastId(1), TargetId(target));
    node.send(Command::AddTarget { broadcast, target, spec: Box::new(spec) });
}

#[test]
fn both_schemes_let_the_right_password_in_and_no_other() {
    let mut node = Node::start(4096);
    let _callee = node.open(1, 2);
    let ended = |fault| move |state| state == TargetState::Ended(Some(fault));
    for (at, scheme) in (0u64..).step_by(10).zip(["adobe", "llnw"]) {
        let server = Guarded::start(scheme);
        add(&node, at, server.address, Some(PASSWORD));
        node.wait_publishing(1, at);
        assert_eq!(server.connects.load(Ordering::SeqCst), 3, "plain, named, answered");
        add(&node, at + 1, server.address, Some("wrong"));
        node.wait_state(1, at + 1, ended(TargetFault::AuthenticationRefused));
        assert_eq!(server.connects.load(Ordering::SeqCst), 6);
        add(&node, at + 2, server.address, None);
        node.wait_state(1, at + 2, ended(TargetFault::CredentialsMissing));
        assert_eq!(server.connects.load(Ordering::SeqCst), 7);
    }
    node.finish();
}

#[test]
fn ffmpeg_answers_the_same() {
    for scheme in ["adobe", "llnw"] {
        let server = Guarded::start(scheme);
        let mut ffmpeg = match Process::new("ffmpeg")
            .args(["-v", "error", "-re", "-f", "lavfi", "-i", "sine", "-c:a", "aac", "-f", "flv"])
            .arg(format!("rtmp://{USER}:{PASSWORD}@{}/live/key", server.address))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
        {
            Ok(ffmpeg) => ffmpeg,
            Err(_) => return eprintln!("ffmpeg is not installed: nothing is checked"),
        };
        until("ffmpeg publishes", || (server.published.load(Ordering::SeqCst) == 1).then_some(()));
        ffmpeg.kill().expect("a child of ours");
        ffmpeg.wait().expect("a child of ours");
    }
}

/// `llnw` alone: librtmp built with GnuTLS, as Debian's is, writes beyond its memory when it answers `adobe`, since its
/// base64 ends without a terminator.
#[test]
fn librtmp_answers_the_same() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (program, clip) = (place.join("librtmp-publisher"), place.join("empty.flv"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop/librtmp/publisher.c");
    if !Path::new("/usr/include/librtmp/rtmp.h").exists() {
        return eprintln!("librtmp-dev is not installed: nothing is checked");
    }
    let compiled = Process::new("cc").arg("-o").arg(&program).args([source, "-lrtmp"]).status();
    assert!(compiled.is_ok_and(|status| status.success()), "librtmp's publisher compiles");
    std::fs::write(&clip, b"FLV\x01\x05\0\0\0\x09\0\0\0\0").expect("a writable target directory");
    for (password, published) in [(PASSWORD, 1), ("wrong", 0)] {
        let server = Guarded::start("llnw");
        // The server leaves the connection open when it refuses; librtmp would wait half a minute for more.
        let options = format!("pubUser={USER} pubPasswd={password} timeout=2");
        let url = format!("rtmp://{}/live/key {options}", server.address);
        let status = Process::new(&program).arg(url).arg(&clip).stdout(Stdio::null()).status();
        assert_eq!(status.expect("just compiled").success(), published == 1, "with {password}");
        assert_eq!(server.published.load(Ordering::SeqCst), published, "with {password}");
    }
}
