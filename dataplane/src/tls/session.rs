//! One TLS connection, the client's side: handshake, then records in both directions.
//! Takes: bytes of the server, segments to send. Gives: bytes to send, plain text, what became of the handshake.
//! Leaves out: sockets, RTMP, time (the target has a deadline for the whole of connecting).
//!
//! | state     | takes                       | then                                                    |
//! |-----------|-----------------------------|---------------------------------------------------------|
//! | Handshake | ServerHello ... Finished    | Open, by way of the keys that rustls gives out          |
//! | Open      | data                        | plain text                                              |
//! |           | KeyUpdate (1.3 §4.6.3)      | new key for receiving, and ours when asked              |
//! |           | NewSessionTicket (1.3)      | remembered for the next connection                      |
//! |           | close_notify                | [`Heard::closed`]                                       |

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage, ProtocolVersion};
use sipcast_contract::report::TargetFault;

use super::records::{self, ALERT, APPLICATION_DATA, Broken, HANDSHAKE, Keys, PLAIN_LEN_MAX};

/// Bytes that a session may have to say for itself before they are taken: a handshake flight, key updates.
pub const OUTGOING_LEN_MAX: usize = 16 << 10;

/// A TLS connection.
pub struct Session {
    state: State,
    /// Records that are not complete yet.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Handshake messages after the handshake that are not complete yet.
    handshake: Vec<u8>,
    has_heard: bool,
}

enum State {
    Handshake(Box<UnbufferedClientConnection>),
    Open(Box<Open>),
    /// Broken; nothing more can be done.
    Over,
}

struct Open {
    kernel: KernelConnection<ClientConnectionData>,
    tx: Keys,
    rx: Keys,
    is_tls13: bool,
}

/// What came of bytes of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The handshake is done, with these bytes.
    pub opened: bool,
    /// The server said that nothing more comes.
    pub closed: bool,
}

