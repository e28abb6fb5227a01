//! The check of a client's version, before anything else, health included.

use super::SERVER_VERSION;
use super::status::{invalid, with};
use super::system::SUPPORTED_CLIENTS;
use http::HeaderMap;
use std::cmp::Ordering;
use steadfast_proto::temporal::errordetails::v1 as details;
use tonic::{Code, Status};

/// Refuses a known client whose version is out of range, or that can't talk to this server.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Status> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let (name, version) = (text("client-name"), text("client-version"));
    let Some((_, range)) = SUPPORTED_CLIENTS.iter().find(|(known, _)| *known == name) else {
        return Ok(());
    };
    if !version.is_empty() {
        let parsed = Version::parse(version).ok_or_else(|| {
            invalid("Unable to parse client version: No Major.Minor.Patch elements found")
        })?;
        if !in_range(&parsed, range).unwrap_or(true) {
            return Err(with(
                Code::FailedPrecondition,
                format!(
                    "Client version {version} is not supported. Server supports {name} versions: {range}"
                ),
                &details::ClientVersionNotSupportedFailure {
                    client_version: version.to_owned(),
                    client_name: name.to_owned(),
                    supported_versions: (*range).to_owned(),
                },
            ));
        }
    }
    let wanted = text("supported-server-versions");
    if wanted.is_empty() {
        return Ok(());
    }
    let own = Version::parse(SERVER_VERSION)
        .ok_or_else(|| Status::internal("the server's version is no version"))?;
    let supported = in_range(&own, wanted).ok_or_else(|| {
        invalid(format!(
            "Unable to parse supported server versions: {wanted}"
        ))
    })?;
    if supported {
        return Ok(());
    }
    Err(with(
        Code::FailedPrecondition,
        format!(
            "Server version {SERVER_VERSION} is not supported. Client supports server versions: {wanted}"
        ),
        &details::ServerVersionNotSupportedFailure {
            server_version: SERVER_VERSION.to_owned(),
            client_supported_server_versions: wanted.to_owned(),
        },
    ))
}

/// A semantic version; a pre-release comes before its release.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    pre_release: Option<String>,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split('+').next()?;
        let (core, pre_release) = match text.split_once('-') {
            Some((core, pre_release)) => (core, Some(pre_release.to_owned())),
            None => (text, None),
        };
        let mut parts = core.split('.').map(|part| part.parse::<u64>().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        if parts.next().is_some() {
            None
        } else {
            Some(Self {
                numbers,
                pre_release,
            })
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (&self.pre_release, &other.pre_release) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(one), Some(two)) => one.cmp(two),
            }
        })
    }
}

/// Whether a version is in a range like `>=1.0.0 <2.0.0 || =3.0.0`; `None` when it is no range.
fn in_range(version: &Version, range: &str) -> Option<bool> {
    let mut any = false;
    for alternative in range.split("||") {
        let mut all = true;
        let mut bounds = 0;
        for bound in alternative.split_whitespace() {
            bounds += 1;
            let digits = bound.find(|next: char| next.is_ascii_digit())?;
            let order = version.order(&Version::parse(&bound[digits..])?);
            all &= match &bound[..digits] {
                "<" => order == Ordering::Less,
                "<=" => order != Ordering::Greater,
                ">" => order == Ordering::Greater,
                ">=" => order != Ordering::Less,
                "" | "=" | "==" => order == Ordering::Equal,
                "!" | "!=" => order != Ordering::Equal,
                _ => return None,
            };
        }
        if bounds == 0 {
            return None;
        }
        any |= all;
    }
    Some(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, version: &str, servers: &str) -> Option<(Code, String)> {
        let mut headers = HeaderMap::new();
        for (header, value) in [
            ("client-name", name),
            ("client-version", version),
            ("supported-server-versions", servers),
        ] {
            if !value.is_empty() {
                headers.insert(header, value.parse().unwrap());
            }
        }
        check(&headers)
            .err()
            .map(|status| (status.code(), status.message().to_owned()))
    }

    #[test]
    fn known_clients_are_held_to_their_range() {
        for (name, version) in [
            ("temporal-go", "1.30.0"),
            ("temporal-go", ""),
            ("temporal-go", "2.0.0-rc.1"),
            ("temporal-ui", "2.99.9"),
            ("temporal-python", "99.0.0"),
            ("temporal-python", "what"),
            ("", "9.9.9"),
            ("someone", "x"),
        ] {
            assert_eq!(checked(name, version, ""), None, "{name} {version}");
        }
        assert_eq!(
            checked("temporal-cli", "2.0.0", ""),
            Some((
                Code::FailedPrecondition,
                "Client version 2.0.0 is not supported. Server supports temporal-cli versions: <2.0.0".to_owned()
            ))
        );
        assert_eq!(
            checked("temporal-go", "abc", ""),
            Some((
                Code::InvalidArgument,
                "Unable to parse client version: No Major.Minor.Patch elements found".to_owned()
            ))
        );
        assert_eq!(checked("temporal-go", "1.0.0", ">=1.0.0 <2.0.0"), None);
        assert_eq!(checked("", "", "<1.0.0"), None);
        assert_eq!(
            checked("temporal-go", "1.0.0", "<1.0.0").unwrap().1,
            "Server version 1.32.0 is not supported. Client supports server versions: <1.0.0"
        );
        assert_eq!(
            checked("temporal-go", "1.0.0", "nonsense").unwrap().0,
            Code::InvalidArgument
        );
    }
}
