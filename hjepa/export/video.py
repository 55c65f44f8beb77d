"""Frames into an H.264 file, one by one."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError


class Film:
    """An mp4 file that is being written; `feature` is what LeRobot's info.json says of it."""

    def __init__(self, path: Path, fps: int) -> None:
        self.fps = fps
        self._file = av.open(str(path), "w")
        self._stream: Any = self._file.add_stream("libx264", rate=fps, options={"crf": "23", "g": "2"})
        self._stream.pix_fmt = "yuv420p"
        self._size: tuple[int, int] | None = None

    def add(self, frame: NDArray[np.uint8]) -> None:
        """A frame (height, width, 3) RGB; sides are even and all frames alike."""
        height, width = frame.shape[:2]
        if self._size is None:
            if height % 2 or width % 2:
                raise DataError(f"frames of {width} x {height}; allowed: even sides")
            self._size = self._stream.height, self._stream.width = height, width
        if (height, width) != self._size:
            raise DataError(f"a frame of {width} x {height} after others of {self._size[1]} x {self._size[0]}")
        self._file.mux(self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

    @property
    def feature(self) -> dict[str, Any]:
        """For info.json."""
        height, width = self._size or (0, 0)
        info = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": self.fps,
            "video.channels": 3,
            "has_audio": False,
        }
        return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"], "info": info}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None and self._size is not None:
            self._file.mux(self._stream.encode())
        self._file.close()
