//! Which machine a controller belongs to: GUIDs, in the ways in which they are written.

/// True for a whole GUID.
pub(super) fn is_guid(text: &str) -> bool {
    digits(text).len() == 32
}

fn digits(guid: &str) -> Vec<u8> {
    let hex = guid.bytes().filter(u8::is_ascii_hexdigit);
    hex.map(|digit| digit.to_ascii_lowercase()).collect()
}

/// Controllers write the first three fields in either order of bytes (SMBIOS 2.6, 7.2.1), and some the whole backwards.
pub(super) fn same_machine(wanted: &str, told: &str) -> bool {
    let (wanted, told) = (digits(wanted), digits(told));
    if wanted.len() != 32 || told.len() != 32 {
        return false;
    }
    let bytes: Vec<&[u8]> = told.chunks(2).collect();
    let order = |order: &[usize]| -> Vec<u8> { order.iter().flat_map(|at| bytes[*at].to_vec()).collect() };
    let swapped = order(&[3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
    let backwards = order(&[15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    [told.clone(), swapped, backwards].contains(&wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_the_same_machine_in_either_order_of_bytes() {
        let told = "33221100-5544-7766-8899-aabbccddeeff";
        assert!(same_machine("33221100-5544-7766-8899-AABBCCDDEEFF", told));
        assert!(same_machine("00112233-4455-6677-8899-aabbccddeeff", told));
        assert!(same_machine("ffeeddcc-bbaa-9988-6677-445500112233", told));
        assert!(!same_machine("33221100-5544-7766-8899-aabbccddeefe", told));
        assert!(!same_machine("", told) && !same_machine("00112233", "00112233"));
    }
}
