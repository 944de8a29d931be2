//! Service profiles: what a conference service or server wants otherwise than others, as data.
//! Takes: `profiles.toml`, a file of the operator, an order's profile name or domains. Gives: the [`Profile`].
//! Leaves out: applying it to a call (`sipcast-control`, `joining`).

use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use crate::dial_script::{DialScript, DialScriptOn, ScriptError};
use crate::order::{KeyframeFeedback, MediaSecurity, Transport};
use crate::sdp::SrtpSuites;

/// The profiles that come with sipcast.
const BUILT_IN: &str = include_str!("profiles.toml");
/// Profiles at most, built-in ones included.
pub const PROFILES_MAX: usize = 256;

/// What one service wants. `None` and empty lists change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What orders call it by, lower case.
    pub name: String,
    /// Domains that choose it, lower case; `*.` in front takes every name below.
    pub domains: Vec<String>,
    /// Whom to dial for a meeting: template with `{meeting}` and `{passcode}`.
    pub callee: Option<String>,
    /// The same for orders without passcode; `None`: as `callee`.
    pub callee_plain: Option<String>,
    /// Parameters of the Request-URI, without the first `;`.
    pub uri_parameters: Option<String>,
    /// Transport, where the order names none.
    pub transport: Option<Transport>,
    /// Protection of RTP, where the order names none.
    pub media_security: Option<MediaSecurity>,
    /// How digits travel.
    pub dtmf: DtmfPolicy,
    /// Offer AVPF or AVP.
    pub avpf: Option<bool>,
    /// Encodings of audio to offer, best first.
    pub audio_codecs: Vec<String>,
    /// SRTP suites to offer and take, best first.
    pub srtp_suites: Option<SrtpSuites>,
    /// RTCP feedback to offer for pictures.
    pub keyframe_feedback: Option<KeyframeFeedback>,
    /// Pictures may be asked for by INFO (RFC 5168).
    pub keyframe_info: bool,
    /// Session interval to ask for, in seconds; 0: no session timer.
    pub session_expires_s: Option<u32>,
    /// What is keyed in to join.
    pub script: Option<DialScript>,
    /// When that begins.
    pub script_on: DialScriptOn,
}

/// How digits travel to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtmfPolicy {
    /// RFC 4733 events, SIP INFO where the peer agreed on none.
    #[default]
    Events,
    /// RFC 4733 events or not at all: the service passes INFO over.
    EventsOnly,
    /// SIP INFO.
    Info,
}

/// All profiles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Profiles {
    list: Arc<Vec<Arc<Profile>>>,
}

impl Default for Profiles {
    fn default() -> Self {
        let none = Self { list: Arc::default() };
        none.with("profiles.toml", BUILT_IN).expect("the built-in profiles are checked by a test")
    }
}

impl Profiles {
    /// Adds the profiles of a file, called `source` in errors; one of a known name takes the place of the known one
    /// and comes first in the search by domain.
    ///
    /// # Errors
    /// [`ProfileError`] naming the file, the profile and the key.
    pub fn with(&self, source: &str, text: &str) -> Result<Self, ProfileError> {
        let fault = |problem: String| ProfileError { file: source.to_owned(), problem };
        let file: File = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        let mut added: Vec<Arc<Profile>> = Vec::new();
        for entry in file.profile {
            let name = entry.name.clone();
            let profile = entry.check().map_err(|problem| fault(format!("profile {name:?}: {problem}")))?;
            if added.iter().any(|known| known.name == profile.name) {
                return Err(fault(format!("profile {name:?} stands there twice")));
            }
            added.push(Arc::new(profile));
        }
        let kept = self.list.iter().filter(|known| added.iter().all(|new| new.name != known.name)).cloned();
        let list: Vec<_> = added.clone().into_iter().chain(kept).collect();
        if list.len() > PROFILES_MAX {
            return Err(fault(format!("more than {PROFILES_MAX} profiles")));
        }
        Ok(Self { list: Arc::new(list) })
    }

    /// The profile of this name; capitals count for nothing.
    pub fn named(&self, name: &str) -> Option<Arc<Profile>> {
        self.list.iter().find(|profile| profile.name.eq_ignore_ascii_case(name)).cloned()
    }

    /// The profile that one of `domains` chooses, the first domain first.
    pub fn for_domains<'a>(&self, domains: impl IntoIterator<Item = &'a str>) -> Option<Arc<Profile>> {
        domains.into_iter().find_map(|domain| {
            let domain = domain.trim_end_matches('.').to_ascii_lowercase();
            self.list.iter().find(|profile| profile.takes(&domain)).cloned()
        })
    }

    /// All names, for errors and help.
    pub fn names(&self) -> String {
        self.list.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.list.iter().map(Arc::as_ref)
    }
}

