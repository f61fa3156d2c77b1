//! Inputs that are kept: each reached something in a fuzzer's run that none before it did, or broke a promise once.

/// Those of a target, from `fuzz/kept/NAME.txt`: one a line, as hexadecimal digits.
pub fn inputs(name: &str) -> Vec<Vec<u8>> {
    let file = format!("{}/fuzz/kept/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let of_line = |line: &str| line.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| of_line(line).unwrap_or_else(|| panic!("{file}: {line} is not hexadecimal"))).collect()
}
