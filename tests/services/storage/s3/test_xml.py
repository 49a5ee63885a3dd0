"""Documents in and out: limits, bombs, and characters that XML does not have."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import documents, xml
from fieldstone.services.storage.s3.errors import ERRORS, S3Error, error_xml

BOMBS = {
    "entities": b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]><Delete>&c;</Delete>',
    "quadratic": b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 1000 + b'">]><Delete>' + b"&b;" * 1000 + b"</Delete>",
    "external": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Delete>&b;</Delete>',
    "parameter entity": b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1/x"> %b;]><Delete/>',
    "document type": b"<!DOCTYPE Delete><Delete/>",
    "instruction": b"<?xml-stylesheet href='x'?><Delete/>",
    "deep": b"<Delete>" + b"<a>" * 100000 + b"</a>" * 100000 + b"</Delete>",
    "wide": b"<Delete>" + b"<a/>" * 200000 + b"</Delete>",
    "attributes": b"<Delete " + b" ".join(b'a%d=""' % i for i in range(5000)) + b"/>",
    "cut off": b"<Delete><Object>",
    "two roots": b"<Delete/><Delete/>",
    "wrong root": b"<Remove/>",
    "undefined entity": b"<Delete>&nbsp;</Delete>",
    "control character in a name": b"<Delete><\x01/></Delete>",
    "reference to nothing": b"<Delete>&#0;</Delete>",
    "bad UTF-8": b"<Delete>\xff\xfe</Delete>",
    "unknown encoding": b'<?xml version="1.0" encoding="cp1252x"?><Delete/>',
    "unbound prefix": b"<s3:Delete/>",
    "JSON": b"{}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_and_broken_documents(name: str) -> None:
    with pytest.raises(S3Error, match="MalformedXML"):
        xml.parse(BOMBS[name], "Delete")


def test_empty_and_huge_documents() -> None:
    with pytest.raises(S3Error, match="MissingRequestBodyError"):
        xml.parse(b" \n", "Delete")
    with pytest.raises(S3Error, match="MaxMessageLengthExceeded"):
        xml.parse(b"<Delete>" + b" " * xml.MAX_DOCUMENT_BYTES + b"</Delete>", "Delete")


@pytest.mark.parametrize(
    "document",
    [
        "<Delete><Quiet>true</Quiet></Delete>",
        '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet></Delete>',
        '<s:Delete xmlns:s="urn:x"><s:Quiet>true</s:Quiet></s:Delete>',
    ],
)
def test_namespaces_do_not_matter(document: str) -> None:
    assert xml.parse(document.encode(), "Delete").value("Quiet") == "true"
    assert xml.parse(document.encode("utf-16"), "Delete").value("Quiet") == "true"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿")))
def test_what_is_written_is_read_back(value: str) -> None:
    document = xml.write("R", [("A", value), ("B", [("C", 1), ("D", True), ("E", None)])])
    node = xml.parse(document, "R")
    found = node.child("A")
    assert found is not None
    assert found.text == value
    assert ElementTree.fromstring(document)[0].text == (value or None)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("\x01", "\x01"),
        ("a\x1fb", "a\x1fb"),
        ("\x0b\x0c", "\x0b\x0c"),
        ("é\x02日本", "é\x02日本"),
        ("&#2;", "\x02"),
        ("&#x1F;a", "\x1fa"),
    ],
)
def test_control_characters_in_keys_are_read(value: str, key: str) -> None:
    """Python's clients send them raw, others as references; either way the key is meant."""
    document = f"<Delete><Object><Key>{value}</Key></Object></Delete>".encode()
    assert documents.parse_delete(document)[0][0].key == key


def test_control_characters_are_written_as_references() -> None:
    assert b"a&#x1;b&#x1F;&#xD;" in xml.write("R", [("Key", "a\x01b\x1f\r")])
    assert b"&lt;/Key&gt;&amp;" in xml.write("R", [("Key", "</Key>&")])


@pytest.mark.parametrize(
    ("value", "encoded"),
    [("a b/c", "a%20b/c"), ("é", "%C3%A9"), ("a+b", "a%2Bb"), ("\x01", "%01"), ("(x)", "%28x%29"), ("*-._", "*-._")],
)
def test_url_encoding(value: str, encoded: str) -> None:
    assert xml.url_encoded(value) == encoded


def test_error_documents() -> None:
    error = S3Error("NoSuchKey", detail={"Key": "<k>\x02"})
    document = error_xml(error, resource="/b/k", request_id="7")
    assert document.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>')
    assert b"<Key>&lt;k&gt;&#x2;</Key><RequestId>7</RequestId>" in document
    assert b"<Resource>/b/k</Resource>" in error_xml(S3Error("InternalError"), resource="/b/k")
    assert error_xml(S3Error("NotModified")) == b""


def test_the_table_of_errors() -> None:
    assert all(300 <= status < 600 and message for status, message in ERRORS.values())
    with pytest.raises(KeyError):
        S3Error("NoSuchCode")


def test_deletions() -> None:
    document = b"<Delete><Object><Key> a </Key></Object><Object><Key>b</Key><VersionId>v</VersionId><ETag>e</ETag><Size>3</Size></Object><Quiet>true</Quiet></Delete>"
    objects, quiet = documents.parse_delete(document)
    assert quiet
    assert [(o.key, o.version_id, o.etag, o.size_bytes) for o in objects] == [
        (" a ", None, None, None),
        ("b", "v", "e", 3),
    ]
    for bad in (
        b"<Delete/>",
        b"<Delete><Object/></Delete>",
        b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>",
    ):
        with pytest.raises(S3Error, match="MalformedXML"):
            documents.parse_delete(bad)


def parts(*pairs: tuple[str, str]) -> bytes:
    inner = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in pairs)
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


def test_completed_parts() -> None:
    found = documents.parse_complete(parts(("1", '"a"'), ("5", "&quot;b&quot;")))
    assert [(p.number, p.etag) for p in found] == [(1, "a"), (5, "b")]
    assert len(documents.parse_complete(parts(*((str(i), "e" * 32) for i in range(1, 10001))))) == 10_000


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "MalformedXML"),
        (parts(), "MalformedXML"),
        (parts(("2", "a"), ("1", "b")), "InvalidPartOrder"),
        (parts(("1", "a"), ("1", "b")), "InvalidPartOrder"),
        (parts(("0", "a")), "InvalidArgument"),
        (parts(("10001", "a")), "InvalidArgument"),
        (parts(("-1", "a")), "InvalidArgument"),
        (parts(("1e2", "a")), "InvalidArgument"),
        (b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>", "MalformedXML"),
    ],
)
def test_bad_completions(document: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        documents.parse_complete(document)
    assert caught.value.code == code


def test_locations() -> None:
    assert documents.parse_create_bucket(b"") is None
    body = b"<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>"
    assert documents.parse_create_bucket(body) == "eu"
