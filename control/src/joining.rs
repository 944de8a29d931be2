//! How a call joins a meeting: the service profile, meeting and passcode of an order become an address to dial, digits
//! to key in and preferences of the call.
//! Takes: the order's fields and the known profiles. Gives: a [`Joining`], or the [`FieldFault`] that names the field.
//! Leaves out: profiles and scripts themselves (`sipcast_sip`), sending digits (`digits`).

use std::fmt;
use std::sync::Arc;

use sipcast_contract::Secret;
use sipcast_contract::dtmf::DtmfStep;
use sipcast_sip::dial_script::{DialScript, DialScriptOn};
use sipcast_sip::order::{Account, MediaSecurity, Preferences};
use sipcast_sip::profile::{DtmfPolicy, Profile, Profiles};
use sipcast_sip::redaction;

use crate::order::{FieldFault, Text};

/// Fields of an order that say how to join, as the client wrote them.
// No `Debug`: it holds a passcode.
#[derive(Clone, Default)]
pub(crate) struct JoinRequest {
    pub(crate) sip_profile: Option<String>,
    pub(crate) meeting_id: Option<String>,
    pub(crate) passcode: Option<String>,
    pub(crate) dial_script: Option<String>,
    pub(crate) dial_script_on: Option<String>,
    pub(crate) dtmf_type: Option<String>,
}

/// How a call joins. The default dials the callee and does nothing more.
#[derive(Clone, Default)]
pub(crate) struct Joining {
    /// What is dialled instead of the callee that is shown: it may hold the passcode.
    pub(crate) dialled: Option<Secret<String>>,
    /// What is keyed in.
    pub(crate) steps: Vec<DtmfStep>,
    /// When that begins.
    pub(crate) on: DialScriptOn,
    /// How digits of this call travel.
    pub(crate) dtmf: DtmfPolicy,
    /// Pictures may be asked for by INFO.
    pub(crate) no_keyframe_info: bool,
    /// What the SIP side does otherwise.
    pub(crate) preferences: Preferences,
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").field("on", &self.on).field("dtmf", &self.dtmf).finish_non_exhaustive()
    }
}

/// A callee and how to join it.
pub(crate) struct Joined {
    /// To show: without passcode.
    pub(crate) callee: String,
    pub(crate) joining: Joining,
    /// Protection of media, where the order names none.
    pub(crate) security: Option<MediaSecurity>,
}

