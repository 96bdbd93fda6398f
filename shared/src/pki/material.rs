//! All that one end of a connection needs: its key and certificates, whom it trusts, and which certificates are
//! revoked. A new value replaces the old one whole, in memory and on disk.

use std::path::Path;

use holdfast_types::WallTime;
use rustls::{client::verify_server_name, server::ParsedCertificate};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::PkiError;
use crate::{files, identity::PeerIdentity};

/// Key and certificate in one file: they change together, and one rename changes both.
const IDENTITY_FILE: &str = "identity.pem";
const ROOTS_FILE: &str = "roots.pem";
const CRLS_FILE: &str = "revoked.pem";
/// Lists of revoked certificates grow: 30 bytes each, so this is a good hundred thousand of them.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Key, certificates, roots and revocation lists of one end.
pub struct Material {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the leaf.
    pub key: PrivateKeyDer<'static>,
    /// The CAs that are trusted; two while one replaces the other.
    pub roots: Vec<CertificateDer<'static>>,
    /// A server needs one for each root; a client does without.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Clone for Material {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            roots: self.roots.clone(),
            crls: self.crls.clone(),
        }
    }
}

impl Material {
    /// A new key with what the CA answered, as DER.
    #[must_use]
    pub fn from_der(key: PrivateKeyDer<'static>, chain: Vec<Vec<u8>>, roots: Vec<Vec<u8>>, crls: Vec<Vec<u8>>) -> Self {
        Self {
            chain: chain.into_iter().map(CertificateDer::from).collect(),
            key,
            roots: roots.into_iter().map(CertificateDer::from).collect(),
            crls: crls.into_iter().map(CertificateRevocationListDer::from).collect(),
        }
    }

    /// Whom the leaf names.
    ///
    /// # Errors
    /// [`PkiError::Identity`] when there is no leaf or it names nobody.
    pub fn identity(&self, now: WallTime) -> Result<PeerIdentity, PkiError> {
        let leaf = self.chain.first().ok_or_else(|| PkiError::Damaged {
            file: IDENTITY_FILE.to_owned(),
            why: "it holds no certificate".to_owned(),
        })?;
        Ok(PeerIdentity::from_certificate(leaf, now)?)
    }

    /// Whether a client that dialled this name or address would find it in the leaf.
    #[must_use]
    pub fn answers_to(&self, name: &ServerName<'_>) -> bool {
        let leaf = self.chain.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
        leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
    }

    /// Writes all of it to `folder`, which is made if need be. A crash at any moment leaves the old key with the old
    /// certificate or the new key with the new one.
    ///
    /// # Errors
    /// [`PkiError::File`]; the old key and certificate are then still whole.
    pub fn save_dir(&self, folder: &Path) -> Result<(), PkiError> {
        files::make_private_folder(folder)?;
        // Whom to trust comes first: the old identity works with the new roots, as the new roots include the old
        // ones until every bearer has moved.
        let roots: String = self.roots.iter().map(|c| to_pem("CERTIFICATE", c)).collect();
        files::write_private(&folder.join(ROOTS_FILE), roots.as_bytes())?;
        let crls: String = self.crls.iter().map(|c| to_pem("X509 CRL", c)).collect();
        files::write_private(&folder.join(CRLS_FILE), crls.as_bytes())?;
        let mut identity = to_pem(key_tag(&self.key), self.key.secret_der());
        identity.extend(self.chain.iter().map(|c| to_pem("CERTIFICATE", c)));
        Ok(files::write_private(&folder.join(IDENTITY_FILE), identity.as_bytes())?)
    }

    /// Reads what [`Material::save_dir`] wrote.
    ///
    /// # Errors
    /// [`PkiError`] naming the file that is missing or damaged.
    pub fn load_dir(folder: &Path) -> Result<Self, PkiError> {
        let identity = folder.join(IDENTITY_FILE);
        let mut key = None;
        let mut chain = Vec::new();
        for block in read_pem(&identity)? {
            match block.tag() {
                "CERTIFICATE" => chain.push(CertificateDer::from(block.into_contents())),
                "PRIVATE KEY" if key.is_none() => {
                    key = Some(PrivateKeyDer::from(PrivatePkcs8KeyDer::from(block.into_contents())));
                }
                other => return Err(damaged(&identity, format!("a {other} has no place in it"))),
            }
        }
        let key = key.ok_or_else(|| damaged(&identity, "it holds no private key".to_owned()))?;
        if chain.is_empty() {
            return Err(damaged(&identity, "it holds no certificate".to_owned()));
        }
        let roots: Vec<_> = read_tagged(&folder.join(ROOTS_FILE), "CERTIFICATE")?;
        if roots.is_empty() {
            return Err(damaged(&folder.join(ROOTS_FILE), "it holds no certificate".to_owned()));
        }
        let crls = read_tagged(&folder.join(CRLS_FILE), "X509 CRL")?;
        Ok(Self {
            chain,
            key,
            roots: roots.into_iter().map(CertificateDer::from).collect(),
            crls: crls.into_iter().map(CertificateRevocationListDer::from).collect(),
        })
    }

    /// Removes what [`Material::save_dir`] wrote, the key first, and the folder if nothing else lies in it.
    ///
    /// # Errors
    /// [`PkiError::File`] naming what could not be removed.
    pub fn remove_dir(folder: &Path) -> Result<(), PkiError> {
        for file in [IDENTITY_FILE, CRLS_FILE, ROOTS_FILE] {
            files::remove(&folder.join(file))?;
        }
        Ok(files::remove_empty_folder(folder)?)
    }
}

