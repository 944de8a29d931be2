//! What is used of libspeex 1.2.1, by its headers `speex.h` and `speex_bits.h`.

use std::ffi::{c_char, c_int, c_void};

/// `SpeexBits`: a run of bits in memory that the caller owns.
#[repr(C)]
pub(super) struct Bits {
    pub(super) chars: *mut c_char,
    pub(super) bit_count: c_int,
    pub(super) char_position: c_int,
    pub(super) bit_position: c_int,
    pub(super) owner: c_int,
    pub(super) overflow: c_int,
    pub(super) buffer_size: c_int,
    pub(super) reserved1: c_int,
    pub(super) reserved2: *mut c_void,
}

/// `SpeexMode`: a constant of the library.
#[repr(C)]
pub(super) struct Mode {
    _opaque: [u8; 0],
}

pub(super) const SET_QUALITY: c_int = 4;
pub(super) const SET_VBR: c_int = 12;
pub(super) const SET_COMPLEXITY: c_int = 16;
pub(super) const RESET_STATE: c_int = 26;
pub(super) const SET_VAD: c_int = 30;
pub(super) const SET_DTX: c_int = 34;
pub(super) const GET_LOOKAHEAD: c_int = 39;

unsafe extern "C" {
    pub(super) fn speex_lib_get_mode(mode: c_int) -> *const Mode;
    pub(super) fn speex_decoder_init(mode: *const Mode) -> *mut c_void;
    pub(super) fn speex_decoder_destroy(state: *mut c_void);
    pub(super) fn speex_decode(state: *mut c_void, bits: *mut Bits, out: *mut f32) -> c_int;
    pub(super) fn speex_decoder_ctl(state: *mut c_void, request: c_int, argument: *mut c_void) -> c_int;
    pub(super) fn speex_encoder_init(mode: *const Mode) -> *mut c_void;
    pub(super) fn speex_encoder_destroy(state: *mut c_void);
    pub(super) fn speex_encode_int(state: *mut c_void, pcm: *mut i16, bits: *mut Bits) -> c_int;
    pub(super) fn speex_encoder_ctl(state: *mut c_void, request: c_int, argument: *mut c_void) -> c_int;
    pub(super) fn speex_bits_init_buffer(bits: *mut Bits, buffer: *mut c_void, size: c_int);
    pub(super) fn speex_bits_set_bit_buffer(bits: *mut Bits, buffer: *mut c_void, size: c_int);
    pub(super) fn speex_bits_nbytes(bits: *mut Bits) -> c_int;
    pub(super) fn speex_bits_insert_terminator(bits: *mut Bits);
}
