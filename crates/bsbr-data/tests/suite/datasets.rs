//! Dataset files: the texts of valid ones, and the errors for damaged ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bsbr_data::dataset::{DatasetError, TextTable, cnn_dailymail, pieces, wikitext};
use flate2::write::GzEncoder;
use parquet::basic::Compression;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tempfile::TempDir;

use crate::parquet_file::{Form, write, write_texts};

/// A folder, and a path in it.
fn place(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

fn texts(path: &Path) -> Result<Vec<String>, DatasetError> {
    let mut texts = vec![String::new()];
    for piece in pieces(path)? {
        let piece = piece?;
        texts.last_mut().unwrap().push_str(&piece.text);
        if piece.last {
            texts.push(String::new());
        }
    }
    texts.pop();
    Ok(texts)
}

/// Every way in which a file may be written that is read here.
fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
        for dictionary in [true, false] {
            for optional in [true, false] {
                for rows_per_group in [1, 100, 1000] {
                    forms.push(Form {
                        compression,
                        dictionary,
                        optional,
                        rows_per_group,
                    });
                }
            }
        }
    }
    forms
}

#[test]
fn rows_come_in_order_whatever_the_form() {
    let (_folder, path) = place("rows.parquet");
    // More rows than are decoded at a time, some of them alike and some empty.
    let owned: Vec<String> = (0..250)
        .map(|i| match i % 7 {
            0 => String::new(),
            3 => "the same each time".to_owned(),
            _ => format!("Zeile {i} — {}", "x".repeat(i)),
        })
        .collect();
    let rows: Vec<&str> = owned.iter().map(String::as_str).collect();
    let other: Vec<&str> = rows.iter().rev().copied().collect();
    for form in forms() {
        write_texts(&path, &[("id", &other), ("text", &rows)], form);
        assert_eq!(texts(&path).unwrap(), rows, "{form:?}");
        let table = TextTable::open(&path, &["text", "id"]).unwrap();
        assert_eq!(table.row_count(), 250);
        let both: Vec<Vec<String>> = table.into_rows().collect::<Result<_, _>>().unwrap();
        assert_eq!(both[5], [rows[5], other[5]], "{form:?}");
    }
}

#[test]
fn an_empty_file_has_no_rows() {
    let (_folder, path) = place("empty.parquet");
    write_texts(&path, &[("text", &[])], Form::default());
    assert_eq!(texts(&path).unwrap(), Vec::<String>::new());
}

#[test]
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let (_folder, path) = place("rows.parquet");
    write_texts(&path, &[("id", &["1"]), ("body", &["x"])], Form::default());
    let error = TextTable::open(&path, &["text"]).unwrap_err();
    assert!(matches!(&error, DatasetError::Column { column, .. } if column == "text"));
    let text = error.to_string();
    for part in [
        "rows.parquet",
        "`text`",
        "a flat column of texts",
        "id, body",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_null_is_no_text() {
    let (folder, path) = place("rows.parquet");
    let rows = vec![Some("a"), None, Some("c"), Some("d"), None];
    write(&path, &[("text", rows)], Form::default());
    let mut found = pieces(&path).unwrap();
    let all: Vec<String> = found.by_ref().map(|piece| piece.unwrap().text).collect();
    assert_eq!(all, ["a", "c", "d"]);
    assert_eq!(found.without_text(), 2);
    let path = folder.path().join("rows.jsonl");
    fs::write(
        &path,
        "{\"text\": null}\n{\"text\": NaN}\n{\"text\": \"a\"}\n",
    )
    .unwrap();
    let mut found = pieces(&path).unwrap();
    assert_eq!(found.by_ref().count(), 1);
    assert_eq!(found.without_text(), 2);
}

#[test]
fn a_null_in_a_column_that_must_have_texts_names_its_row() {
    let (_folder, path) = place("rows.parquet");
    let rows = vec![Some("a"), Some("b"), Some("c"), Some("d"), None];
    write(&path, &[("text", rows)], Form::default());
    let mut found = TextTable::open(&path, &["text"]).unwrap().into_rows();
    assert_eq!(found.by_ref().take(4).filter(Result::is_ok).count(), 4);
    let error = found.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("row 4") && error.contains("null"), "{error}");
    assert!(found.next().is_none());
}

