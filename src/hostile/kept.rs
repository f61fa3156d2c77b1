//! Inputs that are kept: each reached something in a fuzzer's run that none before it did, or broke a promise once.

/// Most inputs that are added to a target's file at once, and most bytes that it may have then.
const ADDED_MAX: usize = 60;
const FILE_MAX_BYTES: usize = 40 << 10;

fn file(name: &str) -> String {
    format!("{}/fuzz/kept/{name}.txt", env!("CARGO_MANIFEST_DIR"))
}

/// Those of a target, from `fuzz/kept/NAME.txt`: one a line, as hexadecimal digits.
pub fn inputs(name: &str) -> Vec<Vec<u8>> {
    let file = file(name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let of_line = |line: &str| line.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| of_line(line).unwrap_or_else(|| panic!("{file}: {line} is not hexadecimal"))).collect()
}

/// Adds the smallest of what a fuzzer has found to a target's file, as far as there is room; `known` is what it began with.
pub fn add(name: &str, mut found: Vec<Vec<u8>>, known: &[Vec<u8>]) -> std::io::Result<()> {
    let file = file(name);
    let mut text = std::fs::read_to_string(&file)?;
    found.retain(|input| !known.contains(input));
    found.sort_by_key(|input| (input.len(), input.clone()));
    for input in found.iter().take(ADDED_MAX) {
        let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_headed = text.lines().rfind(|line| line.starts_with('#')) == Some(FOUND);
        let line = if is_headed { format!("{digits}\n") } else { format!("{FOUND}\n{digits}\n") };
        if text.len() + line.len() > FILE_MAX_BYTES {
            break;
        }
        text.push_str(&line);
    }
    std::fs::write(file, text)
}

/// What stands above them.
const FOUND: &str = "# found by cargo fuzz: each reaches code that none before it does";