fn key_tag(key: &PrivateKeyDer<'_>) -> &'static str {
    // Our own keys are all of the first kind; the others are named for what they are, and refused when read.
    match key {
        PrivateKeyDer::Pkcs8(_) => "PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        _ => "UNKNOWN PRIVATE KEY",
    }
}

pub(super) fn to_pem(tag: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), config)
}

fn read_pem(path: &Path) -> Result<Vec<pem::Pem>, PkiError> {
    let text = files::read_text(path, FILE_BYTES_MAX)?;
    let blocks = pem::parse_many(&text).map_err(|e| damaged(path, e.to_string()))?;
    // The parser skips what it does not take for a block, so a file that is cut off could look shorter but whole.
    if text.matches("-----BEGIN ").count() != blocks.len() {
        return Err(damaged(path, "a block in it is cut off".to_owned()));
    }
    Ok(blocks)
}

fn read_tagged(path: &Path, tag: &str) -> Result<Vec<Vec<u8>>, PkiError> {
    let one = |block: pem::Pem| {
        if block.tag() == tag {
            Ok(block.into_contents())
        } else {
            Err(damaged(path, format!("a {} has no place in it", block.tag())))
        }
    };
    read_pem(path)?.into_iter().map(one).collect()
}

fn damaged(path: &Path, why: String) -> PkiError {
    PkiError::Damaged { file: path.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use holdfast_types::ClusterId;

    use super::*;
    use crate::{
        identity::Bearer,
        pki::{Ca, KeyAndCsr},
    };

    const NOW: WallTime = WallTime(1_795_208_657_532);

    fn material(serial: u64) -> Material {
        let cluster = ClusterId::from_random([1; 16]);
        let ca = Ca::generate(&cluster, NOW).expect("a CA");
        let KeyAndCsr { key, csr } = KeyAndCsr::generate().expect("a key");
        let bearer = Bearer::Coordinator { node: 1 };
        let leaf = ca.sign_csr(&csr, &bearer, &cluster, serial, Duration::from_hours(1), NOW).expect("signed");
        let crls = vec![ca.crl(1, &[7, 8], NOW).expect("a list")];
        Material { chain: vec![leaf], key, roots: vec![ca.certificate().clone()], crls }
    }

    fn same(a: &Material, b: &Material) -> bool {
        a.chain == b.chain && a.key == b.key && a.roots == b.roots && a.crls == b.crls
    }

    #[test]
    fn what_was_saved_is_loaded_and_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("tls");
        let material = material(5);
        material.save_dir(&folder).expect("saved");
        assert!(same(&Material::load_dir(&folder).expect("loaded"), &material));
        assert_eq!(material.identity(NOW).expect("names a bearer").serial, "5");
        for file in fs::read_dir(&folder).expect("list") {
            let mode = file.expect("a file").metadata().expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_write_that_ends_anywhere_leaves_a_key_with_its_own_certificate() {
        let (old, new) = (material(1), material(2));
        // Each name is a file that the write cannot stage: all before it has happened, nothing after it.
        for stopped_at in [ROOTS_FILE, CRLS_FILE, IDENTITY_FILE] {
            let dir = tempfile::tempdir().expect("a folder");
            old.save_dir(dir.path()).expect("saved");
            let staged = dir.path().join(format!(".{stopped_at}.new"));
            fs::create_dir(&staged).expect("in the way");
            assert!(new.save_dir(dir.path()).is_err());
            let found = Material::load_dir(dir.path()).expect("whole");
            assert!(found.chain == old.chain && found.key == old.key, "stopped at {stopped_at}");
            // Half a file, as a crash leaves it, is in nobody's way.
            fs::remove_dir(&staged).expect("removed");
            fs::write(&staged, "-----BEGIN PRIVATE KEY-----\nMII").expect("half a file");
            assert!(same(&Material::load_dir(dir.path()).expect("whole"), &found));
            new.save_dir(dir.path()).expect("saved");
            assert!(same(&Material::load_dir(dir.path()).expect("whole"), &new));
        }
    }

    #[test]
    fn a_torn_or_mistaken_file_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        material(1).save_dir(dir.path()).expect("saved");
        for name in [IDENTITY_FILE, ROOTS_FILE, CRLS_FILE] {
            let path = dir.path().join(name);
            let whole = fs::read_to_string(&path).expect("read");
            fs::write(&path, &whole[..whole.len() - 30]).expect("torn");
            let e = Material::load_dir(dir.path()).err().expect("refused").to_string();
            assert!(e.starts_with(&format!("{} is damaged: ", path.display())), "{e}");
            fs::write(&path, to_pem("RSA PRIVATE KEY", b"x")).expect("mistaken");
            let e = Material::load_dir(dir.path()).err().expect("refused").to_string();
            assert_eq!(e, format!("{} is damaged: a RSA PRIVATE KEY has no place in it", path.display()));
            fs::remove_file(&path).expect("removed");
            let e = Material::load_dir(dir.path()).err().expect("refused").to_string();
            assert_eq!(e, format!("cannot read {}", path.display()));
            fs::write(&path, whole).expect("healed");
        }
        fs::write(dir.path().join(ROOTS_FILE), "").expect("emptied");
        assert!(
            Material::load_dir(dir.path()).err().expect("refused").to_string().ends_with("it holds no certificate")
        );
    }
}
