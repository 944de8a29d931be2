//! DTMF goes to where the peer's sound comes from; without telephone-event it is refused.

mod sim;

use sim::{World, address, both};
use sipcast_contract::dtmf;
use sipcast_media::pipeline::{Event, Port};

#[test]
fn digits_are_sent_to_the_real_source() {
    let mut world = World::new(121);
    world.callee.audio_from = address("198.51.100.9:7000");
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.run(500);
    assert!(world.send_dtmf(&dtmf::parse("1#").expect("digits")));
    world.run(1500);
    let events: Vec<_> =
        world.sent.iter().filter(|sent| sent.port == Port::AudioRtp && sent.bytes[1] & 0x7f == 101).collect();
    assert!(events.iter().all(|sent| sent.to == address("198.51.100.9:7000")));
    assert_eq!(events.iter().filter(|sent| sent.bytes[1] & 0x80 != 0).count(), 2, "one marker a digit");
    assert_eq!(events.iter().filter(|sent| sent.bytes[13] & 0x80 != 0).count(), 6, "three ends a digit");
    assert_eq!(world.events.iter().filter(|event| **event == Event::DtmfSent).count(), 1);
    world.finish();
}

#[test]
fn without_an_agreement_they_are_refused() {
    let mut world = World::new(122);
    let mut media = both();
    media.audio.as_mut().expect("audio").telephone_event = None;
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    assert!(!world.send_dtmf(&dtmf::parse("1").expect("a digit")));
    world.finish();
}
