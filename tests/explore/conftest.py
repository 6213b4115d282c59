"""The page of `jaxconv explore` in a tab of a browser."""

from __future__ import annotations

import pytest

import browser
from jaxconv.explore.page import as_html


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    yield from browser.tab(tmp_path_factory.mktemp("browser"), as_html())


@pytest.fixture
def opened(tab):
    yield from browser.opened(tab)