impl Profile {
    fn takes(&self, domain: &str) -> bool {
        self.domains.iter().any(|known| match known.strip_prefix('*') {
            Some(suffix) => domain.len() > suffix.len() && domain.ends_with(suffix),
            None => domain == known,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    profile: Vec<Entry>,
}

/// A profile as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    domains: Vec<String>,
    callee: Option<String>,
    callee_plain: Option<String>,
    uri_parameters: Option<String>,
    transport: Option<String>,
    media_security: Option<String>,
    dtmf: Option<String>,
    avpf: Option<bool>,
    #[serde(default)]
    audio_codecs: Vec<String>,
    srtp_suites: Option<Vec<String>>,
    keyframe: Option<Vec<String>>,
    session_expires_s: Option<u32>,
    script: Option<String>,
    script_on: Option<String>,
}

impl Entry {
    fn check(self) -> Result<Profile, String> {
        let word = |text: &str, legal: &str| {
            !text.is_empty()
                && text.len() <= 128
                && text.chars().all(|c| c.is_ascii_alphanumeric() || legal.contains(c))
        };
        if !word(&self.name, "-_.") {
            return Err("name: expected letters, digits, - _ .".to_owned());
        }
        for domain in &self.domains {
            if !word(domain.strip_prefix("*.").unwrap_or(domain), "-_.") {
                return Err(format!(
                    "domains: {domain:?} is no domain; expected zoomcrc.com or *.zoomcrc.com"
                ));
            }
        }
        for (key, template) in [("callee", &self.callee), ("callee_plain", &self.callee_plain)] {
            let rest = template.as_deref().unwrap_or("").replace("{meeting}", "").replace("{passcode}", "");
            if rest.len() > 256 || rest.chars().any(|c| !c.is_ascii_graphic() || "{}<>\"\\".contains(c)) {
                return Err(format!(
                    "{key}: expected an address with {{meeting}} and {{passcode}}, without spaces"
                ));
            }
        }
        if self.uri_parameters.as_deref().is_some_and(|text| !word(text, "-_.=;+%")) {
            return Err("uri_parameters: expected name=value;name, without a first ;".to_owned());
        }
        let session = self.session_expires_s;
        if session.is_some_and(|s| s != 0 && !(90..=86_400).contains(&s)) {
            return Err("session_expires_s: expected 0 or 90 to 86400 (RFC 4028 §4)".to_owned());
        }
        let keyframe = self.keyframe.as_ref();
        if let Some(way) = keyframe.and_then(|ways| ways.iter().find(|way| !KEYFRAME.contains(&way.as_str())))
        {
            return Err(format!("keyframe: {way:?} is no way; expected pli, fir, info"));
        }
        let has = |way: &str| keyframe.is_none_or(|ways| ways.iter().any(|known| known == way));
        for codec in &self.audio_codecs {
            if !word(codec, "-_.") {
                return Err(format!("audio_codecs: {codec:?} is no encoding; expected names such as PCMU"));
            }
        }
        let srtp_suites = self.srtp_suites.map(|names| names.join(",").parse::<SrtpSuites>()).transpose();
        let script = self.script.as_deref().map(DialScript::parse).transpose();
        Ok(Profile {
            name: self.name.to_ascii_lowercase(),
            domains: self.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            callee: self.callee,
            callee_plain: self.callee_plain,
            uri_parameters: self.uri_parameters,
            transport: choice("transport", self.transport, &TRANSPORTS)?,
            media_security: choice("media_security", self.media_security, &SECURITIES)?,
            dtmf: choice("dtmf", self.dtmf, &DTMF)?.unwrap_or_default(),
            avpf: self.avpf,
            audio_codecs: self.audio_codecs,
            srtp_suites: srtp_suites.map_err(|error| format!("srtp_suites: {error}"))?,
            keyframe_feedback: keyframe.map(|_| KeyframeFeedback { pli: has("pli"), fir: has("fir") }),
            keyframe_info: has("info"),
            session_expires_s: session,
            script: script.map_err(|error: ScriptError| format!("script: {error}"))?,
            script_on: choice("script_on", self.script_on, &SCRIPT_ON)?.unwrap_or_default(),
        })
    }
}

fn choice<T: Copy>(key: &str, word: Option<String>, choices: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(word) = word else { return Ok(None) };
    let found = choices.iter().find(|(known, _)| known.eq_ignore_ascii_case(&word));
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let expected: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
        format!("{key}: {word:?} is unknown; expected {}", expected.join(", "))
    })
}

