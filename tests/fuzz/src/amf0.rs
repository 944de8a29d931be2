//! AMF0 (Adobe AMF 0): any bytes decode to values or an error, and values survive encoding.

use sipcast_media::rtmp::amf0::{Value, decode_all};
use sipcast_media::rtmp::command::Command;

/// Decodes, encodes, decodes again; reads the bytes as a command, too.
pub fn values(data: &[u8]) {
    for type_id in [17, 20] {
        if let Ok(command) = Command::decode(type_id, data) {
            let _ = (command.status().is_some(), command.text_argument().is_some());
        }
    }
    let Ok(values) = decode_all(data) else { return };
    let mut encoded = Vec::new();
    values.iter().for_each(|value| value.encode(&mut encoded));
    let again = decode_all(&encoded).expect("what was encoded can be decoded");
    assert!(same(&values, &again), "{values:?} became {again:?}");
}

/// Equality in which a number that is none equals itself.
fn same(one: &[Value], other: &[Value]) -> bool {
    format!("{one:?}") == format!("{other:?}")
}
