//! One RTP stream with its RTCP, as one media description agreed on it: who may send, in which order packets
//! come, reports out, keep-alives out. Takes: datagrams, the agreed transport. Gives: packets in order,
//! datagrams to send. Leaves out: what payloads mean (`audio`, `video`).

use std::net::SocketAddr;

use sipcast_contract::Timestamp;
use sipcast_contract::media::MediaTransport;
use sipcast_contract::statistics::StreamStatistics;
use sipcast_pool::{Arena, Segment};

use super::keep_alive::KeepAlive;
use super::protection::Protection;
use super::{Port, Transmit};
use crate::rtp::rtcp::{
    self, BitRateEntry, Cname, CompoundWriter, NoRoom, ReportBlock, ReportSchedule, RtcpPacket, SenderReport,
};
use crate::rtp::{
    Admission, Demultiplexed, Latch, NackEntries, Received, Receiver, RtpPacket, RtpSender, SenderClock,
    demultiplex,
};
use crate::srtp::SrtpError;

/// One RTP stream in receive.
#[derive(Debug)]
pub(super) struct RtpStream {
    ports: Ports,
    /// What we send ourselves; reports bear its SSRC.
    sender: RtpSender,
    cname: Cname,
    /// `None`: the description was not agreed on.
    transport: Option<MediaTransport>,
    protection: Protection,
    /// Made with the first transport.
    latch: Option<Latch>,
    receiver: Receiver,
    /// A packet that waits until the one before it, which was held back, has been polled.
    follower: Option<RtpPacket>,
    reports: ReportSchedule,
    /// A report is wanted at once: to open the way for the peer's RTCP.
    is_report_due: bool,
    keep_alive: KeepAlive,
    /// Media came from where it is expected since the peer's address was last agreed on.
    is_heard: bool,
    /// The source of before that, which may go on for a moment.
    source_before: Option<SocketAddr>,
    goodbye: Goodbye,
    /// The peer said BYE for its stream and has sent nothing since.
    has_left: bool,
    /// The bit rate that the peer said it keeps to, until it is taken.
    bit_rate_notified: Option<u64>,
    /// The peer asked for an IDR picture of ours, until it is taken.
    is_keyframe_wanted: bool,
}

/// The local ports of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) rtp: Port,
    pub(super) rtcp: Port,
}

/// What the agreed transport changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportChange {
    /// Nothing that concerns packets.
    None,
    /// The peer takes up sending again, or sends from elsewhere.
    Resumed,
    /// The peer stops sending.
    Held,
}

/// BYE on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    NotYet,
    Due,
    Said,
}

/// Requests to ride behind a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) pli: bool,
    /// Command number of a Full Intra Request.
    pub(super) fir: Option<u8>,
    /// Bit rate to keep to, in bits per second.
    pub(super) bit_rate_bps: Option<u32>,
}

