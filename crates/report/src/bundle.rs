//! Several files as one: a ZIP archive (PKWARE, APPNOTE 6.3.3) without compression or times, so that the same files are the same bytes.

use flate2::Crc;

use crate::File;

/// 1980-01-01, the first day that the format knows.
const DAY: u16 = 0x21;
/// Version 2.0 of the format.
const VERSION: u16 = 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;

/// Puts files into one archive, in their order.
///
/// # Errors
/// If they come to more than the format holds: 65,535 files or 4 GiB.
pub fn bundle(files: &[File]) -> Result<Vec<u8>, std::num::TryFromIntError> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for File { name, bytes } in files {
        let mut crc = Crc::new();
        crc.update(bytes);
        let (size, name_size) = (u32::try_from(bytes.len())?, u16::try_from(name.len())?);
        // What the header of a file and its entry in the directory have in common.
        let mut common = Vec::new();
        for number in [VERSION, FLAGS, 0, 0, DAY] {
            common.extend(number.to_le_bytes());
        }
        for number in [crc.sum(), size, size] {
            common.extend(number.to_le_bytes());
        }
        common.extend(name_size.to_le_bytes());
        common.extend([0; 2]);
        let at = u32::try_from(archive.len())?;
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(bytes);
        directory.extend(b"PK\x01\x02");
        directory.extend(VERSION.to_le_bytes());
        directory.extend(&common);
        // No comment, first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, at, size) =
        (u16::try_from(files.len())?, u32::try_from(archive.len())?, u32::try_from(directory.len())?);
    archive.append(&mut directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    for number in [count, count] {
        archive.extend(number.to_le_bytes());
    }
    for number in [size, at] {
        archive.extend(number.to_le_bytes());
    }
    archive.extend([0; 2]);
    Ok(archive)
}
