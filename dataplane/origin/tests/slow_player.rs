//! A player that does not read disturbs neither its publisher nor other players, and is disconnected.

mod client;

use std::time::Duration;

use client::{Client, options, origin, picture, until};
use sipcast_media::rtmp::message_type::VIDEO;
use sipcast_origin::{Limits, OriginOptions};

#[tokio::test]
async fn slow_player() {
    let limits = Limits { player_queue_bytes_max: 1 << 20, ..Limits::default() };
    let stall_timeout = Duration::from_millis(500);
    let origin = origin(OriginOptions { stall_timeout, limits, ..options() });
    let address = origin.rtmp_address();
    let mut publisher = Client::publisher(address, "key").await;
    publisher.send(VIDEO, 0, &picture(true, 10)).await;
    until("a picture", || origin.statistics().messages() == 1).await;
    let mut slow = Client::connect(address, "live").await;
    assert_eq!(slow.play("key").await, "NetStream.Play.Start");
    let mut quick = Client::connect(address, "live").await;
    assert_eq!(quick.play("key").await, "NetStream.Play.Start");

    // More than the sockets and the queue hold; the quick player takes each in turn.
    let mut latest_ms = None;
    for n in 1..=600_u32 {
        publisher.send(VIDEO, n, &picture(n % 10 == 0, 50_000)).await;
        while latest_ms.is_none_or(|latest_ms| latest_ms < n) {
            latest_ms = Some(quick.next_media().await.expect("live").1);
        }
    }
    assert!(origin.statistics().streams[0].dropped > 0);
    until("the slow player is gone", || origin.statistics().players == 1).await;
    publisher.send(VIDEO, 601, &picture(true, 10)).await;
    assert_eq!(quick.next_media().await, Some((VIDEO, 601, picture(true, 10).into())));
}
