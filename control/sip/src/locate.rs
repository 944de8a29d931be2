//! Where a request goes: from a URI's host to addresses in order (RFC 3263 §4, RFC 2782, RFC 3403).
//! Takes: a target, the answers of the name service. Gives: questions for it, in the end the candidates, best first.
//! Leaves out: asking (`control`'s resolver), connecting, and which candidates failed before.
//!
//! Use: [`Location::poll_question`] until `None`, each answered by one `handle_*`, then [`Location::candidates`].

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::order::Transport;
use crate::uri::Host;

/// Whom to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host of the URI.
    pub host: Host,
    /// The port, if the URI names one.
    pub port: Option<u16>,
    /// The transport, if the URI or the order names one.
    pub transport: Option<Transport>,
    /// The URI is `sips:`: TLS or nothing.
    pub secure: bool,
}

/// One way to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Address and port.
    pub address: SocketAddr,
    /// Transport.
    pub transport: Transport,
}

/// What to ask the name service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The NAPTR records of a name.
    Naptr(String),
    /// The SRV records of a name.
    Srv(String),
    /// The A and AAAA records of a name.
    Addresses(String),
}

/// A NAPTR record (RFC 3403 §4.1), its regular expression left out: SIP's are empty (RFC 3263 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Among equal orders, lower first.
    pub preference: u16,
    /// `s`: the replacement has SRV records; `a`: it has addresses.
    pub flags: String,
    /// Such as `SIP+D2U`.
    pub service: String,
    /// The next name.
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Among equal priorities, the share of requests.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host of the service; `.` or empty: it is decidedly not offered.
    pub target: String,
}

/// The search for one target.
#[derive(Debug)]
pub struct Location {
    target: Target,
    /// To be asked, in order of preference: what is found first is tried first.
    waiting: VecDeque<Step>,
    /// Asked, not yet answered.
    asked: Option<Step>,
    found: Vec<Candidate>,
    /// Some service record answered, so the plain addresses of the domain do not count (RFC 3263 §4.2).
    has_services: bool,
    questions: usize,
    /// State of the draw among SRV weights.
    random: u64,
}

/// A name on the way to addresses.
#[derive(Clone, Debug)]
enum Step {
    Naptr(String),
    Srv { name: String, transport: Transport },
    Addresses { name: String, port: u16, transport: Transport },
}

impl Location {
    /// Begins. `random` decides the draw among SRV records of equal priority; any value will do.
    pub fn new(target: Target, random: u64) -> Self {
        let mut location = Self {
            target,
            waiting: VecDeque::new(),
            asked: None,
            found: Vec::new(),
            has_services: false,
            questions: 0,
            random,
        };
        location.begin();
        location
    }

    /// RFC 3263 §4.1 and §4.2: the cases that need no look-up of services, and the first of those that do.
    fn begin(&mut self) {
        let fixed = self.fixed_transport();
        let plain = fixed.unwrap_or_default();
        let port = self.target.port;
        match (&self.target.host, fixed) {
            (Host::Address(address), _) => {
                let address = SocketAddr::new(*address, port.unwrap_or(plain.default_port()));
                self.found.push(Candidate { address, transport: plain });
            }
            // A port rules service records out; names of this machine have none (RFC 6761 §6.3).
            (Host::Name(name), _) if port.is_some() || is_local(name) => {
                let port = port.unwrap_or(plain.default_port());
                self.waiting.push_back(Step::Addresses { name: name.clone(), port, transport: plain });
            }
            (Host::Name(name), Some(transport)) => {
                self.waiting.push_back(Step::Srv { name: service(name, transport), transport });
            }
            (Host::Name(name), None) => self.waiting.push_back(Step::Naptr(name.clone())),
        }
    }

    /// What to ask next; `None`: all is known. Each question is to be answered before the next.
    pub fn poll_question(&mut self) -> Option<Question> {
        if self.questions >= QUESTIONS_MAX || self.found.len() >= CANDIDATES_MAX {
            return None;
        }
        let step = match self.waiting.pop_front() {
            Some(step) => step,
            None => self.plain()?,
        };
        self.questions += 1;
        let question = match &step {
            Step::Naptr(name) => Question::Naptr(name.clone()),
            Step::Srv { name, .. } => Question::Srv(name.clone()),
            Step::Addresses { name, .. } => Question::Addresses(name.clone()),
        };
        self.asked = Some(step);
        Some(question)
    }