/// Every file is read as pandas and pyarrow read it, or refused; never as plain text.
#[test]
fn json_by_any_name_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"text\": \"one\"}\n{\"text\": \"t\u{fc}\\r\\n\", \"x\": [1, {\"text\": 2}]}\n";
    let list = "[\n {\"x\": \"]}\\\"{\", \"text\": \"one\"},\n {\"text\": \"t\u{fc}\\r\\n\"}\n]\n";
    let python = "{\"a\": NaN, \"text\": \"one\", \"b\": [-Infinity, Infinity, \"NaN\"]}\r\n\r\n\
                  {\"text\": \"t\u{fc}\\r\\n\"}";
    for (ending, content) in [
        ("jsonl", lines),
        ("ndjson", lines),
        ("JSONL", lines),
        ("jsonlines", lines),
        ("ldjson", lines),
        ("json", lines),
        ("json", list),
        ("json", python),
        ("jsonl", python),
    ] {
        let path = folder.path().join(format!("a.{ending}"));
        for mark in ["", "\u{feff}"] {
            fs::write(&path, format!("{mark}{content}")).unwrap();
            assert_eq!(
                texts(&path).unwrap(),
                ["one", "tü\r\n"],
                "{ending}: {content}"
            );
        }
        let packed = folder.path().join(format!("a.{ending}.gz"));
        // Two members, as `cat a.gz b.gz` makes them.
        let (first, second) = content.split_at(content.len() / 3);
        fs::write(&packed, [gzip(first), gzip(second)].concat()).unwrap();
        assert_eq!(texts(&packed).unwrap(), ["one", "tü\r\n"], "{ending}.gz");
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() - 5]).unwrap();
        assert!(texts(&packed).is_err(), "{ending}.gz, cut");
    }
    for (content, part) in [
        ("[{\"text\": \"a\"}", "the end of the file"),
        ("[{\"text\": \"a\"} 3]", "'3'"),
        ("[{\"text\": \"a\"}] {}", "'{'"),
        ("[\n\n{\"text\": 1}]", "line 3"),
        ("[{\"text\": \"a\"}, {\"text\": \"b]", "the end of the file"),
        ("{\"text\": \"a\"} NaN", "line 1"),
        (
            "{\"text\": [1, {\"text\": \"a\"}]}",
            "sequence, expected a string",
        ),
        ("{\"text\": {\"a\": []}}", "map, expected a string"),
        ("{\"text\": -2.5}", "floating point `-2.5`"),
        ("{\"text\": true}", "boolean `true`"),
        ("\"text\"", "a text"),
        ("{\"text\": \"\\ud800\"}", "line 1 column"),
    ] {
        let path = folder.path().join("wrong.json");
        fs::write(&path, content).unwrap();
        let error = texts(&path).unwrap_err();
        assert!(error.to_string().contains(part), "{content}: {error}");
    }
}