impl Session {
    /// Begins a handshake with `host`, which goes into SNI unless it is an address (RFC 6066 §3).
    ///
    /// # Errors
    /// [`TargetFault::Tls`] for a host that no certificate can name.
    pub fn new(settings: &Arc<ClientConfig>, host: &str) -> Result<Self, TargetFault> {
        let name =
            ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| TargetFault::Tls)?;
        let connection =
            UnbufferedClientConnection::new(settings.clone(), name).map_err(|_| TargetFault::Tls)?;
        let mut session = Self {
            state: State::Handshake(Box::new(connection)),
            incoming: Vec::new(),
            outgoing: Vec::with_capacity(2048),
            handshake: Vec::new(),
            has_heard: false,
        };
        session.shake_hands(&mut Vec::new())?;
        Ok(session)
    }

    /// Takes bytes of the server; appends plain text to `plain`.
    ///
    /// # Errors
    /// What broke the connection; [`Session::take_outgoing`] then gives the alert for the server.
    pub fn handle_input(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Heard, TargetFault> {
        // An RTMP server answers with its version, a TLS server with a handshake record or an alert.
        let begins_tls = matches!(bytes.first(), Some(&(ALERT | HANDSHAKE)));
        if !std::mem::replace(&mut self.has_heard, true) && !begins_tls {
            self.state = State::Over;
            return Err(TargetFault::NoTls);
        }
        self.incoming.extend_from_slice(bytes);
        if self.incoming.len() > INCOMING_LEN_MAX {
            self.state = State::Over;
            return Err(TargetFault::Tls);
        }
        let was_open = self.is_open();
        let mut heard = Heard::default();
        if !was_open {
            heard.closed = self.shake_hands(plain)?;
        }
        if self.is_open() {
            heard.opened = !was_open;
            heard.closed |= self.read_records(plain)?;
        }
        Ok(heard)
    }

    /// Appends `pieces`, encrypted, to `out`, behind what the session has to say itself. Copies each byte once: into
    /// its record.
    ///
    /// # Errors
    /// [`TargetFault::Tls`] when the handshake is not done, or the keys are used up.
    pub fn seal<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), TargetFault> {
        let State::Open(open) = &mut self.state else { return Err(TargetFault::Tls) };
        if open.is_tls13 && open.tx.wants_update() {
            open.update_tx(&mut self.outgoing)?;
        }
        out.append(&mut self.outgoing);
        let mut pieces = pieces;
        let mut rest: &[u8] = &[];
        loop {
            while rest.is_empty() {
                match pieces.next() {
                    Some(piece) => rest = piece,
                    None => return Ok(()),
                }
            }
            open.tx.seal(APPLICATION_DATA, out, |out| {
                let mut room = PLAIN_LEN_MAX;
                while room > 0 {
                    if rest.is_empty() {
                        let Some(piece) = pieces.next() else { return };
                        rest = piece;
                        continue;
                    }
                    let (piece, after) = rest.split_at(rest.len().min(room));
                    out.extend_from_slice(piece);
                    room -= piece.len();
                    rest = after;
                }
            })?;
        }
    }

    /// Appends close_notify (RFC 8446 §6.1), or before the handshake is done whatever alert is due.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.outgoing);
        if let State::Open(open) = &mut self.state {
            // Without a key left the connection just ends.
            let _ = open.tx.seal(ALERT, out, |out| out.extend_from_slice(&[WARNING, CLOSE_NOTIFY]));
        }
        self.state = State::Over;
    }

    /// Whether the handshake is done.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the server has said anything yet.
    pub const fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Whether it wants to send something of its own.
    pub const fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Moves what it wants to send of its own behind what `out` holds.
    pub fn take_outgoing(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.outgoing);
    }

    /// Lets rustls work on `incoming` until it wants more or is done; gives whether the server has closed.
    fn shake_hands(&mut self, plain: &mut Vec<u8>) -> Result<bool, TargetFault> {
        let State::Handshake(connection) = &mut self.state else { return Ok(false) };
        let mut fault = None;
        let mut closed = false;
        let done = loop {
            let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut self.incoming);
            let step = match state {
                Err(error) => {
                    fault = Some(fault_of(&error));
                    Step::Break(false)
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|out| data.encode(out), &mut self.outgoing);
                    Step::Again
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Step::Again
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        plain.extend_from_slice(record.payload);
                    }
                    Step::Again
                }
                Ok(ConnectionState::WriteTraffic(_)) => Step::Break(true),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    closed = true;
                    Step::Break(false)
                }
                Ok(_) => Step::Break(false),
            };
            self.incoming.drain(..discard);
            // After an error only the alert that belongs to it may be asked for: what came is not looked at again.
            let is_over = fault.is_some() && !connection.wants_write();
            match step {
                Step::Break(done) if fault.is_none() || is_over => break done,
                Step::Again if is_over => break false,
                _ => {}
            }
        };
        if self.outgoing.len() > OUTGOING_LEN_MAX {
            fault.get_or_insert(TargetFault::Tls);
        }
        if let Some(fault) = fault {
            self.state = State::Over;
            return Err(fault);
        }
        if done && let State::Handshake(connection) = std::mem::replace(&mut self.state, State::Over) {
            self.state = State::Open(Box::new(Open::new(*connection)?));
        }
        Ok(closed)
    }

    /// Decrypts the records that are there whole; gives whether the server has closed.
    fn read_records(&mut self, plain: &mut Vec<u8>) -> Result<bool, TargetFault> {
        let State::Open(open) = &mut self.state else { return Ok(false) };
        let mut begin = 0;
        let result = loop {
            let len = match records::first_record(&self.incoming[begin..]) {
                Ok(Some(len)) => len,
                Ok(None) => break Ok(false),
                Err(Broken) => break Err(TargetFault::Tls),
            };
            let record = &mut self.incoming[begin..begin + len];
            begin += len;
            match open.read(record, plain, &mut self.handshake, &mut self.outgoing) {
                Ok(false) => {}
                over => break over,
            }
        };
        self.incoming.drain(..begin);
        if self.outgoing.len() > OUTGOING_LEN_MAX {
            return Err(TargetFault::Tls); // A server that asks for keys faster than it takes the answers.
        }
        result
    }
}

/// What follows a step of the handshake.
enum Step {
    Again,
    Break(bool),
}

impl Open {
    fn new(connection: UnbufferedClientConnection) -> Result<Self, TargetFault> {
        let (secrets, kernel) =
            connection.dangerous_into_kernel_connection().map_err(|_| TargetFault::Tls)?;
        let is_tls13 = kernel.protocol_version() == ProtocolVersion::TLSv1_3;
        let (tx, rx) = (Keys::new(secrets.tx, is_tls13)?, Keys::new(secrets.rx, is_tls13)?);
        Ok(Self { kernel, tx, rx, is_tls13 })
    }

