//! Where a node can be reached.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Code, Error, Result, refuse};

/// `tcp:host:port` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TLS over TCP.
    Tcp(String),
    /// A socket of this machine; the kernel tells who is at the other end.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let complaint =
            |what: &str| refuse(Code::Configuration, format!("{text:?} is no address ({what}): tcp:host:port or unix:/path"));
        match text.split_once(':') {
            Some(("tcp", rest)) => match rest.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(rest.to_string())),
                _ => Err(complaint("host or port is missing")),
            },
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("unix", _)) => Err(complaint("the path is not absolute")),
            _ => Err(complaint("its kind is missing")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(place) => write!(f, "tcp:{place}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_and_others_refused() {
        for good in ["tcp:10.0.0.1:7100", "tcp:[::1]:1", "tcp:node.example:65535", "unix:/run/a b.sock"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", "10.0.0.1:1", "tcp:host", "tcp::1", "tcp:host:70000", "unix:relative", "udp:host:1"] {
            let error = bad.parse::<Address>().unwrap_err();
            assert_eq!(error.code(), Code::Configuration);
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
