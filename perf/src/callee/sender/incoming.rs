//! What comes back to a sender: RTCP with feedback and reports, RTP with DTMF.
//! Takes: datagrams. Gives: counts, events, wishes for an IDR picture.
//! Leaves out: sockets, and whose datagram it is (`sender`).

use super::super::encoder::RTP_HEADER_LEN;
use super::super::rtcp::{self, Feedback};
use super::super::statistics::{CalleeEvent, CalleeStatistics, Tally};
use super::session::Session;

/// Takes a datagram from the session's peer; `None` when it is neither RTP nor RTCP.
pub fn handle(
    session: &mut Session,
    datagram: &[u8],
    counted: &mut CalleeStatistics,
    tally: &Tally,
) -> Option<()> {
    match datagram {
        // RFC 5761 §4: packet types 192 to 223 are RTCP.
        [first, 192..=223, ..] if first >> 6 == 2 => handle_rtcp(session, datagram, counted, tally),
        [first, ..] if first >> 6 == 2 => handle_rtp(session, datagram, counted, tally),
        _ => None,
    }
}

fn handle_rtcp(
    session: &mut Session,
    datagram: &[u8],
    counted: &mut CalleeStatistics,
    tally: &Tally,
) -> Option<()> {
    let feedback = rtcp::parse(datagram)?;
    counted.rtcp_received += 1;
    for message in feedback {
        match message {
            Feedback::PictureLoss => counted.plis += 1,
            Feedback::FullIntraRequest(number) => {
                // RFC 5104 §4.3.1.1: the same number again is the same command.
                if session.latest_fir.replace(number) == Some(number) {
                    continue;
                }
                counted.firs += 1;
            }
            Feedback::Reception { ssrc, lost } => {
                for stream in [&mut session.audio, &mut session.video] {
                    if stream.ssrc == ssrc {
                        counted.lost_reported += i64::from(lost) - i64::from(stream.lost_reported);
                        stream.lost_reported = lost;
                    }
                }
                continue;
            }
            Feedback::Bye => continue,
        }
        session.idr_wanted = true;
        tally.announce(CalleeEvent::KeyframeRequested { call_id: session.call_id.clone() });
    }
    Some(())
}

fn handle_rtp(
    session: &mut Session,
    datagram: &[u8],
    counted: &mut CalleeStatistics,
    tally: &Tally,
) -> Option<()> {
    let header = datagram.first_chunk::<RTP_HEADER_LEN>()?;
    counted.rtp_received += 1;
    let payload_type = header[1] & 0x7f;
    if session.plan.audio.and_then(|audio| audio.telephone_event) != Some(payload_type) {
        return Some(());
    }
    let mut payload = datagram.get(RTP_HEADER_LEN + 4 * usize::from(header[0] & 0x0f)..)?;
    if header[0] & 0x10 != 0 {
        let extension = payload.first_chunk::<4>()?;
        payload = payload.get(4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]))..)?;
    }
    let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    if let Some(digit) = session.events.push(timestamp, payload) {
        counted.digits += 1;
        tally.announce(CalleeEvent::Digit { call_id: session.call_id.clone(), digit });
    }
    Some(())
}
