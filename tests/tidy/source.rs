//! Rust text made easy to search: comments and literals blanked, test code told from shipped code, functions found.

use std::path::{Path, PathBuf};

/// One file, with views of it that keep every line where it was.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    /// As it is on the disk.
    pub text: String,
    /// Comments, and the insides of string and character literals, replaced by spaces.
    pub code: String,
    /// `code`, with test-only items replaced by spaces too.
    pub shipped: String,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    /// The first line of the signature, counted from 1.
    pub line: usize,
    pub lines: usize,
    /// Byte range of the whole function.
    pub range: std::ops::Range<usize>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let is_rust = path.ends_with(".rs");
        let code = if is_rust { blank_comments_and_literals(text) } else { text.to_owned() };
        let shipped = if is_rust { blank_test_items(&code) } else { code.clone() };
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }

    /// "path:line", for a byte offset into any of the views.
    pub fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.text, offset))
    }

    /// The room of the house that the file belongs to: `src/ffi/sign.rs` and `src/ffi/mod.rs` to `ffi`, `src/ck.rs` to `ck`.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (room != "lib" && room != "bin").then_some(room)
    }

    /// Whether the whole file is test code, by its name; `rules::shipped_test_files` holds the name to its word.
    pub fn is_test_file(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// Every function with a body, nested ones included.
    pub fn functions(&self) -> Vec<Function> {
        let code = &self.code;
        words(code, "fn").filter_map(|start| function_at(code, start)).collect()
    }
}

/// A source of the repository by its relative path.
pub fn read(path: &str) -> Source {
    let full = root().join(path);
    let text = std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{full:?}: {error}"));
    Source::new(path, &text)
}

/// The files below the given places that have one of the extensions (none: any), sorted; places that do not exist are empty.
pub fn read_all(places: &[&str], extensions: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    places.iter().for_each(|place| collect(&root().join(place), &mut paths));
    paths.sort();
    let relative = |path: &PathBuf| path.strip_prefix(root()).expect("collected below the root").to_string_lossy().into_owned();
    let wanted =
        |path: &&PathBuf| extensions.is_empty() || extensions.iter().any(|it| path.extension().is_some_and(|ext| ext == *it));
    let read = |path: &PathBuf| std::fs::read_to_string(path).ok().map(|text| Source::new(&relative(path), &text));
    paths.iter().filter(wanted).filter_map(read).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) {
    if path.is_file() {
        paths.push(path.to_owned());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries {
        let below = entry.expect("a directory that opened can be read").path();
        if below.file_name().is_none_or(|name| name != "target") {
            collect(&below, paths);
        }
    }
}

/// 1 + the number of line ends before the offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where a whole word stands in the text.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let end = at + word.len();
        (at == 0 || !is_word(bytes[at - 1])) && bytes.get(end).is_none_or(|byte| !is_word(*byte))
    })
}

/// The identifier that starts at the offset; empty when none does.
pub fn identifier(text: &str, start: usize) -> &str {
    let end = text.as_bytes()[start..].iter().position(|byte| !is_word(*byte)).map_or(text.len(), |len| start + len);
    &text[start..end]
}

