//! One name, one publisher: a second is refused, a successor continues what its players see.

mod client;

use std::time::Duration;

use client::{Client, HttpResponse, http, options, origin, picture, until};
use sipcast_media::rtmp::message_type::VIDEO;
use sipcast_origin::{OriginOptions, StreamName};

#[tokio::test]
async fn a_second_publisher_is_refused() {
    let origin = origin(options());
    let address = origin.rtmp_address();
    let mut first = Client::publisher(address, "key").await;
    let mut second = Client::connect(address, "live").await;
    assert_eq!(second.publish("key?token=other").await, "NetStream.Publish.BadName");
    assert_eq!(second.status().await, "closed");
    let mut elsewhere = Client::connect(address, "other").await;
    assert_eq!(elsewhere.publish("key").await, "NetStream.Publish.Start");
    first.send(VIDEO, 0, &picture(true, 10)).await;
    until("the first goes on", || origin.statistics().messages() == 1).await;
    first.unpublish().await;
    until("the name is free", || origin.statistics().publishers == 1).await;
    // The same connection may publish again.
    assert_eq!(first.publish("key").await, "NetStream.Publish.Start");
    assert_eq!(origin.statistics().publishers_refused, 1);
}

#[tokio::test]
async fn odd_names_are_refused() {
    let origin = origin(options());
    for (app, stream) in [("", "key"), ("live", "a/b"), ("live", "?token"), ("live", &"k".repeat(300))] {
        let mut client = Client::connect(origin.rtmp_address(), app).await;
        assert_eq!(client.publish(stream).await, "NetStream.Publish.BadName", "{app} {stream}");
    }
}

#[tokio::test]
async fn a_publisher_that_comes_back_in_time_continues() {
    let origin = origin(options());
    let http = http(&origin).await;
    let mut publisher = Client::publisher(origin.rtmp_address(), "key").await;
    publisher.send(VIDEO, 50_000, &picture(true, 10)).await;
    until("a picture", || origin.statistics().messages() == 1).await;
    let mut player = HttpResponse::of(http, "GET", "/live/key.flv").await;
    player.bytes(13).await.expect("header");
    for _ in 0..4 {
        player.tag().await.expect("headers and picture");
    }
    drop(publisher);
    until("it is gone", || origin.statistics().publishers == 0).await;
    let gone = HttpResponse::of(http, "GET", "/live/key.flv").await;
    assert!(gone.head.contains("404"), "not live meanwhile: {}", gone.head);

    let mut publisher = Client::publisher(origin.rtmp_address(), "key").await;
    publisher.send(VIDEO, 3, &picture(false, 10)).await;
    publisher.send(VIDEO, 5, &picture(true, 20)).await;
    publisher.send(VIDEO, 38, &picture(false, 30)).await;
    // The headers are the same as before and do not come again.
    assert_eq!(player.tag().await, Some((VIDEO, 40, picture(true, 20).into())));
    assert_eq!(player.tag().await, Some((VIDEO, 73, picture(false, 30).into())));
    let name = StreamName::new("live", "key").expect("valid");
    assert_eq!(origin.stream_statistics(&name).expect("live").publishers, 2);
}

#[tokio::test]
async fn players_of_a_publisher_that_stays_away_are_ended() {
    let grace = Duration::from_millis(50);
    let origin = origin(OriginOptions { publisher_grace: grace, ..options() });
    let http = http(&origin).await;
    let publisher = Client::publisher(origin.rtmp_address(), "key").await;
    let player = HttpResponse::of(http, "GET", "/live/key.flv").await;
    drop(publisher);
    assert!(player.rest().await.is_empty());
    assert!(origin.statistics().streams.is_empty());
}
