//! Session timers (RFC 4028): who refreshes, when, and when a silent session is ended.
//! Takes: Session-Expires and Min-SE values of either side, time. Gives: headers, [`TimerAction`]s.
//! Leaves out: the requests themselves (`call`).

use std::fmt;
use std::time::Duration;

use sipcast_contract::Timestamp;

/// Session interval we ask for, in seconds (RFC 4028 §4: 1800 is recommended).
pub const SESSION_EXPIRES_S: u32 = 1_800;
/// Smallest interval we accept, in seconds (RFC 4028 §5: never below 90).
pub const MIN_SE_S: u32 = 90;
/// Longest interval kept, in seconds; a longer one is cut to a day.
pub const SESSION_EXPIRES_S_MAX: u32 = 86_400;

/// 422 responses answered with a longer interval; a further one ends the attempt.
const TOO_SMALL_MAX: u8 = 3;
/// Pause before a failed refresh is repeated.
const REFRESH_RETRY: Duration = Duration::from_secs(10);

/// A header to add, name and value.
pub type Header = (&'static str, String);

/// Who refreshes, seen from the transaction that negotiates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refresher {
    /// Who sends the request.
    Uac,
    /// Who answers it.
    Uas,
}

/// Value of a Session-Expires header (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// Session interval in seconds.
    pub seconds: u32,
    /// Who refreshes, if named.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads a header value; `None` if it has no number.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';');
        let seconds = delta_seconds(parts.next()?)?.min(SESSION_EXPIRES_S_MAX);
        let refresher = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case("refresher") {
                return None;
            }
            match value.trim() {
                value if value.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
                value if value.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
                _ => None,
            }
        });
        Some(Self { seconds, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.refresher {
            Some(Refresher::Uac) => f.write_str(";refresher=uac"),
            Some(Refresher::Uas) => f.write_str(";refresher=uas"),
            None => Ok(()),
        }
    }
}

/// delta-seconds (RFC 3261 §25.1); numbers past `u32` are its largest.
pub(crate) fn delta_seconds(text: &str) -> Option<u32> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}

/// What the timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerAction {
    /// Send a refresh: UPDATE if the peer allows it, else re-INVITE.
    Refresh,
    /// No refresh came or none succeeded: send BYE.
    Bye,
}

/// The session timer of one dialog. Call [`Self::handle_timeout`] at [`Self::next_timeout`].
#[derive(Clone, Debug)]
pub struct SessionTimer {
    /// What the next request asks for, in seconds.
    wanted_s: u32,
    /// Smallest interval the path allows, in seconds (RFC 4028 §7.1: the largest Min-SE seen in a 422).
    min_se_s: u32,
    too_small_count: u8,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    interval_s: u32,
    we_refresh: bool,
    /// `None` while a refresh is out or the peer refreshes.
    refresh_at: Option<Timestamp>,
    bye_at: Timestamp,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self::new(SESSION_EXPIRES_S)
    }
}

impl SessionTimer {
    /// Asks for `wanted_s` seconds, at least [`MIN_SE_S`].
    pub fn new(wanted_s: u32) -> Self {
        let wanted_s = wanted_s.clamp(MIN_SE_S, SESSION_EXPIRES_S_MAX);
        Self { wanted_s, min_se_s: MIN_SE_S, too_small_count: 0, running: None }
    }

    /// Headers for our INVITE, re-INVITE or UPDATE. `Supported: timer` is left to the caller, who has further
    /// option tags to put there.
    pub fn request_headers(&self) -> Vec<Header> {
        // RFC 4028 §7.4: a refresh keeps the roles; the first request leaves the choice to the peer (§7.1).
        let refresher =
            self.running.map(|running| if running.we_refresh { Refresher::Uac } else { Refresher::Uas });
        let expires = SessionExpires { seconds: self.wanted_s, refresher };
        let mut headers = vec![("Session-Expires", expires.to_string())];
        if self.min_se_s > MIN_SE_S {
            headers.push(("Min-SE", self.min_se_s.to_string()));
        }
        headers
    }

    /// A 422 came. `true`: send the request again with [`Self::request_headers`].
    pub fn handle_interval_too_small(&mut self, min_se: Option<&str>) -> bool {
        let Some(min_se_s) = min_se.and_then(|value| delta_seconds(value.split(';').next()?)) else {
            return false;
        };
        self.too_small_count += 1;
        if min_se_s > SESSION_EXPIRES_S_MAX || self.too_small_count > TOO_SMALL_MAX {
            return false;
        }
        self.min_se_s = self.min_se_s.max(min_se_s);
        self.wanted_s = self.wanted_s.max(self.min_se_s);
        true
    }

