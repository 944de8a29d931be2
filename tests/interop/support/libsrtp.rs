//! libsrtp in a process of its own: the program of `libsrtp/peer.c`, one packet a line.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::process::{directory, run};

/// A running libsrtp with one key.
pub struct Libsrtp {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Libsrtp {
    /// `suite`: its name in RFC 4568 or RFC 7714; `key`: master key and salt.
    pub fn start(suite: &str, key: &[u8]) -> Self {
        let program = directory("libsrtp").join("peer");
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/libsrtp/peer.c");
        run(Command::new("cc").arg("-o").arg(&program).arg(source).arg("-lsrtp2"));
        let mut process = Command::new(program)
            .args([suite, &hex(key)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("just compiled");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, input, output }
    }

    /// `action`: protect or unprotect; `kind`: rtp or rtcp. `None`: libsrtp refuses.
    pub fn ask(&mut self, action: &str, kind: &str, packet: &[u8]) -> Option<Vec<u8>> {
        writeln!(self.input, "{action} {kind} {}", hex(packet)).expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let line = line.trim();
        let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
        (!line.starts_with("error")).then(|| (0..line.len()).step_by(2).map(byte).collect())
    }
}

impl Drop for Libsrtp {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is our child.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 4648 §4 of 30 bytes, which need no padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(bytes.len() % 3, 0);
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        text.extend([18, 12, 6, 0].map(|shift| char::from(ALPHABET[(word >> shift) as usize & 63])));
    }
    text
}

/// The reverse of [`base64`].
pub fn from_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    assert_eq!(text.len() % 4, 0);
    let words = text.as_bytes().chunks(4).map(|four| four.iter().fold(0, |word, c| word << 6 | value(*c)));
    words.flat_map(|word: u32| word.to_be_bytes()[1..].to_vec()).collect()
}
