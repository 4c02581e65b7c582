import cv2
import numpy as np

from harness.data.copies import group_copies, thumbnail
from tests.data.make import Array8, picture


def groups(images: list[Array8]) -> list[int]:
    return group_copies([i.tobytes() for i in images], [thumbnail(i) for i in images])


def frame(seed: int) -> Array8:
    """A smooth picture from black to white, as large as a frame of a video."""
    large = cv2.resize(picture(seed, 12, 16), (320, 240), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(large, None, 0, 255, cv2.NORM_MINMAX)


def test_different_pictures_stay_alone() -> None:
    assert groups([frame(seed) for seed in range(30)]) == list(range(30))


def test_equal_pixels_belong_to_the_first() -> None:
    assert groups([frame(0), frame(1), frame(0), frame(1), frame(2)]) == [0, 1, 0, 1, 4]


def test_another_encoding_is_the_same_picture() -> None:
    data = cv2.imencode(".jpg", frame(0), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    assert groups([frame(1), frame(0), cv2.imdecode(data, cv2.IMREAD_COLOR)]) == [0, 1, 1]


def test_another_clock_on_a_frozen_frame_is_the_same_picture() -> None:
    first, second = frame(0), frame(0)
    for image, text in ((first, "08:33"), (second, "09:17")):
        cv2.putText(image, text, (5, 30), cv2.FONT_HERSHEY_PLAIN, 1.2, (255, 255, 255), 1)
    assert (first != second).any()
    assert groups([frame(3), first, second]) == [0, 1, 1]


def test_a_moved_camera_is_another_picture() -> None:
    assert groups([frame(0), np.roll(frame(0), 6, axis=1)]) == [0, 1]


def test_chains_join_into_one_group() -> None:
    """2 equals 0 by pixels, and 3 equals 2 but for encoding."""
    data = cv2.imencode(".jpg", frame(0), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert groups([again, frame(1), frame(0), again.copy(), frame(0)]) == [0, 1, 0, 0, 0]


def test_pictures_of_one_colour_are_the_same_only_with_equal_pixels() -> None:
    black, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 90, np.uint8)
    assert groups([black, grey, black]) == [0, 1, 0]
    assert groups([]) == []
