//! WebSocket-FLV: the same bytes as binary frames, and a close frame at the end (RFC 6455).

mod client;

use client::{Client, HttpResponse, VIDEO_HEADER, http, options, origin, picture, until};
use sipcast_media::rtmp::message_type::VIDEO;

const UPGRADE: &str = "GET /live/key.flv HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The next frame of a server: opcode and payload (RFC 6455 §5.2).
async fn frame(socket: &mut HttpResponse) -> Option<(u8, Vec<u8>)> {
    let head = socket.bytes(2).await?;
    let len = match head[1] {
        126 => u64::from(u16::from_be_bytes(socket.bytes(2).await?.try_into().ok()?)),
        127 => u64::from_be_bytes(socket.bytes(8).await?.try_into().ok()?),
        len => u64::from(len),
    };
    Some((head[0] & 0x0f, socket.bytes(len as usize).await?))
}

#[tokio::test]
async fn playback_over_websocket() {
    let origin = origin(options());
    let address = http(&origin).await;
    let refused = HttpResponse::of_request(address, UPGRADE).await;
    assert!(refused.head.contains("404"), "{}", refused.head);

    let mut publisher = Client::publisher(origin.rtmp_address(), "key").await;
    publisher.send(VIDEO, 40, &picture(true, 70_000)).await;
    until("a picture", || origin.statistics().messages() == 1).await;
    let mut player = HttpResponse::of_request(address, UPGRADE).await;
    assert!(player.head.contains("101 switching protocols"), "{}", player.head);
    // The example of RFC 6455 §1.3.
    assert!(player.head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{}", player.head);
    let (opcode, bytes) = frame(&mut player).await.expect("a frame");
    assert_eq!((opcode, &bytes[..5]), (2, &b"FLV\x01\x05"[..]));
    let found = |bytes: &[u8]| bytes.windows(VIDEO_HEADER.len()).any(|window| window == VIDEO_HEADER);
    assert!(found(&bytes) && bytes.len() > 70_000);
    publisher.send(VIDEO, 73, &picture(false, 200)).await;
    let (opcode, bytes) = frame(&mut player).await.expect("a frame");
    assert_eq!((opcode, bytes[0], bytes.len()), (2, VIDEO, 215));
    assert_eq!(bytes[4..8], [0, 0, 33, 0]);

    publisher.unpublish().await;
    assert_eq!(frame(&mut player).await.map(|(opcode, _)| opcode), Some(8));
    until("the player has left", || origin.statistics().players == 0).await;
}

#[tokio::test]
async fn a_player_that_leaves_is_noticed_without_media() {
    let origin = origin(options());
    let address = http(&origin).await;
    let _publisher = Client::publisher(origin.rtmp_address(), "key").await;
    let player = HttpResponse::of_request(address, UPGRADE).await;
    assert_eq!(origin.statistics().players, 1);
    drop(player);
    until("the player has left", || origin.statistics().players == 0).await;
}