    /// A 2xx to our INVITE, re-INVITE or UPDATE came. Without Session-Expires the session does not expire
    /// (RFC 4028 §7.2).
    pub fn handle_success(&mut self, session_expires: Option<&str>, now: Timestamp) {
        self.too_small_count = 0;
        self.running = session_expires.and_then(SessionExpires::parse).map(|expires| {
            // A 2xx must name the refresher; for one that does not, we refresh, which is safe either way.
            let we_refresh = expires.refresher != Some(Refresher::Uas);
            // RFC 4028 §7.2 lets nobody go below 90; a peer that does is refreshed in time all the same.
            Running::start(expires.seconds.max(2), we_refresh, now)
        });
    }

    /// Our refresh failed with `status`, 0 for none. Tries again before the session expires; 408 and 481 end it
    /// at once (RFC 4028 §10).
    pub fn handle_refresh_failed(&mut self, status: u16, now: Timestamp) {
        if let Some(running) = &mut self.running {
            if matches!(status, 0 | 408 | 481) {
                running.bye_at = now;
            } else if running.we_refresh {
                running.refresh_at = Some(now + REFRESH_RETRY);
            }
        }
    }

    /// The peer's re-INVITE or UPDATE came, which we accept. Gives the headers of the 2xx.
    /// `peer_supports_timer`: its Supported names `timer`.
    ///
    /// # Errors
    /// [`IntervalTooSmall`]: answer 422 with its Min-SE; the session goes on as before.
    pub fn handle_request(
        &mut self,
        session_expires: Option<&str>,
        peer_supports_timer: bool,
        now: Timestamp,
    ) -> Result<Vec<Header>, IntervalTooSmall> {
        let Some(wanted) = session_expires.and_then(SessionExpires::parse) else {
            // RFC 4028 §9: any such request refreshes; without the header nothing new is agreed.
            let Some(running) = &mut self.running else { return Ok(Vec::new()) };
            *running = Running::start(running.interval_s, running.we_refresh, now);
            let refresher = if running.we_refresh { Refresher::Uas } else { Refresher::Uac };
            let seconds = running.interval_s;
            if !peer_supports_timer {
                return Ok(Vec::new());
            }
            return Ok(response_headers(SessionExpires { seconds, refresher: Some(refresher) }));
        };
        if wanted.seconds < MIN_SE_S && peer_supports_timer {
            return Err(IntervalTooSmall);
        }
        // RFC 4028 §9, table 2: a peer without support cannot refresh; one with support refreshes unless it asks
        // us to.
        let refresher = match wanted.refresher {
            _ if !peer_supports_timer => Refresher::Uas,
            Some(named) => named,
            None => Refresher::Uac,
        };
        let seconds = wanted.seconds.max(MIN_SE_S);
        self.running = Some(Running::start(seconds, refresher == Refresher::Uas, now));
        Ok(response_headers(SessionExpires { seconds, refresher: Some(refresher) }))
    }

    /// What is due at `now`; call until `None`.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<TimerAction> {
        let running = self.running.as_mut()?;
        if running.bye_at <= now {
            self.running = None;
            return Some(TimerAction::Bye);
        }
        if running.refresh_at.is_some_and(|at| at <= now) {
            running.refresh_at = None;
            return Some(TimerAction::Refresh);
        }
        None
    }

    /// When [`Self::handle_timeout`] has something to say.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let running = self.running?;
        Some(running.refresh_at.map_or(running.bye_at, |at| at.min(running.bye_at)))
    }

    /// The dialog is over.
    pub fn stop(&mut self) {
        self.running = None;
    }
}

impl Running {
    fn start(interval_s: u32, we_refresh: bool, now: Timestamp) -> Self {
        let interval = Duration::from_secs(u64::from(interval_s));
        // RFC 4028 §10: BYE at the smaller of 32 s and a third of the interval before it expires.
        let ahead = (interval / 3).min(Duration::from_secs(32));
        Self {
            interval_s,
            we_refresh,
            refresh_at: we_refresh.then(|| now + interval / 2),
            bye_at: now + (interval - ahead),
        }
    }
}

fn response_headers(expires: SessionExpires) -> Vec<Header> {
    let mut headers = vec![("Session-Expires", expires.to_string())];
    // RFC 4028 §9: the peer that has to refresh must know that it does.
    if expires.refresher == Some(Refresher::Uac) {
        headers.push(("Require", "timer".to_owned()));
    }
    headers
}

/// The peer's interval is below [`MIN_SE_S`]: answer 422.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session interval is below 90 s")]
pub struct IntervalTooSmall;

