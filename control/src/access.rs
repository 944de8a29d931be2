//! Which hosts may be called and published to: allow and deny lists by name and address.
//! Takes: rules as an operator writes them; hosts before their look-up, addresses after it. Gives: whether they may be
//! reached. Leaves out: looking up (`resolve`, `sip_endpoint`), errors of the faces.
//!
//! Names alone are no protection: whoever owns a name decides what it means. So addresses are asked about again after
//! every look-up, and connections go to the very addresses that were asked about.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Who may be reached: what `deny` names never; if `allow` names anything, only that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRules {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Addresses.
    Network(IpNet),
    /// One host.
    Name(String),
    /// A domain and all below it.
    Domain(String),
}

/// A text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host: expected a name, *.domain, an address, or a network such as 10.0.0.0/8")]
pub struct AccessRuleError(String);

impl AccessRules {
    /// Reads both lists.
    ///
    /// # Errors
    /// [`AccessRuleError`] with the first text that is no rule.
    pub fn new<T: AsRef<str>>(allow: &[T], deny: &[T]) -> Result<Self, AccessRuleError> {
        let read = |list: &[T]| list.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>();
        Ok(Self { allow: read(allow)?, deny: read(deny)? })
    }

    /// Whether a host may be looked up: `false` says that none of its addresses may be reached. An address is asked
    /// about at once.
    pub fn admit_host(&self, host: &str) -> bool {
        let host = bare(host);
        if let Ok(address) = host.parse() {
            return self.admit(host, address);
        }
        let denied = self.deny.iter().any(|rule| rule.has_name(host));
        let allowed = self.allow.is_empty()
            || self.allow.iter().any(|rule| rule.has_name(host) || matches!(rule, Rule::Network(_)));
        !denied && allowed
    }

    /// Whether `host`, which is at `address`, may be reached there.
    pub fn admit(&self, host: &str, address: IpAddr) -> bool {
        let (host, address) = (bare(host), address.to_canonical());
        let has = |rule: &Rule| rule.has_name(host) || rule.has_address(address);
        !self.deny.iter().any(has) && (self.allow.is_empty() || self.allow.iter().any(has))
    }
}

impl AccessRules {
    /// Whether a SIP peer may be reached. One that was not `ordered` but named by a peer in a call, as its contact or
    /// its proxy, needs not be allowed: it belongs to one that was. It must not be denied, though.
    pub(crate) fn admit_hop(&self, host: &str, address: IpAddr, ordered: bool) -> bool {
        let (host, address) = (bare(host), address.to_canonical());
        match ordered {
            true => self.admit(host, address),
            false => !self.deny.iter().any(|rule| rule.has_name(host) || rule.has_address(address)),
        }
    }
}

impl Rule {
    fn has_name(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Network(_) => false,
            Self::Name(name) => name.eq_ignore_ascii_case(host),
            Self::Domain(domain) => {
                let at = host.len().checked_sub(domain.len());
                at.and_then(|at| host.get(at..).map(|end| (at, end))).is_some_and(|(at, end)| {
                    end.eq_ignore_ascii_case(domain) && (at == 0 || host[..at].ends_with('.'))
                })
            }
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }
}

impl FromStr for Rule {
    type Err = AccessRuleError;

    fn from_str(text: &str) -> Result<Self, AccessRuleError> {
        let host = bare(text.trim());
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if let Ok(network) = host.parse() {
            return Ok(Self::Network(network));
        }
        let (name, below) = match host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
            Some(domain) => (domain, true),
            None => (host, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        match (is_name, below) {
            (false, _) => Err(AccessRuleError(text.chars().take(64).collect())),
            (true, true) => Ok(Self::Domain(name.to_owned())),
            (true, false) => Ok(Self::Name(name.to_owned())),
        }
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> AccessRules {
        AccessRules::new(allow, deny).expect("rules")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn without_rules_everything_is_admitted() {
        let all = AccessRules::default();
        assert!(all.admit_host("pbx.example") && all.admit("pbx.example", ip("169.254.169.254")));
    }

    #[test]
    fn what_is_denied_is_denied_by_name_and_by_address() {
        let some = rules(&[], &["*.evil.example", "one.example", "169.254.0.0/16", "fd00:ec2::254"]);
        for host in ["evil.example", "a.b.EVIL.example.", "one.example", "169.254.169.254", "[fd00:ec2::254]"]
        {
            assert!(!some.admit_host(host), "{host}");
        }
        for host in ["notevil.example", "two.one.example", "169.253.0.1", "[fd00:ec2::255]"] {
            assert!(some.admit_host(host), "{host}");
        }
        assert!(!some.admit("cdn.example", ip("169.254.169.254")), "a name that means a denied address");
        assert!(!some.admit("cdn.example", ip("::ffff:169.254.169.254")), "in IPv6 clothes");
        assert!(some.admit("cdn.example", ip("192.0.2.1")));
    }

    #[test]
    fn only_what_is_allowed_is_admitted_where_something_is() {
        let some = rules(&["*.cdn.example", "192.0.2.0/24"], &["bad.cdn.example", "192.0.2.66"]);
        assert!(some.admit_host("in.cdn.example") && some.admit("in.cdn.example", ip("198.51.100.1")));
        assert!(!some.admit_host("bad.cdn.example"));
        assert!(some.admit_host("other.example"), "its addresses decide");
        assert!(some.admit("other.example", ip("192.0.2.1")));
        assert!(!some.admit("other.example", ip("192.0.2.66")) && !some.admit("other.example", ip("::1")));
        let names = rules(&["cdn.example"], &[]);
        assert!(!names.admit_host("other.example") && !names.admit_host("192.0.2.1"));
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for text in ["", "*", "a b", "10.0.0.0/33", "http://h/"] {
            assert!(AccessRules::new(&[text], &[]).is_err(), "{text:?}");
        }
    }
}