    /// Takes one record; gives whether the server has closed.
    fn read(
        &mut self,
        record: &mut [u8],
        plain: &mut Vec<u8>,
        handshake: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<bool, TargetFault> {
        let (content_type, content) = self.rx.open(record)?;
        match (content_type, content) {
            (APPLICATION_DATA, data) => {
                plain.extend_from_slice(data);
                Ok(false)
            }
            (ALERT, [_, CLOSE_NOTIFY]) => Ok(true),
            // RFC 8446 §6: every other alert is an error; but for user_canceled, which close_notify follows.
            (ALERT, [_, USER_CANCELED]) => Ok(false),
            (ALERT, [WARNING, _]) if !self.is_tls13 => Ok(false),
            (ALERT, [_, _]) => Err(TargetFault::ClosedByServer),
            (HANDSHAKE, bytes) => {
                handshake.extend_from_slice(bytes);
                if handshake.len() > HANDSHAKE_LEN_MAX {
                    return Err(TargetFault::Tls);
                }
                self.read_handshake(handshake, outgoing)?;
                Ok(false)
            }
            _ => Err(TargetFault::Tls),
        }
    }

    /// Takes the handshake messages that are there whole.
    fn read_handshake(&mut self, bytes: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Result<(), TargetFault> {
        while let &[kind, a, b, c, ref rest @ ..] = &bytes[..] {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(body) = rest.get(..len) else { return Ok(()) };
            match (kind, body) {
                (NEW_SESSION_TICKET, body) if self.is_tls13 => {
                    self.kernel.handle_new_session_ticket(body).map_err(|_| TargetFault::Tls)?;
                }
                // §5.1: nothing may follow it under the old key.
                (KEY_UPDATE, &[is_requested @ (0 | 1)]) if self.is_tls13 && rest.len() == len => {
                    let secrets = self.kernel.update_rx_secret().map_err(|_| TargetFault::Tls)?;
                    self.rx = Keys::new(secrets, true)?;
                    if is_requested == 1 {
                        self.update_tx(outgoing)?;
                    }
                }
                // RFC 5246 §7.4.1.1: a client may ignore it.
                (HELLO_REQUEST, []) if !self.is_tls13 => {}
                _ => return Err(TargetFault::Tls),
            }
            bytes.drain(..4 + len);
        }
        Ok(())
    }

    /// Says KeyUpdate under the old key and sends under a new one from then on (RFC 8446 §4.6.3).
    fn update_tx(&mut self, outgoing: &mut Vec<u8>) -> Result<(), TargetFault> {
        self.tx.seal(HANDSHAKE, outgoing, |out| out.extend_from_slice(&[KEY_UPDATE, 0, 0, 1, 0]))?;
        let secrets = self.kernel.update_tx_secret().map_err(|_| TargetFault::Tls)?;
        self.tx = Keys::new(secrets, true)?;
        Ok(())
    }
}

impl From<Broken> for TargetFault {
    fn from(Broken: Broken) -> Self {
        Self::Tls
    }
}

/// Encodes what rustls has behind `outgoing`, which grows by what is wanted.
fn encode(mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>, outgoing: &mut Vec<u8>) {
    let end = outgoing.len();
    let required = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        _ => return,
    };
    outgoing.resize(end + required, 0);
    let written = encode(&mut outgoing[end..]).unwrap_or(0);
    outgoing.truncate(end + written);
}

fn fault_of(error: &Error) -> TargetFault {
    use CertificateError as Certificate;
    match error {
        Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => TargetFault::CertificateForAnotherHost,
        Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => TargetFault::CertificateExpired,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TargetFault::CertificateRefused,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TargetFault::NoTls,
        // A name-based server that knows no such name (RFC 6066 §3).
        Error::AlertReceived(AlertDescription::UnrecognisedName) => TargetFault::CertificateForAnotherHost,
        _ => TargetFault::Tls,
    }
}

/// Bytes of records that are not complete: the longest handshake message (64 KiB, rustls's limit) and one read.
const INCOMING_LEN_MAX: usize = (64 << 10) + records::BODY_LEN_MAX + (8 << 10);
/// A NewSessionTicket at most (RFC 8446 §4.6.1: ticket and extensions, 64 KiB each).
const HANDSHAKE_LEN_MAX: usize = (128 << 10) + 512;

// Handshake types (RFC 8446 §4, RFC 5246 §7.4).
const HELLO_REQUEST: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
// Alerts (RFC 8446 §6).
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

#[cfg(test)]
mod tests;