    /// Without service records the domain itself is the host (RFC 3263 §4.2).
    fn plain(&mut self) -> Option<Step> {
        let Host::Name(name) = &self.target.host else { return None };
        if self.has_services || self.target.port.is_some() || is_local(name) {
            return None;
        }
        self.has_services = true;
        let transport = self.fixed_transport().unwrap_or_default();
        Some(Step::Addresses { name: name.clone(), port: transport.default_port(), transport })
    }

    /// Answers [`Question::Naptr`]; empty: there are none.
    pub fn handle_naptr(&mut self, mut records: Vec<Naptr>) {
        let Some(Step::Naptr(name)) = self.asked.take() else { return };
        records.sort_by_key(|record| (record.order, record.preference));
        let steps: Vec<Step> = records.iter().filter_map(step_of).take(RECORDS_MAX).collect();
        if steps.is_empty() {
            // RFC 3263 §4.1: the services are then asked for one by one, the transports in our order of preference.
            let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
            self.waiting
                .extend(all.map(|transport| Step::Srv { name: service(&name, transport), transport }));
        } else {
            self.waiting.extend(steps);
        }
    }

    /// Answers [`Question::Srv`]; empty: there are none.
    pub fn handle_srv(&mut self, records: Vec<Srv>) {
        let Some(Step::Srv { transport, .. }) = self.asked.take() else { return };
        self.has_services |= !records.is_empty();
        let mut drawn = self.draw(records);
        drawn.retain(|record| !matches!(record.target.as_str(), "" | "."));
        drawn.truncate(RECORDS_MAX);
        // Their addresses are tried before the next service's.
        for record in drawn.into_iter().rev() {
            self.waiting.push_front(Step::Addresses { name: record.target, port: record.port, transport });
        }
    }

    /// Answers [`Question::Addresses`]; empty: there are none.
    pub fn handle_addresses(&mut self, mut addresses: Vec<IpAddr>) {
        let Some(Step::Addresses { port, transport, .. }) = self.asked.take() else { return };
        // Few networks that lack IPv6 say so quickly, and a call of IPv4 media only is the more usual one.
        addresses.sort_by_key(IpAddr::is_ipv6);
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let candidate = Candidate { address: SocketAddr::new(address, port), transport };
            if self.found.len() < CANDIDATES_MAX && !self.found.contains(&candidate) {
                self.found.push(candidate);
            }
        }
    }

    /// The name service does not answer: nothing more is asked but the domain's own addresses, which may be known by
    /// other means.
    pub fn handle_silence(&mut self) {
        if let Some(Step::Naptr(_) | Step::Srv { .. }) = self.asked.take() {
            self.waiting.retain(|step| matches!(step, Step::Addresses { .. }));
        }
    }

    /// What was found, best first; at most [`CANDIDATES_MAX`].
    pub fn candidates(self) -> Vec<Candidate> {
        self.found
    }

    /// RFC 3263 §4.1: the transport that the URI settles by itself.
    fn fixed_transport(&self) -> Option<Transport> {
        if self.target.secure { Some(Transport::Tls) } else { self.target.transport }
    }

    /// RFC 2782: by priority, within one by a draw in which each weighs what it says.
    fn draw(&mut self, mut records: Vec<Srv>) -> Vec<Srv> {
        // A weight of 0 has a small chance, if it comes first in the running sum.
        records.sort_by_key(|record| (record.priority, record.weight));
        let mut drawn = Vec::with_capacity(records.len());
        while let Some(priority) = records.first().map(|record| record.priority) {
            let equal = records.iter().take_while(|record| record.priority == priority).count();
            let sum: u64 = records[..equal].iter().map(|record| u64::from(record.weight)).sum();
            let chosen = self.next_random() % (sum + 1);
            let mut running = 0;
            let at = records[..equal].iter().position(|record| {
                running += u64::from(record.weight);
                running >= chosen
            });
            drawn.push(records.remove(at.unwrap_or(0)));
        }
        drawn
    }

    /// SplitMix64: the draw spreads load, nobody gains by guessing it.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// RFC 3263 §4.1: services that we have; others, and those that need a regular expression, are passed over.