impl IntervalTooSmall {
    /// The Min-SE header of the 422.
    pub fn header(self) -> Header {
        ("Min-SE", MIN_SE_S.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn header_values() {
        for (text, wanted) in [
            ("1800", Some((1800, None))),
            (" 1800 ; refresher = UAC ", Some((1800, Some(Refresher::Uac)))),
            ("90;x=y;refresher=uas", Some((90, Some(Refresher::Uas)))),
            ("99999999999999", Some((SESSION_EXPIRES_S_MAX, None))),
            ("90;refresher=me", Some((90, None))),
            ("-5", None),
            ("", None),
        ] {
            let read = SessionExpires::parse(text).map(|expires| (expires.seconds, expires.refresher));
            assert_eq!(read, wanted, "{text}");
        }
    }

    #[test]
    fn we_refresh_at_half_and_end_ahead() {
        for (interval, bye) in [(1800, 1768), (90, 60), (96, 64), (99, 67)] {
            let mut timer = SessionTimer::default();
            timer.handle_success(Some(&format!("{interval};refresher=uac")), at(100));
            assert_eq!(timer.next_timeout(), Some(Timestamp::from_millis(100_000 + interval * 500)));
            assert_eq!(timer.handle_timeout(at(100 + interval / 2 - 1)), None);
            assert_eq!(timer.handle_timeout(at(100 + interval / 2 + 1)), Some(TimerAction::Refresh));
            assert_eq!(timer.handle_timeout(at(100 + interval / 2 + 1)), None);
            assert_eq!(timer.next_timeout(), Some(at(100 + bye)));
            assert_eq!(timer.handle_timeout(at(99 + bye)), None);
            assert_eq!(timer.handle_timeout(at(100 + bye)), Some(TimerAction::Bye));
            assert_eq!(timer.next_timeout(), None);
        }
    }

    #[test]
    fn refresh_success_and_failure() {
        let mut timer = SessionTimer::default();
        timer.handle_success(Some("100;refresher=uac"), at(0));
        assert_eq!(timer.handle_timeout(at(50)), Some(TimerAction::Refresh));
        assert_eq!(timer.request_headers()[0].1, "1800;refresher=uac");
        timer.handle_refresh_failed(500, at(50));
        assert_eq!(timer.handle_timeout(at(60)), Some(TimerAction::Refresh));
        timer.handle_success(Some("100;refresher=uac"), at(60));
        assert_eq!(timer.next_timeout(), Some(at(110)));
        timer.handle_refresh_failed(481, at(70));
        assert_eq!(timer.handle_timeout(at(70)), Some(TimerAction::Bye));
    }

    #[test]
    fn peer_refreshes() {
        let mut timer = SessionTimer::default();
        timer.handle_success(Some("90;refresher=uas"), at(0));
        assert_eq!(timer.next_timeout(), Some(at(60)));
        let headers = timer.handle_request(Some("90;refresher=uac"), true, at(45)).unwrap();
        assert_eq!(
            headers,
            [("Session-Expires", "90;refresher=uac".to_owned()), ("Require", "timer".to_owned())]
        );
        assert_eq!(timer.next_timeout(), Some(at(105)));
        // No header: refreshes all the same.
        let headers = timer.handle_request(None, true, at(100)).unwrap();
        assert_eq!(headers[0].1, "90;refresher=uac");
        assert_eq!(timer.next_timeout(), Some(at(160)));
        assert_eq!(timer.handle_timeout(at(160)), Some(TimerAction::Bye));
    }

    #[test]
    fn who_refreshes_when_we_answer() {
        for (value, supported, wanted, we_refresh) in [
            ("1800", true, "1800;refresher=uac", false),
            ("1800;refresher=uas", true, "1800;refresher=uas", true),
            ("1800;refresher=uac", true, "1800;refresher=uac", false),
            ("1800", false, "1800;refresher=uas", true),
            ("30", false, "90;refresher=uas", true),
        ] {
            let mut timer = SessionTimer::default();
            let headers = timer.handle_request(Some(value), supported, at(0)).unwrap();
            assert_eq!(headers[0].1, wanted);
            assert_eq!(timer.running.unwrap().we_refresh, we_refresh);
        }
        let mut timer = SessionTimer::default();
        let error = timer.handle_request(Some("60"), true, at(0)).unwrap_err();
        assert_eq!(error.header(), ("Min-SE", "90".to_owned()));
        assert_eq!(timer.handle_request(None, true, at(0)).unwrap(), []);
        assert_eq!(timer.next_timeout(), None);
    }

    #[test]
    fn too_small_intervals_are_raised() {
        let mut timer = SessionTimer::new(0);
        assert_eq!(timer.request_headers(), [("Session-Expires", "90".to_owned())]);
        assert!(timer.handle_interval_too_small(Some("3600")));
        assert_eq!(
            timer.request_headers(),
            [("Session-Expires", "3600".to_owned()), ("Min-SE", "3600".to_owned())]
        );
        assert!(!timer.handle_interval_too_small(None));
        assert!(!timer.handle_interval_too_small(Some("4294967295")));
        assert!(timer.handle_interval_too_small(Some("3600")));
        assert!(!timer.handle_interval_too_small(Some("3600")), "no endless loop");
        timer.handle_success(None, at(0));
        assert_eq!(timer.next_timeout(), None);
    }
}
