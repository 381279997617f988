from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.collectors.importer.files import FileFormat, FileIdentity, Row, guess_format, identify, open_rows


def _rows(content: bytes, file_format: FileFormat, place: int = 0, pattern: str | None = None) -> list[Row]:
    compiled = re.compile(pattern) if pattern else None
    return list(open_rows(io.BytesIO(content), file_format, pattern=compiled).rows(place))


def test_ndjson_rows_have_numbers_places_and_flattened_fields() -> None:
    content = b'{"a": 1, "http": {"status": 200}}\n\n{"a": 2}\n'

    rows = _rows(content, FileFormat.NDJSON)

    assert [(row.number, row.place, row.fields) for row in rows] == [
        (1, 34, {"a": 1, "http.status": 200}),
        (3, len(content), {"a": 2}),
    ]


def test_ndjson_keeps_bad_lines_aside_and_reads_on() -> None:
    rows = _rows(b'[1]\n{"a":\n\xff\n{"a": 1}\n', FileFormat.NDJSON)

    assert [row.reason for row in rows] == [
        "not a JSON object: a list; write one object a line",
        "not JSON: Expecting value: line 1 column 6 (char 5)",
        "not utf-8 text: byte 1 of the line",
        "",
    ]


def test_log_rows_by_named_groups() -> None:
    rows = _rows(b"ok 12\nnoise\nbad\n", FileFormat.LOG, pattern=r"^(?P<word>\w+) (?P<number>\d+)?")

    assert rows[0].fields == {"word": "ok", "number": "12"}
    assert [row.reason for row in rows] == ["", "does not match the pattern", "does not match the pattern"]


def test_csv_quoted_line_breaks_and_wrong_widths() -> None:
    rows = _rows(b'\xef\xbb\xbfa,b\n1,"x\ny"\n1,2,3\n,5\n', FileFormat.CSV)

    assert [(row.number, row.fields, row.reason) for row in rows] == [
        (2, {"a": "1", "b": "x\ny"}, ""),
        (4, None, "wrong number of values: 3 for 2 columns"),
        (5, {"b": "5"}, ""),
    ]


def test_csv_header_with_a_name_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^header names 'a' twice; rename one column$"):
        _rows(b"a,a\n1,2\n", FileFormat.CSV)


def test_over_long_line_is_rejected_and_the_next_one_kept() -> None:
    rows = _rows(b"x" * (1 << 20) + b"yy\nn 1\n", FileFormat.LOG, pattern=r"n (?P<n>\d)")

    assert [(row.number, row.reason, len(row.text)) for row in rows] == [
        (1, "line is longer than 1048576 bytes", 200),
        (2, "", 3),
    ]
    assert rows[-1].place == (1 << 20) + 7


def test_gzip_is_recognised_by_content() -> None:
    assert _rows(gzip.compress(b'{"a": 1}\n'), FileFormat.NDJSON)[0].fields == {"a": 1}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (None, "format 'log' needs a pattern; give a regular expression with named groups, (?P<step>…)"),
        (
            "a(b)",
            (
                "pattern='a(b)' has no named group; name the values to keep, such as "
                "(?P<observed_at>…) and (?P<duration_seconds>…)"
            ),
        ),
    ],
)
def test_log_without_a_usable_pattern_is_refused(pattern: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        _rows(b"", FileFormat.LOG, pattern=pattern)


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=30), st.data())
def test_reading_on_from_any_place_gives_exactly_the_rest(values: list[int], data: st.DataObject) -> None:
    for file_format, content in (
        (FileFormat.NDJSON, "".join(f'{{"a": {value}}}\n' for value in values)),
        (FileFormat.CSV, "a,b\n" + "".join(f'{value},"x\ny"\n' for value in values)),
    ):
        rows = _rows(content.encode(), file_format)
        cut = data.draw(st.integers(0, len(rows) - 1))
        assert _rows(content.encode(), file_format, rows[cut].place) == rows[cut + 1 :]


def test_parquet_rows_and_places(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": [1, None, 3], "b": ["x", "y", None]}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()

    assert [(row.place, row.fields) for row in _rows(content, FileFormat.PARQUET)] == [
        (1, {"a": 1, "b": "x"}),
        (2, {"b": "y"}),
        (3, {"a": 3}),
    ]
    assert [row.number for row in _rows(content, FileFormat.PARQUET, 2)] == [3]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv.gz", FileFormat.CSV),
        ("a.b.JSONL", FileFormat.NDJSON),
        ("nova-api.log", FileFormat.LOG),
        ("nova-api.log.1", None),
        ("-", None),
    ],
)
def test_format_by_name(name: str, expected: FileFormat | None) -> None:
    assert guess_format(name) is expected


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo\n")
    (tmp_path / "b").write_bytes(b"one\ntwo\n")
    first, earlier = identify(tmp_path / "a")

    assert earlier is None
    assert identify(tmp_path / "b", [first]) == (first, first)
    assert first.source == f"import-{first.digest[:20]}"


def test_grown_file_is_known_by_its_longest_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    known: list[FileIdentity] = []
    for content in (b"one\n", b"one\ntwo\n"):
        path.write_bytes(content)
        known.append(identify(path)[0])
    known.append(FileIdentity("0" * 64, 6))  # another file, shorter than this one
    path.write_bytes(b"one\ntwo\nthree\n")

    identity, earlier = identify(path, known)

    assert identity.size == 14
    assert earlier == known[1]