fn step_of(record: &Naptr) -> Option<Step> {
    let transport = SERVICES.iter().find(|(service, _)| record.service.eq_ignore_ascii_case(service))?.1;
    let name = record.replacement.trim_end_matches('.').to_owned();
    if name.is_empty() {
        return None;
    }
    match record.flags.as_str() {
        "s" | "S" => Some(Step::Srv { name, transport }),
        "a" | "A" => Some(Step::Addresses { name, port: transport.default_port(), transport }),
        _ => None,
    }
}

/// Name of the SRV records of a service (RFC 3263 §4.1).
fn service(domain: &str, transport: Transport) -> String {
    let label = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    format!("{label}.{domain}")
}

fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

const SERVICES: [(&str, Transport); 3] =
    [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)];

/// Candidates of one target; what the records name beyond is not tried.
pub const CANDIDATES_MAX: usize = 16;
/// Addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 4;
/// Records of one answer that are followed.
const RECORDS_MAX: usize = 8;
/// Questions for one target.
const QUESTIONS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// A zone as a table.
    struct Zone {
        naptr: Vec<(&'static str, Naptr)>,
        srv: Vec<(&'static str, Srv)>,
        addresses: Vec<(&'static str, &'static str)>,
    }

    fn naptr(order: u16, preference: u16, flags: &str, service: &str, replacement: &str) -> Naptr {
        let [flags, service, replacement] = [flags, service, replacement].map(str::to_owned);
        Naptr { order, preference, flags, service, replacement }
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
        Srv { priority, weight, port, target: target.into() }
    }

    fn zone() -> Zone {
        Zone { naptr: Vec::new(), srv: Vec::new(), addresses: vec![("example.com", "192.0.2.1")] }
    }

    fn find<T: Clone>(table: &[(&str, T)], name: &str) -> Vec<T> {
        table.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.clone()).collect()
    }

    fn located(zone: &Zone, target: Target) -> (Vec<String>, usize) {
        let mut location = Location::new(target, 7);
        let mut questions = 0;
        while let Some(question) = location.poll_question() {
            questions += 1;
            match question {
                Question::Naptr(name) => location.handle_naptr(find(&zone.naptr, &name)),
                Question::Srv(name) => location.handle_srv(find(&zone.srv, &name)),
                Question::Addresses(name) => {
                    let found = find(&zone.addresses, &name);
                    location.handle_addresses(found.iter().map(|a| a.parse().unwrap()).collect());
                }
            }
        }
        let found = location.candidates();
        (found.iter().map(|c| format!("{} {}", c.transport.name(), c.address)).collect(), questions)
    }

    fn target(host: &str, port: Option<u16>, transport: Option<Transport>) -> Target {
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(host.into()),
        };
        Target { host, port, transport, secure: false }
    }

    fn way(zone: &Zone, target: Target) -> Vec<String> {
        located(zone, target).0
    }

    #[test]
    fn addresses_and_ports_need_no_records() {
        let zone = zone();
        assert_eq!(located(&zone, target("192.0.2.9", None, None)), (vec!["udp 192.0.2.9:5060".into()], 0));
        let v6 = target("2001:db8::1", Some(5070), Some(Transport::Tcp));
        assert_eq!(way(&zone, v6), ["tcp [2001:db8::1]:5070"]);
        assert_eq!(way(&zone, target("192.0.2.9", None, Some(Transport::Tls))), ["tls 192.0.2.9:5061"]);
        let (found, questions) = located(&zone, target("example.com", Some(5070), None));
        assert_eq!((found, questions), (vec!["udp 192.0.2.1:5070".into()], 1));
        let secure = Target { secure: true, ..target("example.com", Some(5070), Some(Transport::Tcp)) };
        assert_eq!(way(&zone, secure), ["tls 192.0.2.1:5070"]);
    }

    #[test]
    fn without_records_the_domain_is_the_host() {
        let zone = zone();
        assert_eq!(located(&zone, target("example.com", None, None)), (vec!["udp 192.0.2.1:5060".into()], 5));
        assert_eq!(way(&zone, target("example.com", None, Some(Transport::Tcp))), ["tcp 192.0.2.1:5060"]);
        let secure = Target { secure: true, ..target("example.com", None, None) };
        assert_eq!(located(&zone, secure), (vec!["tls 192.0.2.1:5061".into()], 2));
        assert_eq!(way(&zone, target("nowhere.example", None, None)), Vec::<String>::new());
    }

    #[test]
    fn naptr_then_srv_then_addresses_in_order() {
        let mut zone = zone();
        zone.naptr = vec![
            ("example.com", naptr(20, 1, "s", "SIP+D2U", "_sip._udp.example.com.")),
            ("example.com", naptr(10, 2, "s", "sip+d2t", "_sip._tcp.example.com.")),
            ("example.com", naptr(10, 1, "S", "SIPS+D2T", "_sips._tcp.example.com")),
            ("example.com", naptr(1, 1, "s", "SIP+D2S", "_sip._sctp.example.com")),
            ("example.com", naptr(1, 1, "u", "E2U+sip", "")),
        ];
        zone.srv = vec![
            ("_sip._tcp.example.com", srv(2, 0, 5064, "b.example.com")),
            ("_sip._tcp.example.com", srv(1, 0, 5062, "a.example.com")),
            ("_sips._tcp.example.com", srv(1, 0, 5063, "a.example.com")),
            ("_sip._udp.example.com", srv(1, 0, 5065, "b.example.com")),
        ];
        zone.addresses.extend([
            ("a.example.com", "2001:db8::a"),
            ("a.example.com", "192.0.2.10"),
            ("b.example.com", "192.0.2.11"),
        ]);
        let all = [
            "tls 192.0.2.10:5063",
            "tls [2001:db8::a]:5063",
            "tcp 192.0.2.10:5062",
            "tcp [2001:db8::a]:5062",
            "tcp 192.0.2.11:5064",
            "udp 192.0.2.11:5065",
        ];
        assert_eq!(way(&zone, target("example.com", None, None)), all);
        assert_eq!(way(&zone, target("example.com", None, Some(Transport::Tcp))), all[2..5]);
        assert_eq!(
            way(&zone, Target { secure: true, ..target("example.com", None, None) }),
            all[..2],
            "sips: is not led away from TLS"
        );
    }

    #[test]
    fn a_service_that_is_decidedly_not_offered_is_not_tried_at_the_domain() {
        let mut zone = zone();
        zone.srv = vec![("_sip._tcp.example.com", srv(0, 0, 0, "."))];
        assert_eq!(way(&zone, target("example.com", None, Some(Transport::Tcp))), Vec::<String>::new());
    }

    #[test]
    fn weights_share_requests_as_they_say() {
        let mut first = [0; 3];
        for random in 0..6000 {
            let mut location = Location::new(target("x.example", None, Some(Transport::Udp)), random);
            location.poll_question();
            location.handle_srv(vec![
                srv(1, 10, 1, "a"),
                srv(1, 30, 2, "b"),
                srv(1, 60, 3, "c"),
                srv(2, 900, 4, "d"),
            ]);
            let mut names = Vec::new();
            while let Some(Question::Addresses(name)) = location.poll_question() {
                names.push(name);
                location.handle_addresses(Vec::new());
            }
            assert_eq!((names.len(), names[3].as_str()), (4, "d"), "each once, priority 2 last");
            first[usize::from(names[0].as_bytes()[0] - b'a')] += 1;
        }
        for (count, share) in first.into_iter().zip([600, 1800, 3600]) {
            assert!((share * 8 / 10..share * 12 / 10).contains(&count), "{first:?}");
        }
    }

    #[test]
    fn silence_of_the_name_service_leaves_the_plain_address() {
        let mut location = Location::new(target("example.com", None, None), 0);
        assert_eq!(location.poll_question(), Some(Question::Naptr("example.com".into())));
        location.handle_silence();
        assert_eq!(location.poll_question(), Some(Question::Addresses("example.com".into())));
        location.handle_silence();
        assert_eq!(location.poll_question(), None);
    }

    #[test]
    fn whatever_the_records_say_the_search_ends() {
        let mut location = Location::new(target("example.com", None, None), 0);
        let mut questions = 0;
        while let Some(question) = location.poll_question() {
            questions += 1;
            match question {
                Question::Naptr(_) => location.handle_naptr(
                    (0..1000).map(|n| naptr(n, 0, "s", "SIP+D2U", &format!("s{n}.example"))).collect(),
                ),
                Question::Srv(_) => {
                    location.handle_srv((0..1000).map(|n| srv(n, n, n, &format!("h{n}.example"))).collect());
                }
                Question::Addresses(_) => {
                    location.handle_addresses((0..100).map(|n| IpAddr::from([192, 0, 2, n])).collect());
                }
            }
        }
        assert!(questions <= QUESTIONS_MAX);
        assert_eq!(location.candidates().len(), CANDIDATES_MAX);
    }
}
