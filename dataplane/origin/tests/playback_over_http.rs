//! HTTP-FLV: who joins late has headers and a picture at once, from time 0; at the end the response ends.

mod client;

use bytes::Bytes;
use client::{
    AUDIO_HEADER, Client, HttpResponse, VIDEO_HEADER, audio, http, options, origin, picture, until,
};
use sipcast_media::rtmp::message_type::{AUDIO, DATA_AMF0, VIDEO};

#[tokio::test]
async fn playback_over_http() {
    let origin = origin(options());
    let address = http(&origin).await;
    let mut publisher = Client::publisher(origin.rtmp_address(), "key?token=secret").await;
    publisher.send(VIDEO, 7_000, &picture(true, 100)).await;
    publisher.send(VIDEO, 7_033, &picture(false, 50)).await;
    publisher.send(VIDEO, 7_066, &picture(true, 80_000)).await;
    publisher.send(AUDIO, 7_070, &audio()).await;
    until("five messages with media", || origin.statistics().messages() == 4).await;

    let mut player = HttpResponse::of(address, "GET", "/live/key.flv?x=y").await;
    for line in ["200 ok", "content-type: video/x-flv", "access-control-allow-origin: *", "no-cache"] {
        assert!(player.head.contains(line), "{line}: {}", player.head);
    }
    assert_eq!(player.bytes(13).await.expect("header"), b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
    let (kind, timestamp_ms, metadata) = player.tag().await.expect("metadata");
    assert_eq!((kind, timestamp_ms, &metadata[3..13]), (DATA_AMF0, 0, &b"onMetaData"[..]));
    assert_eq!(player.tag().await, Some((VIDEO, 0, Bytes::from_static(VIDEO_HEADER))));
    assert_eq!(player.tag().await, Some((AUDIO, 0, Bytes::from_static(AUDIO_HEADER))));
    assert_eq!(player.tag().await, Some((VIDEO, 0, picture(true, 80_000).into())));
    assert_eq!(player.tag().await, Some((AUDIO, 4, audio().into())));
    publisher.send(VIDEO, 7_100, &picture(false, 60)).await;
    assert_eq!(player.tag().await, Some((VIDEO, 34, picture(false, 60).into())));
    assert_eq!(origin.statistics().players, 1);

    publisher.unpublish().await;
    assert_eq!(player.tag().await, None);
    until("the player has left", || origin.statistics().players == 0).await;
    let gone = HttpResponse::of(address, "GET", "/live/key.flv").await;
    assert!(gone.head.contains("404") && gone.head.contains("application/json"), "{}", gone.head);
    assert!(gone.head.contains("access-control-allow-origin: *"));
    assert!(gone.rest().await.starts_with(b"{\"status\":404"));
    let statistics = origin.statistics();
    assert_eq!((statistics.messages(), statistics.streams.len()), (5, 0));
}

#[tokio::test]
async fn requests_that_name_no_stream() {
    let origin = origin(options());
    let address = http(&origin).await;
    for path in
        ["/live/key.flv", "/live/key", "/live/.flv", "/live/a%2Fb.flv", "/live/a%00.flv", "/live/%ff.flv"]
    {
        let response = HttpResponse::of(address, "GET", path).await;
        assert!(
            response.head.contains(" 404 ") || response.head.contains(" 400 "),
            "{path}: {}",
            response.head
        );
    }
    let preflight = HttpResponse::of(address, "OPTIONS", "/live/key.flv").await;
    assert!(
        preflight.head.contains("204") && preflight.head.contains("allow-methods: get"),
        "{}",
        preflight.head
    );
    let post = HttpResponse::of(address, "POST", "/live/key.flv").await;
    assert!(post.head.contains("405"), "{}", post.head);
}

#[tokio::test]
async fn an_audio_only_stream_says_so() {
    let origin = origin(options());
    let address = http(&origin).await;
    let mut publisher = Client::connect(origin.rtmp_address(), "live").await;
    publisher.publish("radio").await;
    publisher.send(AUDIO, 0, AUDIO_HEADER).await;
    until("the header", || origin.statistics().bytes() > 0).await;
    let mut player = HttpResponse::of(address, "GET", "/live/radio.flv").await;
    publisher.send(AUDIO, 500, &audio()).await;
    assert_eq!(player.bytes(13).await.expect("header")[4], 4);
    assert_eq!(player.tag().await, Some((AUDIO, 0, Bytes::from_static(AUDIO_HEADER))));
    assert_eq!(player.tag().await, Some((AUDIO, 0, audio().into())));
}
