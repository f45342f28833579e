//! Imitates the archives of KubeEdge's releases up to v1.23.1, with their checksum files.
//!
//! The files are `kubeedge-vX-linux-ARCH.tar.gz` and `checksum_<archive>.txt`.
//!
//! Unlike the real archive it is reproducible, and holds a stand-in of some megabytes instead of edgecore's 70 to 100 MB.

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha512};

/// What a member of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A folder.
    Folder,
    /// A file with this content.
    File(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(String),
    /// A hard link to this member.
    Hardlink(String),
}

/// One member of an archive, in the order in which it is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, written into the header as it is: `../` and `/` too, for archives that mean harm.
    pub path: String,
    /// Unix permissions.
    pub mode: u32,
    /// What it is.
    pub kind: MemberKind,
}

impl Member {
    /// A folder; its path ends in `/`.
    pub fn folder(path: &str) -> Self {
        Self { path: path.to_owned(), mode: 0o755, kind: MemberKind::Folder }
    }

    /// A file.
    pub fn file(path: &str, mode: u32, content: &[u8]) -> Self {
        Self { path: path.to_owned(), mode, kind: MemberKind::File(content.to_vec()) }
    }

    /// A symbolic link.
    pub fn symlink(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), mode: 0o777, kind: MemberKind::Symlink(target.to_owned()) }
    }
}

fn plain(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

/// The top folder: `kubeedge-vX-linux-ARCH`.
pub fn folder(version: &str, arch: &str) -> String {
    format!("kubeedge-v{}-linux-{arch}", plain(version))
}

/// The archive's file name, which is also its subject in the provenance.
pub fn tarball_name(version: &str, arch: &str) -> String {
    format!("{}.tar.gz", folder(version, arch))
}

/// The checksum file's name.
pub fn checksum_name(version: &str, arch: &str) -> String {
    format!("checksum_{}.txt", tarball_name(version, arch))
}

/// The checksum file's content: bare SHA-512 hex and a newline, no file name.
pub fn checksum(tarball: &[u8]) -> String {
    format!("{}\n", hex::encode(Sha512::digest(tarball)))
}

/// What KubeEdge puts into an archive, `edgecore` being the file that matters.
pub fn kubeedge_members(version: &str, arch: &str, edgecore: &[u8]) -> Vec<Member> {
    let top = folder(version, arch);
    let cloud = |name: &str| format!("#!/bin/sh\n# stands for {name}, which no device wants\nexit 1\n");
    let mut members = vec![Member::folder(&format!("{top}/")), Member::folder(&format!("{top}/cloud/"))];
    for name in ["admission", "cloudcore", "controllermanager", "csidriver", "iptablesmanager"] {
        members.push(Member::folder(&format!("{top}/cloud/{name}/")));
        members.push(Member::file(&format!("{top}/cloud/{name}/{name}"), 0o755, cloud(name).as_bytes()));
    }
    members.push(Member::folder(&format!("{top}/edge/")));
    members.push(Member::file(&format!("{top}/edge/edgecore"), 0o755, edgecore));
    members.push(Member::file(&format!("{top}/version"), 0o644, format!("v{}\n", plain(version)).as_bytes()));
    members
}

/// Packs members as they are, in their order, and compresses them.
pub fn pack(members: &[Member]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(member.mode);
        header.set_uid(0);
        header.set_gid(0);
        // Fixed, so that equal releases have equal digests.
        header.set_mtime(1_750_000_000);
        let (kind, link, content): (_, &str, &[u8]) = match &member.kind {
            MemberKind::Folder => (tar::EntryType::Directory, "", &[]),
            MemberKind::File(content) => (tar::EntryType::Regular, "", content),
            MemberKind::Symlink(target) => (tar::EntryType::Symlink, target, &[]),
            MemberKind::Hardlink(target) => (tar::EntryType::Link, target, &[]),
        };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        // Straight into the header: the library's own setters refuse the very names that hostile archives have.
        write_field(&mut header.as_old_mut().name, &member.path);
        write_field(&mut header.as_old_mut().linkname, link);
        header.set_cksum();
        archive.append(&header, content).expect("writing to memory succeeds");
    }
    let gzip = archive.into_inner().expect("writing to memory succeeds");
    gzip.finish().expect("writing to memory succeeds")
}

fn write_field(field: &mut [u8; 100], text: &str) {
    assert!(text.len() < field.len(), "`{text}` is too long for this packer");
    field.fill(0);
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// A release's archive for one architecture.
pub fn tarball(version: &str, arch: &str, edgecore: &[u8]) -> Vec<u8> {
    pack(&kubeedge_members(version, arch, edgecore))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn an_archive_looks_like_kubeedges() {
        let packed = tarball("v1.23.1", "arm64", b"the program");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
        let mut seen = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert!(path.starts_with("kubeedge-v1.23.1-linux-arm64/"), "{path}");
            seen.insert(path, (entry.header().mode().unwrap(), content));
        }
        assert_eq!(seen["kubeedge-v1.23.1-linux-arm64/version"], (0o644, b"v1.23.1\n".to_vec()));
        assert_eq!(seen["kubeedge-v1.23.1-linux-arm64/edge/edgecore"], (0o755, b"the program".to_vec()));
        assert!(seen.contains_key("kubeedge-v1.23.1-linux-arm64/cloud/cloudcore/cloudcore"));
        assert!(packed == tarball("1.23.1", "arm64", b"the program"), "the same release is the same archive");
    }

    #[test]
    fn names_and_checksum_are_kubeedges() {
        assert_eq!(tarball_name("v1.23.1", "arm"), "kubeedge-v1.23.1-linux-arm.tar.gz");
        assert_eq!(checksum_name("v1.23.1", "arm"), "checksum_kubeedge-v1.23.1-linux-arm.tar.gz.txt");
        let text = checksum(b"");
        assert!(text.starts_with("cf83e1357eefb8bd") && text.len() == 129 && text.ends_with('\n'));
    }

    #[test]
    fn a_hostile_archive_keeps_its_hostile_names() {
        let packed = pack(&[Member::file("../../etc/passwd", 0o644, b"x"), Member::symlink("edge", "/etc")]);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
        let paths: Vec<_> =
            archive.entries().unwrap().map(|e| String::from_utf8(e.unwrap().path_bytes().to_vec()).unwrap()).collect();
        assert_eq!(paths, ["../../etc/passwd", "edge"]);
    }
}
