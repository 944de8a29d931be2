//! RTMP play: headers, the picture, live media, the end.

mod client;

use bytes::Bytes;
use client::{AUDIO_HEADER, Client, VIDEO_HEADER, audio, options, origin, picture, until};
use sipcast_media::rtmp::message_type::{AUDIO, DATA_AMF0, VIDEO};

#[tokio::test]
async fn playback_over_rtmp() {
    let origin = origin(options());
    let address = origin.rtmp_address();
    let mut publisher = Client::publisher(address, "key").await;
    publisher.send(VIDEO, 0xffff_fff0, &picture(true, 100_000)).await;
    until("a picture", || origin.statistics().messages() == 1).await;

    let mut player = Client::connect(address, "live").await;
    assert_eq!(player.play("key").await, "NetStream.Play.Start");
    assert_eq!(player.next_media().await.expect("metadata").0, DATA_AMF0);
    assert_eq!(player.next_media().await, Some((VIDEO, 0, Bytes::from_static(VIDEO_HEADER))));
    assert_eq!(player.next_media().await, Some((AUDIO, 0, Bytes::from_static(AUDIO_HEADER))));
    assert_eq!(player.next_media().await, Some((VIDEO, 0, picture(true, 100_000).into())));
    // RTMP time wraps at 2^32; the player's does not notice.
    publisher.send(AUDIO, 5, &audio()).await;
    assert_eq!(player.next_media().await, Some((AUDIO, 21, audio().into())));

    publisher.unpublish().await;
    assert_eq!(player.status().await, "NetStream.Play.UnpublishNotify");
    assert!(player.next().await.is_none());
    let mut late = Client::connect(address, "live").await;
    assert_eq!(late.play("key").await, "NetStream.Play.StreamNotFound");
    assert_eq!(late.status().await, "closed");
}

#[tokio::test]
async fn a_hundred_players_get_the_same() {
    let origin = origin(options());
    let address = origin.rtmp_address();
    let mut publisher = Client::publisher(address, "key").await;
    publisher.send(VIDEO, 0, &picture(true, 10)).await;
    until("a picture", || origin.statistics().messages() == 1).await;
    let mut players = Vec::new();
    for _ in 0..100 {
        let mut player = Client::connect(address, "live").await;
        assert_eq!(player.play("key").await, "NetStream.Play.Start");
        players.push(player);
    }
    for n in 1..30 {
        publisher.send(VIDEO, n * 33, &picture(false, 1_000 + n as usize)).await;
    }
    for player in &mut players {
        for _ in 0..4 {
            player.next_media().await.expect("headers and picture");
        }
        for n in 1..30 {
            assert_eq!(
                player.next_media().await,
                Some((VIDEO, n * 33, picture(false, 1_000 + n as usize).into()))
            );
        }
    }
    assert_eq!(origin.statistics().streams[0].players, 100);
}
