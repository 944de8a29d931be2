//! FLV tag bodies and what they are built from: parameter sets of H.264 in, configuration records and tags out.

use sipcast_media::flv::{audio, tag, video};
use sipcast_media::h264::ParameterSets;

use crate::input::Input;

/// Asks every reader about the bytes, then builds a record from them as NAL units and reads it back.
pub fn bodies(data: &[u8]) {
    let _ = (audio::is_sequence_header(data), video::is_sequence_header(data), video::is_key_frame(data));
    let mut tags = Vec::new();
    tag::write_tag(&mut tags, tag::TagType::Video, u32::from(data.first().copied().unwrap_or(0)) << 24, data);
    // Adobe FLV 10.1 §E.3, §E.4.1: 11 bytes of header, the body, 4 bytes with the size of both.
    assert_eq!(tags.len(), 11 + data.len() + 4);
    let size = u32::from_be_bytes(tags[tags.len() - 4..].try_into().expect("4 bytes"));
    assert_eq!(size as usize, 11 + data.len());

    let mut input = Input::new(data);
    let mut sets = ParameterSets::default();
    while !input.is_empty() {
        // A set that cannot be read is refused; the ones before it stay.
        let _ = sets.collect(input.counted(512));
    }
    let sps: Vec<&[u8]> = sets.sps().map(|set| &set[..]).collect();
    let pps: Vec<&[u8]> = sets.pps().map(|set| &set[..]).collect();
    if let Ok(record) = video::avc_decoder_configuration_record(&sps, &pps) {
        let counted: usize = sps.iter().chain(&pps).map(|set| set.len() + 2).sum();
        assert!(record.len() >= 7 + counted, "every parameter set is in the record");
    }
}
