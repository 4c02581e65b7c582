from datetime import UTC, datetime, timedelta, timezone

import pytest

from harness.core.timestamps import TimestampFormat, utc_timestamp

LOCAL = datetime(2026, 11, 29, 16, 5, 6, 123456, timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("milliseconds", "2026-11-29T14:05:06.123+00:00"),
        ("seconds", "2026-11-29T14:05:06Z"),
        ("file_name", "20261129T140506Z"),
        ("unique", "20261129-140506-123456"),
    ],
)
def test_each_format_is_in_utc(style: TimestampFormat, text: str) -> None:
    assert utc_timestamp(style, LOCAL) == text


def test_without_a_moment_it_is_now() -> None:
    before = datetime.now(UTC)
    stamp = datetime.fromisoformat(utc_timestamp("milliseconds"))
    assert stamp.tzinfo is not None
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= stamp
