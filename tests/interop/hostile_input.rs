//! Malformed and hostile input from every side, while a call is up: counted, refused, nothing else disturbed.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::json;

use crate::support::baresip::Baresip;
use crate::support::http::request;
use crate::support::nginx::Nginx;
use crate::support::sipcast::{Sipcast, order};
use crate::support::wait_for;

#[test]
fn a_call_is_not_disturbed() {
    let nginx = Nginx::start();
    let callee = Baresip::start("PCMU");
    let sipcast = Sipcast::start(&[]);
    assert_eq!(sipcast.post("call/startup", &order("calm", callee.port, &nginx.url(), "calm")).status, 200);
    sipcast.wait_for_status("calm", "ESTABLISHED", Duration::from_secs(20));
    wait_for("pictures", Duration::from_secs(20), || pictures(&sipcast).filter(|n| *n > 30));

    hostile_rtp(&sipcast);
    hostile_sip(&sipcast);
    hostile_rest(&sipcast);
    hostile_rtmp(&sipcast);

    let before = pictures(&sipcast).expect("statistics");
    wait_for("more pictures", Duration::from_secs(20), || pictures(&sipcast).filter(|n| *n > before + 60));
    let statistics = sipcast.statistics();
    let broadcast = &statistics["broadcasts"][0];
    let counted = ["malformed", "foreignSource"]
        .iter()
        .filter_map(|key| broadcast["video"][*key].as_u64())
        .sum::<u64>();
    assert!(counted > 0, "hostile RTP is counted: {broadcast}");
    assert_eq!(broadcast["accessUnitsDropped"], 0, "{broadcast}");
    assert_eq!(sipcast.call("calm").expect("the call goes on")["status"], "ESTABLISHED");
    assert_eq!(sipcast.post("call/terminate", &json!({ "callId": "calm" })).status, 200);
    drop(nginx);
    sipcast.stop();
}

fn pictures(sipcast: &Sipcast) -> Option<u64> {
    sipcast.statistics()["totals"]["accessUnits"].as_u64()
}

/// Noise, cut headers, lying lengths, from a foreign source, to every RTP and RTCP port.
fn hostile_rtp(sipcast: &Sipcast) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for port in sipcast.rtp_ports.0..=sipcast.rtp_ports.1 {
        for len in (0..64).chain([1200, 1900, 2048, 9000, 60_000]) {
            let bytes: Vec<u8> = (0..len)
                .map(|index| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let byte = (random >> 56) as u8;
                    // Half of it looks like RTP or RTCP at first sight.
                    if index == 0 && len % 2 == 0 { 0x80 | byte & 0x3f } else { byte }
                })
                .collect();
            // The kernel may report an ICMP answer to an earlier one: these ports come and go.
            let _ = socket.send_to(&bytes, ("127.0.0.1", port));
        }
    }
}

fn hostile_sip(sipcast: &Sipcast) {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let messages: [&[u8]; 8] = [
        b"",
        b"\0\0\0\0",
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"INVITE sip:a@b SIP/7.0\r\nVia: SIP/2.0/UDP x\r\n\r\n",
        b"BYE sip:nobody@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
          To: <sip:c@d>;tag=2\r\nCall-ID: none\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKnone\r\nCSeq: 99999999999 INVITE\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
        &[0xff; 4096],
    ];
    for message in messages {
        udp.send_to(message, ("127.0.0.1", sipcast.sip_port)).expect("loopback");
        let mut tcp = TcpStream::connect(("127.0.0.1", sipcast.sip_port)).expect("sipcast listens on TCP");
        // It may hang up on us while we speak.
        let _ = tcp.write_all(message);
    }
}

fn hostile_rest(sipcast: &Sipcast) {
    let post = |path: &str, body: &str| request(sipcast.rest, "POST", path, body).expect("an answer");
    let startup = "/rest-api/call/startup";
    for body in
        ["", "{", "[]", "null", "\"x\"", "{\"callId\":1}", "{\"callId\":\"a\\r\\nb\"}", &"[".repeat(60_000)]
    {
        let answer = post(startup, body);
        assert_eq!(answer.status, 400, "{body:.40}: {}", answer.body);
        assert!(answer.json()["problem"].is_string(), "{}", answer.body);
    }
    assert_eq!(post(startup, &"x".repeat(70_000)).status, 413);
    assert_eq!(post("/rest-api/call/terminate", "{\"callId\":\"none\"}").status, 404);
    assert_eq!(post("/rest-api/nothing", "{}").status, 404);
    assert_eq!(request(sipcast.rest, "DELETE", startup, "").expect("an answer").status, 405);
    let mut raw = TcpStream::connect(sipcast.rest).expect("it listens");
    raw.write_all(b"\x16\x03\x01\x02\x00 not HTTP at all\r\n\r\n").expect("it listens");
    raw.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut answer = Vec::new();
    let _ = raw.read_to_end(&mut answer);
}

fn hostile_rtmp(sipcast: &Sipcast) {
    for first in [0u8, 3, 6, 255] {
        let mut tcp = TcpStream::connect(("127.0.0.1", sipcast.origin_port)).expect("the origin listens");
        // It may hang up on us while we speak.
        let _ = tcp.write_all(&vec![first; 20_000]);
    }
}

#[test]
fn only_pages_of_the_allowed_origin_may_order() {
    let sipcast = Sipcast::start(&["rest.allow_origin=https://console.example"]);
    let ask = |origin: &str| {
        let mut stream = TcpStream::connect(sipcast.rest).expect("it listens");
        let request = format!(
            "POST /rest-api/call/find HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Length: 2\r\n\r\n{{}}",
            sipcast.rest
        );
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).expect("a status line").to_owned()
    };
    assert_eq!(ask("https://evil.example"), "403");
    assert_eq!(ask("https://console.example"), "404", "allowed: there is no call");
    sipcast.stop();
}
