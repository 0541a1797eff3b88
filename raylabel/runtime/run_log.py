"""What a run logs is kept in ``results_dir/logs``: a few megabytes, the latest."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from raylabel.clients.endpoints import with_key
from raylabel.errors import ConfigError, StoreError
from raylabel.logs import LOGGER, FloodFilter, LogFormatter, masking
from raylabel.settings import Settings, mask_of
from raylabel.store.results import Results

FOLDER, NAME = "logs", "raylabel.log"
FILE_BYTES = 1 << 20
OLDER_FILES = 3


class RunLog:
    """Keeps what is logged while it is entered. In a bucket nothing can be appended to, so for a results folder there
    the files are written here, and copied there by ``publish`` and at the end.

    A log that cannot be written is no reason to end a run: it has gaps then.
    """

    def __init__(self, settings: Settings, results: Results) -> None:
        self._settings = settings
        self._folder = results.root / FOLDER
        self._stack = ExitStack()

    def __enter__(self) -> RunLog:
        with ExitStack() as stack:
            stack.enter_context(masking(mask_of(self._settings)))
            with suppress(ConfigError):  # the key's absence is told elsewhere
                stack.enter_context(masking(mask_of(with_key(self._settings.pipeline.vlm, os.environ))))
            self._local = Path(self._folder.location)
            if not self._folder.is_local:
                self._local = Path(tempfile.mkdtemp(prefix="raylabel-log-"))
                stack.callback(shutil.rmtree, self._local, ignore_errors=True)
                stack.callback(self.publish)
            with suppress(OSError):
                self._local.mkdir(parents=True, exist_ok=True)
                handler = _File(self._local / NAME)
                stack.callback(handler.close)
                logging.getLogger().addHandler(handler)
                stack.callback(logging.getLogger().removeHandler, handler)
            logger = logging.getLogger(LOGGER)
            before = logger.level
            logger.setLevel(min(before or logging.INFO, logging.INFO))
            stack.callback(logger.setLevel, before)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def publish(self) -> None:
        """Copy the files to where they belong, if they are written elsewhere."""
        if not self._folder.is_local:
            with suppress(StoreError, OSError):
                for path in self._local.iterdir():
                    self._folder.publish(path.name, path.read_bytes())


class _File(RotatingFileHandler):
    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8", delay=True)
        self.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.addFilter(FloodFilter())

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk is told by what the run needs it for."""