/// The offset just past the bracket that closes the one at `open`.
pub fn after_matching(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn function_at(code: &str, start: usize) -> Option<Function> {
    if !code[start..].starts_with("fn ") {
        return None; // a function type
    }
    let name = identifier(code, start + "fn ".len());
    let mut at = start;
    loop {
        match code.as_bytes().get(at)? {
            b';' => return None, // a declaration
            b'(' | b'[' => at = after_matching(code, at),
            b'{' => break,
            _ => at += 1,
        }
    }
    let range = start..after_matching(code, at);
    let lines = 1 + code[range.clone()].matches('\n').count();
    Some(Function { name: name.to_owned(), line: line_of(code, start), lines, range })
}

/// Replaces a range by spaces, keeping line ends.
fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// Comments go; of string and character literals the quotes stay.
fn blank_comments_and_literals(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (end, keep) = match &text.as_bytes()[at..] {
            [b'/', b'/', ..] => (line_end(text, at), 0),
            [b'/', b'*', ..] => (block_comment_end(text, at), 0),
            [b'"', ..] => (string_end(text, at), 1),
            [b'r', b'"' | b'#', ..] if !preceded_by_word(text, at) => match raw_string_end(text, at) {
                Some(end) => (end, 0),
                None => (at + 1, usize::MAX), // a raw identifier
            },
            [b'\'', ..] => match character_end(text, at) {
                Some(end) => (end, 1),
                None => (at + 1, usize::MAX), // a lifetime
            },
            _ => (at + 1, usize::MAX),
        };
        if keep != usize::MAX {
            blank(&mut bytes[at + keep..end - keep]);
        }
        at = end;
    }
    String::from_utf8(bytes).expect("whole characters were blanked")
}

/// `br"…"` and `cr"…"` are raw strings too: one letter before the `r` is looked through.
fn preceded_by_word(text: &str, at: usize) -> bool {
    let before = &text.as_bytes()[..at];
    match before {
        [.., other, b'b' | b'c'] => is_word(*other),
        [b'b' | b'c'] | [] => false,
        [.., other] => is_word(*other),
    }
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |len| at + len)
}

fn block_comment_end(text: &str, start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(text: &str, start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn raw_string_end(text: &str, start: usize) -> Option<usize> {
    let hashes = text[start + 1..].bytes().take_while(|byte| *byte == b'#').count();
    let open = start + 1 + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text[open + 1..].find(&close).map_or(text.len(), |len| open + 1 + len + close.len()))
}

fn character_end(text: &str, start: usize) -> Option<usize> {
    let mut characters = text[start + 1..].char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        let escaped_quote = start + 3;
        return text[escaped_quote..].find('\'').map(|len| escaped_quote + len + 1);
    }
    let (after, next) = characters.next()?;
    (next == '\'').then_some(start + 1 + after + 1)
}

/// Items under `#[cfg(test)]` and `#[test]` go.
fn blank_test_items(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for mark in ["#[cfg(test)]", "#[test]"] {
        for (start, _) in code.match_indices(mark) {
            let end = item_end(code, start + mark.len());
            blank(&mut bytes[start..end]);
        }
    }
    String::from_utf8(bytes).expect("whole characters were blanked")
}

/// Just past the item whose attributes or keyword start at `at`.
fn item_end(code: &str, mut at: usize) -> usize {
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b';' => return at + 1,
            b'{' => return after_matching(code, at),
            b'(' | b'[' => at = after_matching(code, at),
            _ => at += 1,
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"unsafe // {\"; // unsafe\n/* unsafe /* { */ */ let b = 'x'; let c: &'static str = r#\"unsafe\"#; let d = '\\'';";
    let source = Source::new("src/a.rs", text);
    assert_eq!(words(&source.code, "unsafe").count(), 0);
    assert!(source.code.contains("&'static str"));
    assert_eq!(source.code.len(), text.len());
    assert_eq!(source.code.matches('{').count(), 0);
}

#[test]
fn test_items_are_not_shipped() {
    let source = Source::new("src/a.rs", "fn a() { x.ok() }\n#[cfg(test)]\nmod tests { fn b() { x.unwrap() } }\nfn c() {}\n");
    assert!(!source.shipped.contains("unwrap") && source.code.contains("unwrap"));
    assert!(source.shipped.contains("fn c"));
}

#[test]
fn functions_are_measured_to_their_closing_brace() {
    let source = Source::new("src/a.rs", "trait T { fn declared(&self); }\nfn two(x: [u8; 2]) -> fn(u8) {\n}\n");
    let found: Vec<_> = source.functions().iter().map(|f| (f.name.clone(), f.line, f.lines)).collect();
    assert_eq!(found, [("two".to_owned(), 2, 2)]);
}
