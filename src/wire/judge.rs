//! What others would say of one's own certificate: told before they are asked, as a refusal at the end of a handshake does not always arrive.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::revoked::Revoked;
use crate::error::{Code, Doing, Result, refuse};

/// Why others refuse a certificate now, if they do, by the authority and the list of revoked ones that they have. Errors: `Configuration`: a file cannot be
/// read.
pub fn fault_of(certificate: &Path, ca: &Path, crl: Option<&Path>) -> Result<Option<String>> {
    let (chain, doing) = (read(certificate)?, "preparing to check a certificate");
    let Some((own, between)) = chain.split_first() else {
        return Err(refuse(Code::Configuration, format!("{} holds no certificate", certificate.display())));
    };
    let (mut roots, authorities) = (RootCertStore::empty(), read(ca)?);
    let revoked = crl.map_or_else(|| Ok(Revoked::none()), |file| Revoked::read(file, &authorities))?;
    for authority in authorities {
        roots.add(authority).doing(Code::Configuration, doing)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(revoked.lists()).build();
    let judge = judge.doing(Code::Configuration, doing)?;
    Ok(judge.verify_client_cert(own, between, UnixTime::now()).err().map(|error| in_words(&error)))
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let doing = || format!("reading certificates from {}", file.display());
    let read = CertificateDer::pem_file_iter(file).doing(Code::Configuration, doing())?;
    read.collect::<std::result::Result<_, _>>().doing(Code::Configuration, doing())
}

fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "it has ended".to_string()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "it is not good yet, by this machine's clock".to_string()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "another authority has issued it".to_string()
        }
        Error::InvalidCertificate(CertificateError::Revoked) => "it was revoked".to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;
    use crate::wire::pki::Authority;

    #[test]
    fn a_certificate_is_judged_by_authority_and_time() {
        let directory = std::env::temp_dir().join(format!("hsmpool-judge-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = |name: &str| directory.join(name);
        let (ours, others) = (file("ours"), file("others"));
        let authority = Authority::create(&ours, [1; 16]).unwrap();
        Authority::create(&others, [1; 16]).unwrap();
        let name = Name::Operator("ann".to_string());
        authority.issue(&name, 1, &file("good")).unwrap();
        // Good from an hour before it was issued, so that it ends an hour after it began.
        authority.issue(&name, 0, &file("ended")).unwrap();
        assert_eq!(fault_of(&file("good.pem"), &ours.join("ca.pem"), None).unwrap(), None);
        assert_eq!(
            fault_of(&file("good.pem"), &others.join("ca.pem"), None).unwrap().unwrap(),
            "another authority has issued it"
        );
        let back = authority.revoke(&[authority.certificate_in(&file("good.pem")).unwrap()]).unwrap();
        assert_eq!(fault_of(&file("good.pem"), &ours.join("ca.pem"), Some(&back.list)).unwrap().unwrap(), "it was revoked");
        std::thread::sleep(std::time::Duration::from_millis(2100));
        assert_eq!(fault_of(&file("ended.pem"), &ours.join("ca.pem"), None).unwrap().unwrap(), "it has ended");
        assert_eq!(fault_of(&file("missing.pem"), &ours.join("ca.pem"), None).unwrap_err().code(), Code::Configuration);
        std::fs::write(file("empty.pem"), "").unwrap();
        assert_eq!(fault_of(&file("empty.pem"), &ours.join("ca.pem"), None).unwrap_err().code(), Code::Configuration);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
