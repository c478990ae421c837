"""Secrets never leave by a text that went through the redaction."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.model import redaction
from twinhull.model.redaction import (
    HIDDEN,
    SHORTEST_SECRET,
    is_secret_name,
    note_secret,
    note_secrets_of,
    redacted,
    redacted_fact,
)

words = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), max_size=20)
secrets = st.text(min_size=SHORTEST_SECRET, max_size=40).filter(lambda secret: not set(secret) <= set(HIDDEN))


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())


@settings(deadline=None)
@given(secret=secrets, before=words, after=words)
def test_a_secret_that_was_read_is_nowhere(secret: str, before: str, after: str) -> None:
    redaction._known.clear()
    note_secret(secret)
    for form in (secret, quote(secret, safe="")):
        shown = redacted(f"{before} {form} {after}")
        assert form not in shown
        assert HIDDEN in shown
    assert secret not in str(redacted_fact("reason", {"a": [f"x{secret}", {secret: secret}]}))


# A slash, a space or an at sign in a password is not encoded by everybody.
user_names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=12).map("user".__add__)
passwords = st.text(st.characters(codec="ascii", exclude_categories=["Z", "C"]), min_size=8).map("pw".__add__)


@settings(deadline=None)
@given(user=user_names, password=passwords, scheme=st.sampled_from(["s3", "qemu+ssh", "postgresql", "https"]))
def test_the_user_information_of_a_uri_is_hidden(user: str, password: str, scheme: str) -> None:
    for information in (user, f"{user}:{quote(password, safe='')}", f"{user}:{password}", f":{password}"):
        shown = redacted(f"cannot reach {scheme}://{information}@host/path: refused")
        assert shown == f"cannot reach {scheme}://{HIDDEN}@host/path: refused"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "GET https://s3/b/k?X-Amz-Credential=AKIA1/x&X-Amz-Signature=abc&n=1",
            "…?X-Amz-Credential=***&X-Amz-Signature=***&n=1",
        ),
        ("connection: host=db password='two words' user=x", "…host=db password=*** user=x"),
        ('{"secret": "abc", "n": 1}', '{"secret": ***, "n": 1}'),
        ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"),
        ("the session token: abc", "the session token: ***"),
    ],
)
def test_what_is_named_as_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redacted(text).endswith(shown.removeprefix("…"))


@pytest.mark.parametrize(
    "text",
    [
        "qemu+ssh://alpha/system?keyfile=/root/.ssh/id does not answer: timed out at 12:30",
        "db: 3 points were removed; mail root@alpha about it",
        "point 00000000-0000-4000-8000-000000000000/00000003, key-0001 was rotated",
        "no passphrase was given",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_the_environment_s_secrets_are_known_by_their_names() -> None:
    note_secrets_of(
        {"AWS_SECRET_ACCESS_KEY": "abcdefgh", "TWINHULL_PASSPHRASE": "correct horse", "HOME": "/home/someone"}
    )
    assert redacted("abcdefgh, correct horse, /home/someone") == "***, ***, /home/someone"


def test_short_texts_are_no_secrets() -> None:
    note_secret("on")
    assert redacted("on and on") == "on and on"


@pytest.mark.parametrize(
    "name", ["passphrase", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "PGPASSWORD", "client-secret"]
)
def test_a_fact_of_such_a_name_is_hidden_whole(name: str) -> None:
    assert is_secret_name(name)
    assert redacted_fact(name, ["anything"]) == HIDDEN