impl RtpStream {
    /// `clock_rate_hz`: of what we send.
    pub(super) fn new(
        ports: Ports,
        receiver: Receiver,
        clock_rate_hz: u32,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            ports,
            sender: RtpSender::new(clock_rate_hz, seed, now),
            cname: Cname::from_seed(seed),
            transport: None,
            protection: Protection::default(),
            latch: None,
            receiver,
            follower: None,
            reports: ReportSchedule::new(seed, now),
            is_report_due: false,
            keep_alive: KeepAlive::default(),
            is_heard: false,
            source_before: None,
            goodbye: Goodbye::NotYet,
            has_left: false,
            bit_rate_notified: None,
            is_keyframe_wanted: false,
        }
    }

    /// Takes the agreed transport. A changed address lets the source be learnt anew.
    pub(super) fn set_transport(
        &mut self,
        transport: Option<&MediaTransport>,
        now: Timestamp,
    ) -> TransportChange {
        let before = std::mem::replace(&mut self.transport, transport.cloned());
        self.protection.set_session(transport.and_then(|transport| transport.srtp.as_deref()), now);
        if !transport.is_some_and(receives) {
            self.receiver.forget_missing();
        }
        let Some(transport) = transport else {
            self.keep_alive.stop();
            return if before.as_ref().is_some_and(receives) {
                TransportChange::Held
            } else {
                TransportChange::None
            };
        };
        let source_before =
            self.latch.as_ref().filter(|latch| latch.is_latched()).and_then(Latch::remote_rtp);
        match &mut self.latch {
            Some(latch) => latch.set_transport(transport, now),
            None => self.latch = Some(Latch::new(transport)),
        }
        let is_moved = before.as_ref().is_none_or(|before| before.remote_rtp != transport.remote_rtp);
        if is_moved {
            self.is_report_due = true;
            self.is_heard = false;
            self.source_before = source_before;
            match transport.remote_rtp {
                Some(_) => self.keep_alive.begin(now),
                None => self.keep_alive.stop(),
            }
        }
        match (before.as_ref().is_some_and(receives), receives(transport)) {
            (true, false) => TransportChange::Held,
            (false, true) => TransportChange::Resumed,
            (true, true) if is_moved => TransportChange::Resumed,
            _ => TransportChange::None,
        }
    }

    /// Whether the peer is expected to send.
    pub(super) fn is_receiving(&self) -> bool {
        self.transport.as_ref().is_some_and(receives) && !self.has_left
    }

    /// Takes a datagram of either port; `agreed` says what a payload type was agreed on for. RTP goes into order; poll it with [`RtpStream::poll`].
    pub(super) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: Segment,
        arrival: Timestamp,
        agreed: impl Fn(u8) -> Agreed,
    ) {
        // RFC 5761 §4: told apart by content on both ports; some peers multiplex without saying so. What tells
        // them apart is not encrypted. Nothing learns from a packet whose tag is wrong, the latch least of all.
        match demultiplex(&datagram) {
            Demultiplexed::Rtp => match self.protection.unprotect_rtp(datagram, arrival) {
                Ok(datagram) => self.handle_rtp(from, datagram, arrival, agreed),
                Err(error) => self.count_unprotected(error),
            },
            Demultiplexed::Rtcp => match self.protection.unprotect_rtcp(datagram, arrival) {
                Ok(datagram) => self.handle_rtcp(from, &datagram, arrival),
                Err(error) => self.count_unprotected(error),
            },
            // Peers behind NATs probe and keep alive with it; neither media nor a fault.
            Demultiplexed::Stun => {}
            Demultiplexed::Other => self.receiver.count_malformed(),
        }
    }

    /// The next packet in order, loss or restart; poll until `None` after each datagram and timeout.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Received> {
        if let Some(received) = self.receiver.poll(now) {
            return Some(received);
        }
        let follower = self.follower.take()?;
        // If it is not taken, the receiver has counted why.
        let _ = self.receiver.push(follower, now);
        self.receiver.poll(now)
    }

    pub(super) fn sender_clock(&self) -> Option<SenderClock> {
        self.receiver.sender_clock()
    }

    pub(super) fn last_arrival(&self) -> Option<Timestamp> {
        self.receiver.last_arrival()
    }

    /// The RTP stream that we send.
    pub(super) fn sender_mut(&mut self) -> &mut RtpSender {
        &mut self.sender
    }

    /// Whether lost packets may be asked for again.
    pub(super) fn set_retransmission(&mut self, is_agreed: bool) {
        self.receiver.set_retransmission(is_agreed);
    }

    /// The SSRC that is heard.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.receiver.ssrc()
    }

    /// The bit rate that the peer said it keeps to since this was last asked.
    pub(super) fn take_bit_rate_notified(&mut self) -> Option<u64> {
        self.bit_rate_notified.take()
    }

    /// Whether the peer asked for an IDR picture of ours since this was last asked.
    pub(super) fn take_keyframe_wanted(&mut self) -> bool {
        std::mem::take(&mut self.is_keyframe_wanted)
    }

    /// An RTP packet of ours, header in front, ready to be sent; `None` when the pool is exhausted, or the keys are
    /// used up.
    pub(super) fn transmit_rtp(
        &mut self,
        to: SocketAddr,
        packet: &[u8],
        now: Timestamp,
        arena: &mut Arena,
    ) -> Option<Transmit> {
        let protection = &mut self.protection;
        let written = arena.write_with(packet.len() + Protection::TRAILER_LEN_MAX, |out| {
            out[..packet.len()].copy_from_slice(packet);
            protection.protect_rtp(out, packet.len())
        });
        let payload = written.ok().filter(|payload| !payload.is_empty())?;
        self.sender.record(packet.len().saturating_sub(RtpSender::HEADER_LEN), now);
        Some(Transmit { port: self.ports.rtp, to, payload })
    }

    pub(super) fn count_malformed(&mut self) {
        self.receiver.count_malformed();
    }

    /// A datagram came long before anything was agreed on: its payload type means nothing.
    pub(super) fn count_unagreed(&mut self) {
        self.receiver.count_unknown_payload_type();
    }

    pub(super) fn statistics(&self) -> StreamStatistics {
        self.receiver.statistics()
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let is_reporting = self.transport.is_some() && self.goodbye == Goodbye::NotYet;
        let reports = is_reporting.then(|| self.reports.next_timeout());
        let timeouts = [
            self.receiver.next_timeout(),
            self.receiver.next_retransmission(),
            reports,
            self.keep_alive.next_timeout(),
        ];
        timeouts.into_iter().flatten().min()
    }

    /// Says goodbye with the next report.
    pub(super) fn close(&mut self) {
        self.keep_alive.stop();
        if self.goodbye == Goodbye::NotYet && self.transport.is_some() {
            self.goodbye = Goodbye::Due;
        }
    }

    /// Where a keep-alive packet is to be sent now: to the agreed address until the peer is heard, which opens
    /// the way, then to where its media comes from.
    pub(super) fn poll_keep_alive(&mut self, now: Timestamp) -> Option<SocketAddr> {
        if !self.keep_alive.poll(self.is_heard, now) || self.sender.is_flowing(now) {
            return None;
        }
        if self.is_heard { self.rtp_destination() } else { self.transport.as_ref()?.remote_rtp }
    }

    /// A report with what is asked for, if one is due or something is asked for.
    pub(super) fn poll_report(
        &mut self,
        requests: Requests,
        now: Timestamp,
        arena: &mut Arena,
    ) -> Option<Transmit> {
        let nacks = self.receiver.poll_retransmission(now);
        self.transport.as_ref()?;
        let is_goodbye = self.goodbye == Goodbye::Due;
        let is_scheduled = self.goodbye == Goodbye::NotYet && self.reports.poll(now);
        let is_asking = requests != Requests::default() || !nacks.is_empty();
        if !(is_scheduled || self.is_report_due || is_goodbye || is_asking) {
            return None;
        }
        let is_opening = std::mem::take(&mut self.is_report_due) && !self.is_heard;
        if is_goodbye {
            self.goodbye = Goodbye::Said;
        }
        // The first report opens the way at the agreed address; the others go to where the peer really is.
        let agreed = if is_opening { self.transport.as_ref()?.remote_rtcp } else { None };
        let to = agreed.or_else(|| self.latch.as_ref()?.remote_rtcp())?;
        let compound = Compound {
            ssrc: self.sender.ssrc(),
            report: self.sender.report(now),
            block: self.receiver.report_block(now),
            cname: &self.cname,
            media_ssrc: self.receiver.ssrc().unwrap_or(0),
            nacks,
            requests,
            is_goodbye,
        };
        let protection = &mut self.protection;
        let len_max = CompoundWriter::LEN_MAX + Protection::TRAILER_LEN_MAX;
        let written = arena.write_with(len_max, |out| {
            let len = compound.write(&mut out[..CompoundWriter::LEN_MAX]);
            if len == 0 { 0 } else { protection.protect_rtcp(out, len) }
        });
        // An exhausted pool drops the report; the next one comes in seconds.
        let payload = written.ok().filter(|payload| !payload.is_empty())?;
        let is_multiplexed = self.transport.as_ref().is_some_and(|transport| transport.rtcp_mux);
        let port = if is_multiplexed { self.ports.rtp } else { self.ports.rtcp };
        Some(Transmit { port, to, payload })
    }

    /// Where our RTP goes; `None` while the peer has no address or the description was not agreed on.
    pub(super) fn rtp_destination(&self) -> Option<SocketAddr> {
        self.transport.as_ref()?.remote_rtp?;
        self.latch.as_ref()?.remote_rtp()
    }

    fn handle_rtp(
        &mut self,
        from: SocketAddr,
        datagram: Segment,
        arrival: Timestamp,
        agreed: impl Fn(u8) -> Agreed,
    ) {
        let Ok(packet) = RtpPacket::parse(datagram, arrival) else {
            self.receiver.count_malformed();
            return;
        };
        let payload = agreed(packet.payload_type);
        let is_agreed = payload != Agreed::No;
        let agreed = self.transport.as_ref().and_then(|transport| transport.remote_rtp);
        let Some(latch) = &mut self.latch else {
            // Media that comes before anything was agreed on.
            self.receiver.count_unknown_payload_type();
            return;
        };
        match latch.admit(from, packet, is_agreed, arrival) {
            Admission::Accepted { earlier, packet } => {
                self.has_left = false;
                self.is_heard |= Some(from) != self.source_before || agreed == Some(from);
                if let Agreed::Media { clock_rate_hz } = payload {
                    self.receiver.set_clock_rate(clock_rate_hz);
                }
                // Packets that are not taken are counted by the receiver.
                if let Some(earlier) = earlier {
                    let _ = self.receiver.push(earlier, arrival);
                    self.follower = Some(packet);
                } else {
                    let _ = self.receiver.push(packet, arrival);
                }
            }
            Admission::Learning => {}
            Admission::Foreign => self.receiver.count_foreign_source(),
            Admission::UnknownPayloadType => self.receiver.count_unknown_payload_type(),
        }
    }

    fn count_unprotected(&mut self, error: SrtpError) {
        match error {
            SrtpError::AuthenticationFailed => self.receiver.count_authentication_failed(),
            SrtpError::Replayed => self.receiver.count_replayed(),
            SrtpError::Malformed | SrtpError::KeyUsedUp | SrtpError::NoRoom => {
                self.receiver.count_malformed();
            }
        }
    }

    fn handle_rtcp(&mut self, from: SocketAddr, datagram: &[u8], arrival: Timestamp) {
        // Before anything is agreed on nobody is foreign; reports come again.
        let Some(latch) = &mut self.latch else { return };
        if !latch.admit_rtcp(from) {
            self.receiver.count_foreign_source();
            return;
        }
        for packet in rtcp::parse(datagram) {
            match packet {
                Ok(RtcpPacket::SenderReport(report, _)) => {
                    self.receiver.handle_sender_report(&report, arrival);
                }
                // RFC 3550 §6.6. A new SSRC may follow, and the call goes on.
                Ok(RtcpPacket::Bye(bye)) => {
                    let heard = self.receiver.ssrc();
                    self.has_left |= bye.ssrcs().any(|ssrc| Some(ssrc) == heard);
                }
                Ok(RtcpPacket::Feedback(feedback)) if feedback.is_bit_rate_notification() => {
                    // RFC 5104 §4.2.2: the bounding set; the lowest bit rate of it is kept to.
                    let bounds = feedback.bit_rate_notifications().map(|entry| entry.bit_rate_bps);
                    self.bit_rate_notified = bounds.min().or(self.bit_rate_notified);
                }
                Ok(RtcpPacket::Feedback(feedback)) => {
                    let ours = self.sender.ssrc();
                    // RFC 4585 §6.3.1, RFC 5104 §4.3.1. A repeated FIR is a repeated wish; wishes are spread anyway.
                    // Packets are not kept to be sent again (RFC 4585 §6.2.1 leaves the repair to the sender): an IDR
                    // picture mends what a lost one spoilt.
                    let is_loss =
                        feedback.is_picture_loss_indication() || feedback.nack_entries().next().is_some();
                    self.is_keyframe_wanted |= (is_loss && feedback.media_ssrc() == ours)
                        || feedback.full_intra_requests().any(|entry| entry.ssrc == ours);
                }
                Ok(_) => {}
                Err(_) => {
                    self.receiver.count_malformed();
                    return;
                }
            }
        }
    }
}

