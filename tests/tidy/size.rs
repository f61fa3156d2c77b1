//! Size: a function fits a screen, a file fits a mind. Tables may run long, by name and with a reason.

use crate::source::Source;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[("src/ck.rs", "the specification's names: a table")];

/// Functions (`path::name`) that may be longer, and why.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

pub fn long_files(sources: &[Source]) -> Vec<String> {
    let too_long = sources.iter().filter(|it| it.text.lines().count() > FILE_LINES_MAX && !is_listed(LONG_FILES, &it.path));
    too_long.map(|it| format!("{}: {} lines, at most {FILE_LINES_MAX}", it.path, it.text.lines().count())).collect()
}

pub fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let functions = source.functions();
        let too_long =
            functions.iter().filter(|f| f.lines > FUNCTION_LINES_MAX && !is_listed(LONG_FUNCTIONS, &full_name(source, &f.name)));
        offences.extend(
            too_long
                .map(|f| format!("{}:{}: {} has {} lines, at most {FUNCTION_LINES_MAX}", source.path, f.line, f.name, f.lines)),
        );
    }
    offences
}

/// Exceptions that nothing needs any more.
pub fn stale_exceptions(sources: &[Source]) -> Vec<String> {
    let file_needs = |path: &str| sources.iter().any(|it| it.path == path && it.text.lines().count() > FILE_LINES_MAX);
    let function_needs = |name: &str| {
        let mut functions = sources.iter().flat_map(|source| source.functions().into_iter().map(move |f| (source, f)));
        functions.any(|(source, f)| full_name(source, &f.name) == name && f.lines > FUNCTION_LINES_MAX)
    };
    let files = LONG_FILES.iter().map(|(path, _)| *path).filter(|path| !file_needs(path));
    let functions = LONG_FUNCTIONS.iter().map(|(name, _)| *name).filter(|name| !function_needs(name));
    files.chain(functions).map(|name| format!("{name} is no longer long: remove its exception")).collect()
}

fn full_name(source: &Source, function: &str) -> String {
    format!("{}::{function}", source.path)
}

fn is_listed(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(listed, reason)| *listed == name && !reason.is_empty())
}

#[test]
fn one_line_past_the_limit_is_an_offence() {
    let file = |lines: usize| [Source::new("src/a.rs", &"//\n".repeat(lines))];
    assert_eq!(long_files(&file(FILE_LINES_MAX)).len(), 0);
    assert_eq!(long_files(&file(FILE_LINES_MAX + 1)).len(), 1);
    let function = |lines: usize| [Source::new("src/a.rs", &format!("fn f() {{{}}}\n", "\n".repeat(lines - 1)))];
    assert_eq!(long_functions(&function(FUNCTION_LINES_MAX)).len(), 0);
    assert_eq!(long_functions(&function(FUNCTION_LINES_MAX + 1)).len(), 1);
}

#[test]
fn an_exception_without_need_is_an_offence() {
    assert_eq!(stale_exceptions(&[]).len(), LONG_FILES.len() + LONG_FUNCTIONS.len());
}
