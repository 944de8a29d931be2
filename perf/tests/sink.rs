//! The sink takes a publication, counts it, and drops a peer that breaks the protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sipcast_perf::sink::Sink;

fn message(kind: u8, timestamp: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![4];
    out.extend_from_slice(&timestamp.to_be_bytes()[1..]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, 1, 0, 0, 0]);
    for (place, chunk) in body.chunks(128).enumerate() {
        if place > 0 {
            out.push(0xc4);
        }
        out.extend_from_slice(chunk);
    }
    out
}

fn command(name: &str, transaction: f64, argument: &str) -> Vec<u8> {
    let mut body = vec![2, 0, name.len() as u8];
    body.extend_from_slice(name.as_bytes());
    body.push(0);
    body.extend_from_slice(&transaction.to_be_bytes());
    body.push(5);
    if !argument.is_empty() {
        body.extend_from_slice(&[2, 0, argument.len() as u8]);
        body.extend_from_slice(argument.as_bytes());
    }
    message(20, 0, &body)
}

fn connect(sink: &Sink) -> TcpStream {
    let mut stream = TcpStream::connect(sink.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut greeting = vec![3];
    greeting.resize(1 + 1_536, 7);
    stream.write_all(&greeting).unwrap();
    let mut answer = vec![0; 1 + 2 * 1_536];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[1 + 1_536..], greeting[1..]);
    stream.write_all(&answer[1..1 + 1_536]).unwrap();
    stream
}

fn read_until(stream: &mut TcpStream, text: &str) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 512]);
    while !seen.windows(text.len()).any(|window| window == text.as_bytes()) {
        let len = stream.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "the sink closed before {text}");
        seen.extend_from_slice(&buffer[..len]);
    }
}

#[test]
fn counts_a_publication() {
    let sink = Sink::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = connect(&sink);
    stream.write_all(&command("connect", 1.0, "")).unwrap();
    read_until(&mut stream, "NetConnection.Connect.Success");
    stream.write_all(&command("createStream", 2.0, "")).unwrap();
    read_until(&mut stream, "_result");
    stream.write_all(&command("publish", 3.0, "town?key=1")).unwrap();
    read_until(&mut stream, "NetStream.Publish.Start");
    assert_eq!(sink.publishing(), 1);
    stream.write_all(&message(9, 0, &[0x17, 0, 0, 0, 0, 1, 2])).unwrap();
    stream.write_all(&message(9, 40, &[&[0x17, 1, 0, 0, 0][..], &[9; 3_000]].concat())).unwrap();
    stream.write_all(&message(9, 30, &[0x27, 1, 0, 0, 0, 5])).unwrap();
    stream.write_all(&message(8, 40, &[0xaf, 1, 5])).unwrap();
    // A ping comes back when everything before it was read.
    stream.write_all(&message(4, 0, &[0, 6, 1, 2, 3, 4])).unwrap();
    read_until(&mut stream, "\x01\x02\x03\x04");
    let counts = sink.counts()["town"];
    assert_eq!((counts.pictures, counts.idr_pictures, counts.audio_frames), (2, 1, 1));
    assert_eq!((counts.backward_timestamps, counts.publishing), (1, true));
    stream.write_all(&command("deleteStream", 4.0, "")).unwrap();
    stream.write_all(&message(4, 0, &[0, 6, 5, 6, 7, 8])).unwrap();
    read_until(&mut stream, "\x05\x06\x07\x08");
    assert_eq!(sink.publishing(), 0);
    sink.shutdown();
}

#[test]
fn closes_on_nonsense_and_goes_on_for_others() {
    let sink = Sink::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = connect(&sink);
    stream.write_all(&[0xc3; 64]).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(stream.read(&mut buffer).unwrap_or(0), 0, "closed");
    let mut other = connect(&sink);
    other.write_all(&command("connect", 1.0, "")).unwrap();
    read_until(&mut other, "NetConnection.Connect.Success");
    sink.shutdown();
}
