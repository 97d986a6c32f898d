//! What the page says, in each language.

use std::collections::BTreeMap;
use std::fs;

use martlet_tests::program::workspace_root;

/// Texts in double quotes that follow each of some marks.
fn quoted(source: &str, marks: &[&str]) -> Vec<String> {
    let starts = marks.iter().flat_map(|mark| source.match_indices(mark).map(|(at, _)| (at, at + mark.len())));
    let begins_a_word = |at: usize| at == 0 || !source.as_bytes()[at - 1].is_ascii_alphanumeric();
    starts
        .filter(|&(at, _)| begins_a_word(at))
        .map(|(_, from)| source[from..].split('"').next().unwrap().to_owned())
        .collect()
}

/// Names of values in a text.
fn values(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn everything_that_the_page_says_is_there_in_japanese_and_nothing_else() {
    let folder = workspace_root().join("collector/src/page");
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "ja.js" && path.extension().is_some_and(|extension| extension == "js") {
            let words = quoted(&fs::read_to_string(&path).unwrap(), &["t(\"", "w(\""]);
            said.extend(words.into_iter().map(|words| (words, name.clone())));
        }
    }
    assert!(said.len() > 300, "{}", said.len());
    let japanese = fs::read_to_string(folder.join("ja.js")).unwrap();
    let pairs = japanese.split("\": \"").collect::<Vec<_>>();
    let pairs = pairs.windows(2).map(|pair| (pair[0].rsplit('"').next().unwrap(), pair[1].split('"').next().unwrap()));
    let known: BTreeMap<&str, &str> = pairs.collect();
    for (words, file) in &said {
        let translated = known.get(words.as_str()).unwrap_or_else(|| panic!("{file}: {words:?} is not in ja.js"));
        assert_eq!(values(words), values(translated), "{words:?}");
    }
    let unused: Vec<&&str> = known.keys().filter(|words| !said.contains_key(**words)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}
