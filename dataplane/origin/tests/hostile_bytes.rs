//! Broken input ends its connection, is counted, and disturbs nobody.

mod client;

use std::time::Duration;

use client::{Client, PATIENCE, options, origin, picture, until};
use sipcast_media::rtmp::message_type::{AUDIO, COMMAND_AMF0, DATA_AMF0, VIDEO};
use sipcast_media::rtmp::random::SplitMix64;
use sipcast_origin::OriginOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ =
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("closed by the server");
}

#[tokio::test]
async fn noise_of_all_kinds() {
    let origin = origin(options());
    let address = origin.rtmp_address();
    let mut publisher = Client::publisher(address, "key").await;
    let mut random = SplitMix64::new(17);
    for round in 0..40 {
        let mut noise = vec![0; 20_000];
        random.fill(&mut noise);
        if round % 2 == 0 {
            noise[0] = 3;
        }
        if round % 4 < 2 {
            let mut socket = TcpStream::connect(address).await.expect("listening");
            let _ = socket.write_all(&noise).await;
            socket.shutdown().await.ok();
            closed(socket).await;
        } else {
            // Noise inside messages of a client that got that far.
            let mut client = Client::connect(address, "live").await;
            client.publish(&format!("noise{round}")).await;
            for type_id in [AUDIO, VIDEO, DATA_AMF0, COMMAND_AMF0, 1, 2, 3, 4, 5, 6, 15, 17, 22] {
                let header = sipcast_media::rtmp::MessageHeader {
                    chunk_stream: 3,
                    timestamp_ms: round,
                    type_id,
                    message_stream: 1,
                };
                let mut out = Vec::new();
                sipcast_media::rtmp::Chunker::new().write(
                    &header,
                    &noise[..1 + round as usize * 3],
                    &mut out,
                );
                let _ = client.socket.write_all(&out).await;
            }
            let _ = client.socket.write_all(&noise).await;
            client.socket.shutdown().await.ok();
            closed(client.socket).await;
        }
    }
    until("all are gone", || origin.statistics().connections == 1).await;
    assert!(origin.statistics().faults > 10, "{}", origin.statistics().faults);
    publisher.send(VIDEO, 0, &picture(true, 10)).await;
    let name = sipcast_origin::StreamName::new("live", "key").expect("valid");
    until("the publisher goes on", || origin.stream_statistics(&name).is_some_and(|s| s.messages == 1)).await;
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let origin = origin(OriginOptions { client_timeout: Duration::from_millis(100), ..options() });
    let address = origin.rtmp_address();
    let silent = TcpStream::connect(address).await.expect("listening");
    let idle = Client::connect(address, "live").await;
    let quiet = Client::publisher(address, "key").await;
    closed(silent).await;
    closed(idle.socket).await;
    closed(quiet.socket).await;
    until("all are gone", || origin.statistics().connections == 0).await;
}