#[test]
fn an_ending_that_is_not_known_is_refused_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "a.csv",
        "a.zst",
        "a.parquet.zst",
        "a.jsonl.bz2",
        "a.parquet.gz",
        "a.gz",
        "a",
        ".jsonl",
    ] {
        let path = folder.path().join(name);
        fs::write(&path, "text\n").unwrap();
        let error = texts(&path).unwrap_err();
        assert!(matches!(error, DatasetError::Ending { .. }), "{error}");
        for part in [name, ".txt", ".ndjson", ".parquet", ".gz or .zst"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn plain_text_is_read_as_python_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    // Characters and ends of lines that lie on the cuts between pieces.
    let mut windows = String::from("\u{feff}");
    for line in 0..30_000 {
        windows.push_str(&"\u{e9}\u{1f642}x"[..[0, 2, 6, 7][line % 4]]);
        windows.push_str(["\r\n", "\n", "\r"][line % 3]);
    }
    let plain = windows.trim_start_matches('\u{feff}');
    let plain = plain.replace("\r\n", "\n").replace('\r', "\n");
    fs::write(&path, &windows).unwrap();
    assert_eq!(texts(&path).unwrap(), [plain.as_str()]);
    assert!(pieces(&path).unwrap().count() > 2);
    fs::write(folder.path().join("a.txt.gz"), gzip(&windows)).unwrap();
    assert_eq!(texts(&folder.path().join("a.txt.gz")).unwrap(), [plain]);
    fs::write(&path, "").unwrap();
    assert_eq!(texts(&path).unwrap(), [""]);
    fs::write(&path, b"\xff\xfeh\0i\0").unwrap();
    assert!(texts(&path).unwrap_err().to_string().contains("UTF-16"));
    fs::write(&path, "cut \u{1f642}".as_bytes().split_last().unwrap().1).unwrap();
    assert!(texts(&path).is_err());
}

/// Frames as `zstd` writes them, one of which is no data, after each other.
#[test]
fn what_zstd_has_packed_is_read_frame_by_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl.zst");
    let long = "one and the same, ".repeat(20_000);
    let content = format!("{{\"text\": \"one\"}}\n{{\"text\": \"{long}\"}}\n");
    let (first, second) = content.split_at(content.len() / 3);
    let skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
    let frames = [zstd(first), skipped.to_vec(), zstd(second)].concat();
    assert!(frames.len() < content.len() / 50, "{}", frames.len());
    fs::write(&path, &frames).unwrap();
    assert_eq!(texts(&path).unwrap(), ["one", long.as_str()]);
    // Some changes only the checksum tells.
    for end in (1..frames.len()).step_by(7) {
        fs::write(&path, &frames[..end]).unwrap();
        if end != zstd(first).len() && end != zstd(first).len() + skipped.len() {
            assert!(texts(&path).is_err(), "{end} bytes");
        }
        let mut other = frames.clone();
        other[end] ^= 1;
        fs::write(&path, &other).unwrap();
        // The magic number and the content of what is passed over may be another.
        match texts(&path) {
            Ok(found) => assert_eq!(found, ["one", long.as_str()], "byte {end}"),
            Err(error) => assert!(error.to_string().contains("a.jsonl.zst"), "{error}"),
        }
    }
    fs::write(&path, "no frame").unwrap();
    assert!(texts(&path).is_err());
    fs::write(&path, "").unwrap();
    assert!(texts(&path).unwrap().is_empty());
}

fn zstd(text: &str) -> Vec<u8> {
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_compression_that_is_not_read_is_named() {
    let (_folder, path) = place("rows.parquet");
    write_texts(&path, &[("text", &["a"])], Form::default());
    // The footer's codec, 1 for Snappy as a signed number, becomes that of another.
    let bytes = fs::read(&path).unwrap();
    let footer = bytes.len() - 8 - footer_length(&bytes);
    let refused = (footer..bytes.len() - 8).filter(|&at| {
        let mut other = bytes.clone();
        other[at] = other[at].wrapping_add(10);
        fs::write(&path, other).unwrap();
        texts(&path).is_err_and(|error| error.to_string().contains("Snappy or no compression"))
    });
    assert!(refused.count() > 0);
}

fn footer_length(bytes: &[u8]) -> usize {
    let tail: [u8; 4] = bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap();
    u32::from_le_bytes(tail) as usize
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (_folder, path) = place("rows.parquet");
    write_texts(
        &path,
        &[("text", &["one", "two", "three", "four"])],
        Form::default(),
    );
    let bytes = fs::read(&path).unwrap();
    for end in 0..bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        let error = texts(&path).unwrap_err();
        assert!(error.to_string().contains("rows.parquet"), "{error}");
    }
    // The middle cut out, so that both ends are right.
    for cut in 1..bytes.len() - 12 {
        let rest = [&bytes[..4], &bytes[4 + cut..]].concat();
        fs::write(&path, rest).unwrap();
        assert!(texts(&path).is_err(), "{cut} bytes");
    }
}