const TRANSPORTS: [(&str, Transport); 3] =
    [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
const SECURITIES: [(&str, MediaSecurity); 3] = [
    ("off", MediaSecurity::Off),
    ("opportunistic", MediaSecurity::Opportunistic),
    ("mandatory", MediaSecurity::Mandatory),
];
const DTMF: [(&str, DtmfPolicy); 3] =
    [("rfc4733", DtmfPolicy::Events), ("rfc4733-only", DtmfPolicy::EventsOnly), ("info", DtmfPolicy::Info)];
const KEYFRAME: [&str; 3] = ["pli", "fir", "info"];
const SCRIPT_ON: [(&str, DialScriptOn); 2] =
    [("answer", DialScriptOn::Answer), ("early", DialScriptOn::EarlyMedia)];

/// A file of profiles that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}: {problem}")]
pub struct ProfileError {
    /// The file.
    pub file: String,
    /// What is wrong and what is expected.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_service_has_its_profile() {
        let profiles = Profiles::default();
        for name in [
            "zoom",
            "zoom-uri",
            "twilio",
            "twilio-secure",
            "vidyo",
            "lifesize",
            "bluejeans",
            "asterisk",
            "freeswitch",
            "opensips",
            "room",
        ] {
            assert_eq!(profiles.named(&name.to_uppercase()).unwrap().name, name);
        }
        assert!(profiles.named("none").is_none());
        let zoom = profiles.named("zoom").unwrap();
        assert_eq!(
            (zoom.transport, zoom.media_security),
            (Some(Transport::Tls), Some(MediaSecurity::Opportunistic))
        );
        assert_eq!(zoom.dtmf, DtmfPolicy::EventsOnly);
        assert!(zoom.script.as_ref().unwrap().names_passcode());
        let twilio = profiles.named("twilio-secure").unwrap();
        assert_eq!(twilio.uri_parameters.as_deref(), Some("secure=true"));
        assert_eq!(twilio.keyframe_feedback, Some(KeyframeFeedback { pli: true, fir: true }));
        assert!(!twilio.keyframe_info, "Twilio takes no INFO");
        let suites = twilio.srtp_suites.map(|suites| suites.to_string());
        assert_eq!(suites.as_deref(), Some("AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32"));
    }

    #[test]
    fn domains_choose_a_profile() {
        let profiles = Profiles::default();
        let chosen = |domain: &str| profiles.for_domains([domain]).map(|profile| profile.name.clone());
        assert_eq!(chosen("zoomcrc.com").as_deref(), Some("zoom"));
        assert_eq!(chosen("Global.ZoomCRC.com.").as_deref(), Some("zoom"));
        assert_eq!(chosen("acme.sip.twilio.com").as_deref(), Some("twilio"));
        for other in ["notzoomcrc.com", "zoomcrc.com.evil.example", "pbx.example", ""] {
            assert_eq!(chosen(other), None, "{other}");
        }
        assert_eq!(profiles.for_domains(["pbx", "bjn.vc", "zoomcrc.com"]).unwrap().name, "bluejeans");
    }

    #[test]
    fn an_operator_adds_and_replaces() {
        let text = "[[profile]]\nname = \"Zoom\"\ndomains = [\"vc.example\"]\nkeyframe = [\"info\"]\n\
                    [[profile]]\nname = \"ours\"\ndtmf = \"info\"\nscript = \"wait 1s; 1#\"\nscript_on = \"early\"\n";
        let profiles = Profiles::default().with("own.toml", text).unwrap();
        let zoom = profiles.named("zoom").unwrap();
        assert_eq!((zoom.transport, zoom.keyframe_info), (None, true));
        assert_eq!(zoom.keyframe_feedback, Some(KeyframeFeedback { pli: false, fir: false }));
        assert!(profiles.for_domains(["zoomcrc.com"]).is_none());
        assert_eq!(profiles.for_domains(["vc.example"]).unwrap().name, "zoom");
        let ours = profiles.named("ours").unwrap();
        assert_eq!((ours.dtmf, ours.script_on), (DtmfPolicy::Info, DialScriptOn::EarlyMedia));
        assert_eq!(profiles.iter().count(), Profiles::default().iter().count() + 1);
    }

    #[test]
    fn errors_name_file_profile_and_key() {
        for (entry, wanted) in [
            ("name = \"a b\"", "name: expected"),
            ("name = \"a\"\ntransport = \"ws\"", "transport: \"ws\" is unknown; expected udp, tcp, tls"),
            ("name = \"a\"\nscript = \"wait\"", "script: character 5: expected a length"),
            ("name = \"a\"\ndomains = [\"*\"]", "domains: \"*\" is no domain"),
            ("name = \"a\"\ncallee = \"a b\"", "callee: expected"),
            ("name = \"a\"\nuri_parameters = \"a b\"", "uri_parameters: expected"),
            ("name = \"a\"\nsession_expires_s = 20", "session_expires_s: expected"),
            ("name = \"a\"\nkeyframe = [\"x\"]", "keyframe: \"x\""),
            ("name = \"a\"\naudio_codecs = [\"\"]", "audio_codecs"),
            ("name = \"a\"\nsrtp_suites = [\"AES_CM\"]", "srtp_suites: suites must be"),
            ("name = \"a\"\nsrtp_suites = []", "srtp_suites: suites must be"),
            ("name = \"a\"\nnovelty = 1", "unknown field `novelty`"),
            ("name = \"a\"\n[[profile]]\nname = \"A\"", "stands there twice"),
        ] {
            let error = Profiles::default()
                .with("own.toml", &format!("[[profile]]\n{entry}"))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("own.toml: ") && error.contains(wanted), "{error}");
        }
    }
}
