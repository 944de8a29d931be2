//! One RTMP publication, opened with a blocking socket before the measured part begins.
//! Takes: server, application, stream name. Gives: a socket to send media on.
//! Leaves out: reading what the server says later.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use sipcast_contract::{RtmpTarget, RtmpUrl, Secret, Timestamp};
use sipcast_media::rtmp::Publisher;

use super::{CHUNK_SIZE, chunk_header};

/// How long the server may take for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Set Chunk Size, on chunk stream 2 (Adobe RTMP 1.0 §5.4.1).
const SET_CHUNK_SIZE: u8 = 1;

/// A publication that the server has agreed to.
pub(super) struct Publication {
    pub socket: OwnedFd,
    pub message_stream: u32,
}

impl Publication {
    /// Connects and publishes.
    ///
    /// # Errors
    /// What the server refused, or how the connection failed.
    pub fn open(server: SocketAddr, app: &str, name: &str) -> anyhow::Result<Self> {
        let url =
            RtmpUrl::parse(&format!("rtmp://{server}/{app}")).map_err(|error| anyhow::anyhow!("{error}"))?;
        let target = RtmpTarget::new(url, Secret::new(name.to_owned()), vec![server]);
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        // Blocking reads have their own time limit; the publisher's clock stands still.
        let mut publisher = Publisher::new(&target, "", u64::from(std::process::id()), Timestamp::ZERO);
        let (mut output, mut input) = (Vec::new(), [0; 4_096]);
        let message_stream = loop {
            publisher.take_output(&mut output);
            stream.write_all(&output)?;
            output.clear();
            if let Some(message_stream) = publisher.publishing() {
                break message_stream;
            }
            let len = stream.read(&mut input).context("the server's answer")?;
            anyhow::ensure!(len > 0, "the server closed the connection");
            publisher
                .handle_input(&input[..len], Timestamp::ZERO)
                .map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        };
        stream.write_all(&chunk_header(2, 0, 4, SET_CHUNK_SIZE, 0))?;
        stream.write_all(&CHUNK_SIZE.to_be_bytes())?;
        stream.set_read_timeout(None)?;
        Ok(Self { socket: stream.into(), message_stream })
    }
}