/// What a payload type was agreed on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreed {
    /// Nothing.
    No,
    /// Sound or pictures, whose RTP clock has this rate.
    Media {
        /// In Hz.
        clock_rate_hz: u32,
    },
    /// What goes along with them in their clock (RFC 4733 §2.1, RFC 3389 §4).
    Beside,
}

/// One compound packet of ours.
struct Compound<'a> {
    ssrc: u32,
    /// Who sends media makes sender reports, others receiver reports (RFC 3550 §6.4).
    report: Option<SenderReport>,
    block: Option<ReportBlock>,
    cname: &'a Cname,
    /// The source that is asked.
    media_ssrc: u32,
    nacks: NackEntries,
    requests: Requests,
    is_goodbye: bool,
}

impl Compound<'_> {
    /// Gives its length. The longest fits `LEN_MAX`; if it did not, what was written is whole all the same.
    fn write(&self, out: &mut [u8]) -> usize {
        let begun = match &self.report {
            Some(report) => CompoundWriter::begin_as_sender(out, report, self.block.as_ref(), self.cname),
            None => CompoundWriter::begin(out, self.ssrc, self.block.as_ref(), self.cname),
        };
        let Ok(mut writer) = begun else { return 0 };
        let _ = self.write_rest(&mut writer);
        writer.finish()
    }

    fn write_rest(&self, writer: &mut CompoundWriter<'_>) -> Result<(), NoRoom> {
        if !self.nacks.is_empty() {
            writer.generic_nack(self.ssrc, self.media_ssrc, self.nacks.as_slice())?;
        }
        if self.requests.pli {
            writer.picture_loss_indication(self.ssrc, self.media_ssrc)?;
        }
        if let Some(sequence_number) = self.requests.fir {
            writer.full_intra_request(self.ssrc, self.media_ssrc, sequence_number)?;
        }
        if let Some(bit_rate_bps) = self.requests.bit_rate_bps {
            let (ssrc, bit_rate_bps) = (self.media_ssrc, bit_rate_bps.into());
            let entry = BitRateEntry { ssrc, bit_rate_bps, overhead: PACKET_OVERHEAD };
            writer.bit_rate_request(self.ssrc, entry)?;
        }
        if self.is_goodbye { writer.bye(self.ssrc) } else { Ok(()) }
    }
}

fn receives(transport: &MediaTransport) -> bool {
    transport.remote_rtp.is_some() && transport.direction.receives()
}

/// Bytes of IPv4, UDP and RTP headers in front of a payload (RFC 5104 §4.2.1.1: measured overhead).
const PACKET_OVERHEAD: u16 = 40;
