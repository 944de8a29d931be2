//! Scenarios of the whole process against real peers. `tests/run` installs the peers.

mod support;

mod aac_quality;
mod baresip_to_nginx;
mod baresip_with_srtp;
mod codecs;
mod command_line;
mod compared_with_peers;
mod demo_page;
mod grpc;
mod hostile_input;
mod kamailio_in_front;
mod load_harness;
mod openapi;
mod refused_by_answer;
mod rtmp_dissected;
mod rtmp_fan_out;
mod rtmp_peers;
mod rtmp_server_restarts;
mod rtmps;
mod service_profiles;
mod sip_ways;
mod sipp_callee;
mod softphones;
mod sounds_and_streams;
mod srtp_against_others;
