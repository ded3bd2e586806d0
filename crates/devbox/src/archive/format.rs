//! Which format an archive has.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use devbox_types::archive::ArchiveFormat;

use super::ArchiveCommandError;

/// How names of archives end.
const ENDINGS: [(&str, ArchiveFormat); 6] = [
    (".zip", ArchiveFormat::Zip),
    (".tar", ArchiveFormat::Tar),
    (".tar.gz", ArchiveFormat::TarGz),
    (".tgz", ArchiveFormat::TarGz),
    (".tar.zst", ArchiveFormat::TarZst),
    (".tzst", ArchiveFormat::TarZst),
];

/// How many bytes tell the formats apart.
pub(super) const TELLING: usize = 6;

/// How others begin, which are not read.
const OTHERS: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// The format that a name asks for.
pub(super) fn of_name(path: &Path) -> Result<ArchiveFormat, ArchiveCommandError> {
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default().to_ascii_lowercase();
    let known = ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending.as_bytes()));
    let unknown = || ArchiveCommandError::UnknownEnding { path: path.to_owned() };
    known.map(|(_, format)| format).ok_or_else(unknown)
}

/// The format of what begins so. What begins like none of the others can only be a tar.
pub(super) fn of_content(beginning: &[u8], path: &Path) -> Result<ArchiveFormat, ArchiveCommandError> {
    if let Some((_, found)) = OTHERS.into_iter().find(|(magic, _)| beginning.starts_with(magic)) {
        return Err(ArchiveCommandError::OtherFormat { path: path.to_owned(), found });
    }
    Ok(match beginning {
        [0x1f, 0x8b, ..] => ArchiveFormat::TarGz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ArchiveFormat::TarZst,
        // The first entry, or the end of an archive without any.
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => ArchiveFormat::Zip,
        _ => ArchiveFormat::Tar,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_format() {
        for format in ArchiveFormat::ALL {
            assert_eq!(of_name(Path::new(&format!("a.b.{format}"))).ok(), Some(format));
        }
        assert_eq!(of_name(Path::new("dir.zip/A.TGZ")).ok(), Some(ArchiveFormat::TarGz));
        for unknown in ["a", "a.gz", "a.tar.xz", "zip", "a.zip/b", ""] {
            assert!(of_name(Path::new(unknown)).is_err(), "{unknown}");
        }
    }

    #[test]
    fn the_first_bytes_tell_it_too() {
        let of = |beginning: &[u8]| of_content(beginning, Path::new("a")).ok();
        assert_eq!(of(b"\x1f\x8b\x08\x00"), Some(ArchiveFormat::TarGz));
        assert_eq!(of(b"\x28\xb5\x2f\xfd"), Some(ArchiveFormat::TarZst));
        assert_eq!(of(b"PK\x05\x06"), Some(ArchiveFormat::Zip));
        assert_eq!(of(b"PKxx"), Some(ArchiveFormat::Tar));
        assert_eq!(of(b""), Some(ArchiveFormat::Tar));
        assert_eq!(of(b"BZh91A"), None);
        assert_eq!(of(b"\xfd7zXZ\0"), None);
    }
}