impl JoinRequest {
    /// Resolves everything. `callee` is checked, and absent only if the profile may name one; the account's transport
    /// is set where the profile wants one and the order names none.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(crate) fn resolve(
        self,
        callee: Option<String>,
        account: &mut Account,
        profiles: &Profiles,
    ) -> Result<Joined, FieldFault> {
        let meeting = MEETING_ID.optional("meetingId", self.meeting_id)?;
        let is_dialable = |c: char| c.is_ascii_alphanumeric() || " -_.*#".contains(c);
        if meeting.as_deref().is_some_and(|meeting| !meeting.chars().all(is_dialable)) {
            return Err(FieldFault::new("meetingId", "cannot be dialled", MEETING_ID.expected));
        }
        let passcode = PASSCODE.optional("passcode", self.passcode)?.map(Secret::new);
        let profile = profile(self.sip_profile, callee.as_deref(), account, profiles)?;
        let profile = profile.as_deref();
        if passcode.as_ref().is_some_and(|passcode| !passcode.reveal().chars().all(is_dialable)) {
            return Err(FieldFault::new("passcode", "cannot be dialled", PASSCODE.expected));
        }
        let secrets: Vec<Secret<String>> = passcode.iter().cloned().collect();
        let template = match (&callee, profile) {
            (Some(_), _) => None,
            (None, profile) => template(profile, meeting.as_deref(), passcode.as_ref())?,
        };
        let own_script = DIAL_SCRIPT.optional("dialScript", self.dial_script)?;
        let script =
            match &own_script {
                Some(text) => Some(DialScript::parse(text).map_err(|error| {
                    FieldFault::new("dialScript", error.to_string(), DIAL_SCRIPT.expected)
                })?),
                None => profile.and_then(|profile| profile.script.clone()),
            };
        let in_address = template.is_some_and(|template| template.contains("{passcode}"))
            || callee.as_deref().is_some_and(|callee| holds(callee, passcode.as_ref()));
        let steps = match &script {
            Some(script) => {
                // A service is not asked twice: a passcode in the address is not keyed in by the profile's script.
                let keyed = passcode.as_ref().filter(|_| own_script.is_some() || !in_address);
                script.expand(meeting.as_deref(), keyed).map_err(|error| {
                    let field = match error {
                        sipcast_sip::dial_script::ScriptError::NoDigits { field } => field,
                        _ => "dialScript",
                    };
                    FieldFault::new(field, error.to_string(), "digits 0-9 * # A-D")
                })?
            }
            None => Vec::new(),
        };
        let keys_passcode = script.as_ref().is_some_and(DialScript::names_passcode);
        if passcode.is_some() && !in_address && !keys_passcode {
            let problem = "is used by nothing: neither sipProfile nor dialScript has a place for it";
            return Err(FieldFault::new(
                "passcode",
                problem,
                "a sipProfile such as zoom, or a dialScript with {passcode}",
            ));
        }
        let on = match DIAL_SCRIPT_ON.optional("dialScriptOn", self.dial_script_on)? {
            Some(word) => DialScriptOn::parse(&word).ok_or_else(|| {
                FieldFault::new("dialScriptOn", "is no known moment", DIAL_SCRIPT_ON.expected)
            })?,
            None => profile.map(|profile| profile.script_on).unwrap_or_default(),
        };
        let dtmf = match DTMF_TYPE.optional("dtmfType", self.dtmf_type)? {
            Some(word) if word.eq_ignore_ascii_case("RFC2833") || word.eq_ignore_ascii_case("RFC4733") => {
                DtmfPolicy::Events
            }
            Some(word) if word.eq_ignore_ascii_case("INFO") || word.eq_ignore_ascii_case("INFO_RELAY") => {
                DtmfPolicy::Info
            }
            Some(_) => return Err(FieldFault::new("dtmfType", "is no known way", DTMF_TYPE.expected)),
            None => profile.map(|profile| profile.dtmf).unwrap_or_default(),
        };
        let dialable = meeting.as_deref().unwrap_or("").replace([' ', '-'], "");
        let fill =
            |text: &str, passcode: &str| text.replace("{meeting}", &dialable).replace("{passcode}", passcode);
        let secret = passcode.as_ref().map_or("", |passcode| passcode.reveal());
        let (shown, dialled) = match (callee, template) {
            (Some(callee), _) => (redaction::without(&callee, &secrets), callee),
            (None, Some(template)) => (fill(template, redaction::MASK), fill(template, secret)),
            (None, None) => {
                return Err(FieldFault::new("callee", "is missing", crate::order::CALLEE.expected));
            }
        };
        let dialled = with_parameters(dialled, account, profile);
        let joining = Joining {
            dialled: (dialled != shown).then(|| Secret::new(dialled)),
            steps,
            on,
            dtmf,
            no_keyframe_info: profile.is_some_and(|profile| !profile.keyframe_info),
            preferences: Preferences {
                secrets,
                session_expires_s: profile.and_then(|profile| profile.session_expires_s),
                avpf: profile.and_then(|profile| profile.avpf),
                keyframe_feedback: profile.and_then(|profile| profile.keyframe_feedback),
                srtp_suites: profile.and_then(|profile| profile.srtp_suites),
                audio_codecs: profile.map(|profile| profile.audio_codecs.clone()).unwrap_or_default(),
            },
        };
        Ok(Joined { callee: shown, joining, security: profile.and_then(|profile| profile.media_security) })
    }
}

/// The profile that the order names, else the one of the callee's domain, else the one of the account's.
fn profile(
    name: Option<String>,
    callee: Option<&str>,
    account: &Account,
    profiles: &Profiles,
) -> Result<Option<Arc<Profile>>, FieldFault> {
    let Some(name) = SIP_PROFILE.optional("sipProfile", name)? else {
        let domains = callee.and_then(host).into_iter().chain([account.domain.as_str()]);
        return Ok(profiles.for_domains(domains));
    };
    if name.eq_ignore_ascii_case(NO_PROFILE) {
        return Ok(None);
    }
    let known = || format!("{NO_PROFILE}, {}", profiles.names());
    profiles
        .named(&name)
        .map(Some)
        .ok_or_else(|| FieldFault::new("sipProfile", "is no known profile", known()))
}

