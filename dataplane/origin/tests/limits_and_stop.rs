//! Bounds hold, a taken port is named, a stop ends everything, and a counting origin keeps nothing.

mod client;

use std::time::Duration;

use client::{Client, HttpResponse, PATIENCE, audio, http, options, origin, picture, until};
use sipcast_media::rtmp::message_type::{AUDIO, VIDEO};
use sipcast_origin::{Keep, Limits, Origin, OriginOptions};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn limits_hold() {
    let limits = Limits { connections_max: 4, publishers_max: 1, players_max: 1, ..Limits::default() };
    let origin = origin(OriginOptions { limits, ..options() });
    let address = origin.rtmp_address();
    let http = http(&origin).await;
    let mut publisher = Client::publisher(address, "key").await;
    let mut second = Client::connect(address, "live").await;
    assert_eq!(second.publish("other").await, "NetStream.Publish.BadName");
    drop(second);
    let player = HttpResponse::of(http, "GET", "/live/key.flv").await;
    let refused = HttpResponse::of(http, "GET", "/live/key.flv").await;
    assert!(refused.head.contains("503"), "{}", refused.head);
    let mut refused = Client::connect(address, "live").await;
    assert_eq!(refused.play("key").await, "NetStream.Play.Failed");
    drop((player, refused));
    until("the place is free", || {
        // An HTTP player's end shows when something is written to it.
        origin.statistics().players == 0 && origin.statistics().connections == 1
    })
    .await;

    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(address).await.expect("listening"));
    }
    until("all places are taken", || origin.statistics().connections == 4).await;
    let mut refused = TcpStream::connect(address).await.expect("listening");
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert_eq!(origin.statistics().connections_refused, 1);
    publisher.send(VIDEO, 0, &picture(true, 10)).await;
    until("the publisher goes on", || origin.statistics().messages() == 1).await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = origin(options());
    let address = first.rtmp_address();
    let error = Origin::bind(OriginOptions { rtmp_bind: address, ..options() }).expect_err("taken");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn a_stop_ends_all() {
    let origin = origin(options());
    let address = origin.rtmp_address();
    let http = http(&origin).await;
    let mut publisher = Client::publisher(address, "key").await;
    publisher.send(VIDEO, 0, &picture(true, 10)).await;
    until("a picture", || origin.statistics().messages() == 1).await;
    let mut player = Client::connect(address, "live").await;
    player.play("key").await;
    let browser = HttpResponse::of(http, "GET", "/live/key.flv").await;
    assert!(origin.shut_down(PATIENCE).await);
    assert_eq!(player.status().await, "NetStream.Play.UnpublishNotify");
    assert!(player.next().await.is_none() && publisher.next().await.is_none());
    browser.rest().await;
    let statistics = origin.statistics();
    assert_eq!((statistics.connections, statistics.players, statistics.publishers), (0, 0, 0));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_dropped_origin_frees_its_port() {
    let address = origin(options()).rtmp_address();
    let freed = tokio::time::timeout(PATIENCE, async {
        while Origin::bind(OriginOptions { rtmp_bind: address, ..options() }).is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    freed.await.expect("free again");
}

#[tokio::test]
async fn a_counting_origin_counts() {
    let origin = origin(OriginOptions { keep: Keep::CountOnly, ..options() });
    let http = http(&origin).await;
    let mut publisher = Client::publisher(origin.rtmp_address(), "key").await;
    publisher.send(VIDEO, 10, &picture(true, 1_000)).await;
    publisher.send(VIDEO, 43, &picture(false, 500)).await;
    publisher.send(AUDIO, 40, &audio()).await;
    until("all has come", || origin.statistics().messages() == 3).await;
    let statistics = origin.statistics();
    let [stream] = &statistics.streams[..] else { panic!("one stream") };
    assert_eq!((stream.name.app(), stream.name.stream(), stream.live), ("live", "key", true));
    assert_eq!((stream.pictures, stream.idr_pictures, stream.audio_frames, stream.headers), (2, 1, 1, 3));
    assert_eq!((stream.video_timestamp_ms, stream.audio_timestamp_ms), (Some(43), Some(40)));
    assert!(statistics.bytes() > 1_505);
    let refused = HttpResponse::of(http, "GET", "/live/key.flv").await;
    assert!(refused.head.contains("404"), "{}", refused.head);
}