/// Any byte set to anything that matters: the file is read or refused, with what it holds bounded.
#[test]
fn a_file_that_lies_is_refused_or_read() {
    let (_folder, path) = place("rows.parquet");
    let rows = [
        "one",
        "two",
        "two",
        "a longer text than the others",
        "three",
    ];
    for dictionary in [true, false] {
        let form = Form {
            dictionary,
            ..Form::default()
        };
        write_texts(&path, &[("text", &rows)], form);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x40] {
                let mut edited = bytes.clone();
                edited[at] = value;
                fs::write(&path, edited).unwrap();
                if let Ok(found) = texts(&path) {
                    let size: usize = found.iter().map(String::len).sum();
                    assert!(found.len() <= rows.len() && size < 1000, "{at}: {value}");
                }
            }
        }
        // Numbers of many bytes where small ones stood: sizes of gigabytes.
        for at in 0..bytes.len() {
            let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
            let edited = [&bytes[..at], &huge[..], &bytes[at + 1..]].concat();
            fs::write(&path, edited).unwrap();
            let _ = texts(&path);
        }
    }
}

/// A page's header that promises two gigabytes is refused before room is made for them.
#[test]
fn a_page_that_claims_more_than_it_can_hold_is_refused() {
    let (_folder, path) = place("rows.parquet");
    write_texts(&path, &[("text", &["only one row"])], Form::default());
    let bytes = fs::read(&path).unwrap();
    // The first page starts behind the magic: type, then its size unpacked.
    assert_eq!(bytes[4] & 0xf, 5);
    let at = 4 + 3;
    let claims = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    let mut edited = bytes.clone();
    edited.splice(at..=at, claims);
    // The column is four bytes longer, and starts where it did.
    fs::write(&path, &edited).unwrap();
    let error = texts(&path).unwrap_err().to_string();
    assert!(
        error.contains("claims 2147483647 bytes") && error.contains("row group 0"),
        "{error}"
    );
}

/// Counting two billion booleans, a thousand times, would take hours.
#[test]
fn a_footer_with_a_list_that_never_ends_is_refused() {
    let (_folder, path) = place("rows.parquet");
    write_texts(&path, &[("text", &["a"])], Form::default());
    let bytes = fs::read(&path).unwrap();
    // Before the footer's last byte, which ends it: a field that nobody knows, with a list of a
    // thousand lists.
    let end = bytes.len() - 8;
    let more = [
        &[0x79, 0xf9, 0xe8, 0x07][..],
        &[0xf1, 0xff, 0xff, 0xff, 0xff, 0x07].repeat(1000),
    ]
    .concat();
    let length = footer_length(&bytes) + more.len();
    let edited = [
        &bytes[..end - 1],
        &more,
        &[0],
        &(length as u32).to_le_bytes(),
        b"PAR1",
    ]
    .concat();
    fs::write(&path, edited).unwrap();
    let error = texts(&path).unwrap_err();
    assert!(error.to_string().contains("booleans"), "{error}");
}

#[test]
fn what_is_no_parquet_file_says_so() {
    let (folder, path) = place("rows.parquet");
    for content in [
        &b""[..],
        b"PAR1",
        b"PAR1PAR1PAR1",
        b"not at all, but long enough",
    ] {
        fs::write(&path, content).unwrap();
        let error = texts(&path).unwrap_err();
        assert!(matches!(error, DatasetError::Malformed { .. }), "{error}");
    }
    let error = texts(&folder.path().join("no.parquet")).unwrap_err();
    assert!(matches!(error, DatasetError::Io { .. }), "{error}");
}