/// Whom the profile dials for a meeting.
fn template<'a>(
    profile: Option<&'a Profile>,
    meeting: Option<&str>,
    passcode: Option<&Secret<String>>,
) -> Result<Option<&'a str>, FieldFault> {
    let Some(profile) = profile else { return Ok(None) };
    let template = match passcode {
        Some(_) => profile.callee.as_deref(),
        None => profile.callee_plain.as_deref().or(profile.callee.as_deref()),
    };
    let Some(template) = template else { return Ok(None) };
    if template.contains("{meeting}") && meeting.is_none() {
        let problem = "is missing, and so is callee: there is nobody to dial";
        return Err(FieldFault::new("meetingId", problem, MEETING_ID.expected));
    }
    if template.contains("{passcode}") && passcode.is_none() {
        return Err(FieldFault::new("passcode", "is missing: it is part of the address", PASSCODE.expected));
    }
    Ok(Some(template))
}

/// The address with the profile's parameters. A callee without host is dialled at the account's domain, whose transport
/// is the account's; any other has its own.
fn with_parameters(dialled: String, account: &mut Account, profile: Option<&Profile>) -> String {
    let Some(profile) = profile else { return dialled };
    let has_host = host(&dialled).is_some();
    let transport =
        profile.transport.filter(|_| account.transport.is_none() && account.outbound_proxy.is_none());
    if let Some(transport) = transport
        && (!has_host || host(&dialled) == Some(account.domain.as_str()))
    {
        account.transport = Some(transport);
    }
    let mut parameters = String::new();
    if let Some(transport) = transport.filter(|_| has_host && !dialled.contains(";transport=")) {
        parameters = format!(";transport={}", transport.name());
    }
    if let Some(more) = &profile.uri_parameters {
        parameters.push(';');
        parameters.push_str(more);
    }
    if parameters.is_empty() {
        return dialled;
    }
    let scheme = if dialled.contains(':') && has_scheme(&dialled) { "" } else { "sip:" };
    let domain = if has_host {
        String::new()
    } else if account.port == DEFAULT_PORT || account.outbound_proxy.is_some() {
        format!("@{}", account.domain)
    } else {
        format!("@{}:{}", account.domain, account.port)
    };
    format!("{scheme}{dialled}{domain}{parameters}")
}

/// The host of `user@host` or a SIP URI.
fn host(callee: &str) -> Option<&str> {
    let (_, rest) = callee.rsplit_once('@')?;
    let rest = rest.split([';', '?']).next()?;
    Some(match rest.strip_prefix('[') {
        Some(_) => rest.split_once(']').map_or(rest, |(address, _)| &rest[..=address.len()]),
        None => rest.split(':').next()?,
    })
}

