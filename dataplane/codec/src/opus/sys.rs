//! What is used of libopus 1.6.1, by its header `opus.h`.

use std::ffi::{c_int, c_uchar};

/// A decoder; only libopus looks inside.
#[repr(C)]
pub(super) struct Decoder {
    _opaque: [u8; 0],
}

/// An encoder; only libopus looks inside.
#[repr(C)]
pub(super) struct Encoder {
    _opaque: [u8; 0],
}

pub(super) const APPLICATION_VOIP: c_int = 2048;
pub(super) const APPLICATION_AUDIO: c_int = 2049;
pub(super) const SET_BITRATE: c_int = 4002;
pub(super) const SET_INBAND_FEC: c_int = 4012;
pub(super) const SET_PACKET_LOSS_PERC: c_int = 4014;
pub(super) const SET_DTX: c_int = 4016;
pub(super) const GET_LOOKAHEAD: c_int = 4027;
pub(super) const RESET_STATE: c_int = 4028;

unsafe extern "C" {
    pub(super) fn opus_decoder_get_size(channels: c_int) -> c_int;
    pub(super) fn opus_decoder_init(decoder: *mut Decoder, rate_hz: i32, channels: c_int) -> c_int;
    pub(super) fn opus_decode(
        decoder: *mut Decoder,
        data: *const c_uchar,
        len: i32,
        pcm: *mut i16,
        frame_size: c_int,
        decode_fec: c_int,
    ) -> c_int;
    pub(super) fn opus_decoder_ctl(decoder: *mut Decoder, request: c_int, ...) -> c_int;
    pub(super) fn opus_packet_get_nb_samples(packet: *const c_uchar, len: i32, rate_hz: i32) -> c_int;
    pub(super) fn opus_encoder_get_size(channels: c_int) -> c_int;
    pub(super) fn opus_encoder_init(
        encoder: *mut Encoder,
        rate_hz: i32,
        channels: c_int,
        application: c_int,
    ) -> c_int;
    pub(super) fn opus_encode(
        encoder: *mut Encoder,
        pcm: *const i16,
        frame_size: c_int,
        data: *mut c_uchar,
        len_max: i32,
    ) -> i32;
    pub(super) fn opus_encoder_ctl(encoder: *mut Encoder, request: c_int, ...) -> c_int;
}
