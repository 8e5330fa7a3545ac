"""JSON requests to one server: connections are kept between requests, and a request costs little processor time."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cai.engine.retry import Attempt

CONNECTIONS = 1000
"""At a time; further requests wait for one."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server sent back, whatever it means."""

    status: int
    body: str
    retry_after: str | None


class Connections:
    """To one server, with the same headers in every request. How long a request may take is its caller's to say.

    Connections belong to an event loop: those of a loop that has ended are left behind when another one asks.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._headers, self._proxy = dict(headers or {}), _proxy(url)
        self._session: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(self, url: str, asked: Mapping[str, Any]) -> Response:
        """The response to `asked` as JSON. Raises Attempt where there is none."""
        import aiohttp

        session = await self._here()
        try:
            async with session.post(url, json=asked, proxy=self._proxy) as response:
                body = (await response.read()).decode("utf-8", "replace")
                return Response(response.status, body, response.headers.get("retry-after"))
        except (aiohttp.ClientError, OSError) as error:
            reached = not isinstance(error, aiohttp.ClientConnectorError)
            raise Attempt(f"{type(error).__name__}: {error}", reached=reached) from None

    async def close(self) -> None:
        """Close them; another request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _here(self) -> Any:
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            await self.close()
        if self._session is None:
            self._loop = loop
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=_trusted())
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=aiohttp.ClientTimeout(), json_serialize=_compact
            )
        return self._session


def _compact(value: Any) -> str:
    """Without a space after each of a thousand token ids."""
    return json.dumps(value, separators=(",", ":"))


def _trusted() -> ssl.SSLContext:
    """The system's certificates (or those of SSL_CERT_FILE), and certifi's: some Pythons find none of the system's."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
