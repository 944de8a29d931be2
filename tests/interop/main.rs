//! Scenarios of the whole process against real peers. `tests/run` installs the peers.

mod support;

mod baresip_to_nginx;
mod command_line;
mod demo_page;
mod hostile_input;
mod kamailio_in_front;
mod rtmp_server_restarts;
mod sipp_callee;
