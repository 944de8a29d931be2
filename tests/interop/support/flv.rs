//! Reads a recorded FLV file (Adobe FLV 10.1, Annex E), independently of the product's own code.

/// One tag of media.
#[derive(Clone, Debug)]
pub struct Tag {
    /// ms.
    pub timestamp: u32,
    /// What it holds.
    pub body: Body,
}

/// What a tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// AVCDecoderConfigurationRecord.
    AvcHeader(Vec<u8>),
    /// The NAL units of one access unit; whether it is marked as a key frame.
    Picture { key: bool, nal_units: Vec<Vec<u8>> },
    /// AudioSpecificConfig.
    AacHeader(Vec<u8>),
    /// One AAC frame.
    Aac(Vec<u8>),
    /// onMetaData.
    Script(Vec<u8>),
}

/// Reads all whole tags.
pub fn read(file: &[u8]) -> Vec<Tag> {
    assert_eq!(&file[..3], b"FLV");
    let mut rest = &file[9 + 4..];
    let mut tags = Vec::new();
    while rest.len() >= 11 {
        let len = be24(&rest[1..]) as usize;
        let timestamp = be24(&rest[4..]) | u32::from(rest[7]) << 24;
        let Some(body) = rest.get(11..11 + len) else { break };
        if let Some(body) = body_of(rest[0], body) {
            tags.push(Tag { timestamp, body });
        }
        rest = rest.get(11 + len + 4..).unwrap_or_default();
    }
    tags
}

fn body_of(kind: u8, body: &[u8]) -> Option<Body> {
    Some(match (kind, body) {
        (9, [0x17, 0, _, _, _, record @ ..]) => Body::AvcHeader(record.to_vec()),
        (9, [first @ (0x17 | 0x27), 1, 0, 0, 0, units @ ..]) => {
            Body::Picture { key: *first == 0x17, nal_units: nal_units(units) }
        }
        (8, [0xaf, 0, config @ ..]) => Body::AacHeader(config.to_vec()),
        (8, [0xaf, 1, frame @ ..]) => Body::Aac(frame.to_vec()),
        (18, body) => Body::Script(body.to_vec()),
        (9, [0x17 | 0x27, 2, ..]) => return None,
        (kind, body) => panic!("unexpected tag {kind}: {:02x?}", &body[..body.len().min(16)]),
    })
}

fn nal_units(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        assert!(len > 0 && len <= rest.len(), "a NAL unit of {len} bytes in {}", rest.len());
        units.push(rest[..len].to_vec());
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "{} bytes after the last NAL unit", bytes.len());
    units
}

fn be24(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2])
}