fn has_scheme(callee: &str) -> bool {
    ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| callee.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

fn holds(callee: &str, passcode: Option<&Secret<String>>) -> bool {
    passcode.is_some_and(|passcode| {
        callee.split('@').next().is_some_and(|user| user.contains(passcode.reveal().as_str()))
    })
}

/// The word for "whatever the domain is, no profile".
const NO_PROFILE: &str = "none";
/// RFC 3261 §19.1.2.
const DEFAULT_PORT: u16 = 5060;

/// Rules of the fields; both end up in addresses.
pub(crate) const MEETING_ID: Text =
    Text::free(64, "digits of the meeting, with spaces or hyphens if you like");
pub(crate) const PASSCODE: Text = Text::word(64, "digits 0-9 * #, up to 64");
pub(crate) const DIAL_SCRIPT: Text =
    Text::free(512, "steps parted by ;: wait 3s, digits 0-9 * # A-D, {meeting}, {passcode}");
pub(crate) const DIAL_SCRIPT_ON: Text = Text::word(16, "answer or early");
pub(crate) const SIP_PROFILE: Text = Text::word(64, "the name of a service profile, such as zoom");
pub(crate) const DTMF_TYPE: Text = Text::word(16, "RFC2833, INFO or INFO_RELAY");

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::dtmf::parse;
    use sipcast_sip::order::Transport;

    fn account(domain: &str) -> Account {
        Account {
            login: "caster".into(),
            authentication_name: "caster".into(),
            password: Secret::new("s3cret".into()),
            domain: domain.into(),
            port: 5060,
            outbound_proxy: None,
            transport: None,
            register: false,
            visible_name: None,
        }
    }

    fn text(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn join(
        profile: &str,
        callee: &str,
        meeting: &str,
        passcode: &str,
    ) -> Result<(Joined, Account), FieldFault> {
        let mut account = account("pbx.example");
        let request = JoinRequest {
            sip_profile: text(profile),
            meeting_id: text(meeting),
            passcode: text(passcode),
            ..JoinRequest::default()
        };
        request.resolve(text(callee), &mut account, &Profiles::default()).map(|joined| (joined, account))
    }

    fn dialled(joined: &Joined) -> &str {
        joined.joining.dialled.as_ref().map_or(&joined.callee, |dialled| dialled.reveal())
    }

    #[test]
    fn zoom_by_keys_and_by_address() {
        let (keyed, account) = join("zoom", "", "123 456", "9876").expect("valid");
        assert_eq!(keyed.callee, "123 456@zoomcrc.com".replace(' ', ""));
        assert_eq!(dialled(&keyed), "sip:123456@zoomcrc.com;transport=tls");
        assert_eq!(keyed.joining.steps[1..], parse("9876#").expect("digits")[..]);
        assert_eq!((account.transport, keyed.security), (None, Some(MediaSecurity::Opportunistic)));
        assert_eq!(keyed.joining.dtmf, DtmfPolicy::EventsOnly);
        let (by_address, _) = join("zoom-uri", "", "123456", "9876").expect("valid");
        assert_eq!(by_address.callee, "123456.***@zoomcrc.com");
        assert_eq!(dialled(&by_address), "sip:123456.9876@zoomcrc.com;transport=tls");
        assert!(by_address.joining.steps.is_empty());
        assert!(!format!("{:?}", by_address.joining).contains("9876"));
        // By domain, with the passcode written into the callee: shown without, keyed in by nobody.
        let (own, _) = join("", "123456.9876@zoomcrc.com", "", "9876").expect("valid");
        assert_eq!(own.callee, "123456.***@zoomcrc.com");
        assert_eq!(own.joining.steps.len(), 1, "only the wait is left");
        let (plain, _) = join("", "123456@zoomcrc.com", "", "").expect("valid");
        assert_eq!(dialled(&plain), "sip:123456@zoomcrc.com;transport=tls");
    }

    #[test]
    fn parameters_go_to_the_address_and_the_transport_to_whom_it_concerns() {
        let (twilio, account) = join("twilio-secure", "8801", "", "").expect("valid");
        assert_eq!(dialled(&twilio), "sip:8801@pbx.example;secure=true");
        assert_eq!(
            (account.transport, twilio.security),
            (Some(Transport::Tls), Some(MediaSecurity::Mandatory))
        );
        assert!(twilio.joining.no_keyframe_info);
        let (none, _) = join("none", "1@zoomcrc.com", "", "").expect("valid");
        assert!(none.joining.dialled.is_none() && none.security.is_none());
        let (other, _) = join("", "8801", "", "").expect("valid");
        assert!(other.joining.dialled.is_none());
        assert_eq!(host("sip:a@[::1]:5070;x"), Some("[::1]"));
    }

    #[test]
    fn errors_name_the_field() {
        for (profile, callee, meeting, passcode, field) in [
            ("nonesuch", "1", "", "", "sipProfile"),
            ("zoom", "", "", "", "meetingId"),
            ("", "", "1", "", "callee"),
            ("", "8801", "", "9876", "passcode"),
            ("zoom", "", "12", "letters", "passcode"),
            ("room", "8801", "twelve", "", "meetingId"),
        ] {
            let fault = join(profile, callee, meeting, passcode).err().expect("wrong");
            assert_eq!(fault.field, field, "{profile} {callee} {meeting}");
            assert!(!fault.problem.contains("letters"));
        }
    }
}