#[test]
fn json_lines_and_plain_text_are_documents() {
    let (folder, path) = place("texts.jsonl");
    fs::write(
        &path,
        "{\"text\": \"one\", \"id\": 1}\n\n{\"text\": \"two\\n\"}",
    )
    .unwrap();
    assert_eq!(texts(&path).unwrap(), ["one", "two\n"]);
    let plain = folder.path().join("plain.txt");
    fs::write(&plain, "{\"text\"\nis only text").unwrap();
    assert_eq!(texts(&plain).unwrap(), ["{\"text\"\nis only text"]);
    for (line, part) in [
        ("{\"text\": \"cut", "EOF"),
        ("[1]", "sequence, expected an object"),
        ("{\"body\": \"x\"}", "no `text`"),
        ("{\"text\": 3}", "integer `3`"),
        ("\u{1}", "expected value"),
    ] {
        fs::write(&path, format!("{{\"text\": \"first\"}}\n{line}\n")).unwrap();
        let error = texts(&path).unwrap_err();
        assert!(
            matches!(error, DatasetError::Line { line: 2, .. }),
            "{error}"
        );
        assert!(error.to_string().contains(part), "{error}");
    }
    fs::write(&plain, [0x66, 0xff]).unwrap();
    let error = texts(&plain).unwrap_err();
    assert!(matches!(error, DatasetError::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("byte 1"), "{error}");
}

#[test]
fn wikitext_is_cut_into_articles_across_files() {
    let (folder, first) = place("a.parquet");
    let second = folder.path().join("b.parquet");
    let lines = ["", " = One = \n", "", " It was 1 @,@ 000 years ago . \n"];
    write_texts(&first, &[("text", &lines)], Form::default());
    let lines = [" = = Part = = \n", "", " = Two = \n", " The end . \n"];
    write_texts(&second, &[("text", &lines)], Form::default());
    let articles = wikitext::Articles::new(vec![first, second.clone()], "text");
    let articles: Vec<_> = articles.collect::<Result<_, _>>().unwrap();
    let found: Vec<&str> = articles.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(
        found,
        [
            "= One =\n\nIt was 1,000 years ago.\n== Part ==\n\n",
            "= Two =\nThe end.\n"
        ]
    );
    let words = articles[0].original.split_whitespace().count();
    assert_eq!(words, 3 + 8 + 5);
    let missing = wikitext::Articles::new(vec![second, folder.path().join("c.parquet")], "text");
    assert!(missing.last().unwrap().is_err());
}

#[test]
fn news_has_its_highlights_a_line_each() {
    let (_folder, path) = place("news.parquet");
    let columns: [(&str, &[&str]); 3] = [
        ("article", &["First.  Then.", " Other . \n\n End . "]),
        ("highlights", &["It was .\nSo it was .", ""]),
        ("id", &["1", "2"]),
    ];
    write_texts(&path, &columns, Form::default());
    let files = vec![path.clone(), path];
    let names = cnn_dailymail::Columns {
        article: "article".to_owned(),
        highlights: "highlights".to_owned(),
    };
    assert_eq!(cnn_dailymail::count(&files, &names).unwrap(), 4);
    let lost = vec![files[0].with_file_name("lost.parquet"), files[0].clone()];
    let found = cnn_dailymail::Articles::new(lost, names.clone());
    assert!(matches!(found.collect::<Vec<_>>()[..], [Err(_)]));
    let articles = cnn_dailymail::Articles::new(files, names);
    let articles: Vec<_> = articles.collect::<Result<_, _>>().unwrap();
    assert_eq!(articles.len(), 4);
    assert_eq!(articles[0].prompt(), "First.  Then.\nTL;DR:");
    assert_eq!(articles[2].highlights, ["It was .", "So it was ."]);
    assert_eq!(articles[1].text, "Other .\nEnd .\n");
    assert!(articles[1].highlights.is_empty());
}
