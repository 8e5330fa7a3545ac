"""Any OpenAI-compatible server as an engine: chat or completions, through one retry layer."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from cai.engine.connections import Connections
from cai.engine.protocol import Completion, OptionScores, OptionsUnsupported, Sampling, Turn
from cai.engine.render import FIXED, PROBE
from cai.engine.retry import Attempt, Patience, Retrier, seconds_to_wait
from cai.engine.served import Answer, held_to, read_answer, read_held, refuse, score_options
from cai.errors import InputError, RecordFault, Where
from cai.seeds import content_id

if TYPE_CHECKING:
    from cai.config.engine import EngineSettings, OpenAISettings
    from cai.engine.render import ChatRenderer

LETTERS_PER_TOKEN = 4


def open_openai(spec: EngineSettings, announce: Callable[[str], None]) -> OpenAIEngine:
    """The engine for `spec`; says by `announce` where prompts will go. Raises InputError for an address or key."""
    settings = spec.openai
    host, key = check_server(settings)
    renderer = _renderer(settings) if settings.api == "completions" else None
    announce(f"prompts are sent to {host} (model {spec.model})")
    if key and settings.base_url.startswith("http://") and not _is_local(host):
        announce(f"warning: the key goes to {host} without encryption; use https")
    return OpenAIEngine(spec.model, settings, key, renderer, spec.context_length)


def check_server(settings: OpenAISettings) -> tuple[str, str]:
    """The host and the key. Raises InputError for an address that is not one, or a host that needs a key."""
    host, key = _check_address(settings.base_url), os.environ.get(settings.key_variable, "").strip()
    if not key.isprintable():
        raise InputError(f"the key in {settings.key_variable} has a line break within", "set the variable to the key")
    if not key and _is_openai(settings.base_url):
        raise InputError(f"{host} needs a key", f"set the environment variable {settings.key_variable}")
    return host, key


def headers(base_url: str, key: str) -> dict[str, str]:
    """What every request carries: the key, and for OpenAI itself whom to charge, where the environment says so."""
    found = {"Authorization": f"Bearer {key}"} if key else {}
    if _is_openai(base_url):
        named = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
        found |= {header: told for header, name in named.items() if (told := os.environ.get(name, "").strip())}
    return found


class OpenAIEngine:
    """Asks one served model. The reply to equal arguments is as repeatable as the server makes it."""

    def __init__(
        self,
        model: str,
        settings: OpenAISettings,
        key: str,
        renderer: ChatRenderer | None = None,
        context_length: int | None = None,
    ) -> None:
        self.model = model
        self.fingerprint = content_id("served", settings.base_url, settings.api, model)
        self.context_length = context_length
        self._settings, self._key, self._renderer = settings, key, renderer
        self._agreement: asyncio.Task[None] | None = None
        self._root = settings.base_url.rstrip("/")
        self._server = Connections(self._root, headers(settings.base_url, key))
        self._retrier = Retrier(Patience.of(settings))

    def count_tokens(self, turns: tuple[Turn, ...], prefill: str = "") -> int:
        """Tokens by the tokenizer of `template` where there is one, else an estimate of one per four characters."""
        if self._renderer is not None:
            return len(self._renderer.prompt_ids(turns, prefill))
        return -(-(sum(len(turn.content) for turn in turns) + len(prefill)) // LETTERS_PER_TOKEN)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling, *, prefill: str = "") -> Completion:
        """Draw one reply; token ids and log-probs of drawn tokens are not told by servers."""
        asked: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self._limit(): sampling.max_tokens,
        }
        if self._settings.seed:
            # Some servers read a 32-bit number.
            asked["seed"] = sampling.seed % 2**31
        structured = self._settings.structured if sampling.choices and not prefill else "none"
        answer = await self._ask(turns, prefill, {**asked, **held_to(sampling.choices, structured)})
        text = answer.text.removeprefix(prefill) if prefill else answer.text
        return Completion(read_held(text) if structured == "json" else text, answer.finish_reason, answer.usage)

    async def option_logprobs(
        self, turns: tuple[Turn, ...], options: tuple[str, ...], *, prefill: str = ""
    ) -> OptionScores:
        """Score options by the log-probs the server shows for the first token."""
        most = self._settings.top_logprobs
        if not most:
            raise OptionsUnsupported("engine.openai.top_logprobs is 0; use a judge mode that reads words")
        shown = {"logprobs": True, "top_logprobs": most} if self._settings.api == "chat" else {"logprobs": most}
        answer = await self._ask(turns, prefill, {"temperature": 1.0, self._limit(): 1, **shown})
        return score_options(answer, options)

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _limit(self) -> str:
        return self._settings.limit_name if self._settings.api == "chat" else "max_tokens"

    async def _ask(self, turns: tuple[Turn, ...], prefill: str, asked: dict[str, Any]) -> Answer:
        try:
            for turn in turns:
                turn.content.encode()
        except UnicodeEncodeError:
            raise RecordFault("the text holds half a surrogate pair and cannot be sent") from None
        if self._settings.priority:
            asked = {**asked, "priority": -len(turns)}
        if self._renderer is not None:
            self._agreement = self._agreement or asyncio.create_task(self._check_reading(self._renderer))
            await self._agreement
            asked = {**asked, "prompt": list(self._renderer.prompt_ids(turns, prefill))}
        else:
            asked = {**asked, **_messages(turns, prefill)}
        return await self._retrier.run(lambda: self._attempt(asked))

    async def _check_reading(self, renderer: ChatRenderer) -> None:
        """Raise InputError where the server says that it reads a conversation as other tokens than we send.

        vLLM and SGLang answer /tokenize; a server that does not cannot be checked.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in PROBE]
        asked = {"model": self.model, "messages": messages, "chat_template_kwargs": FIXED}
        try:
            async with asyncio.timeout(self._settings.timeout):
                response = await self._server.post(f"{self._root.removesuffix('/v1')}/tokenize", asked)
            tokens = json.loads(response.body)["tokens"] if response.status == 200 else None
        except (Attempt, TimeoutError, ValueError, KeyError, TypeError):
            return
        if isinstance(tokens, list) and tuple(tokens) != renderer.whole_ids(PROBE):
            what = (
                f"the served model {self.model} has another tokenizer or chat template than {self._settings.template}"
            )
            raise InputError(what, "name the served model's own folder", Where("engine.openai.template"))

    async def _attempt(self, asked: dict[str, Any]) -> Answer:
        chat = self._renderer is None
        address = f"{self._root}/chat/completions" if chat else f"{self._root}/completions"
        response = await self._server.post(address, {"model": self.model, **asked})
        body = self._without_key(response.body)
        if response.status != 200:
            refuse(response.status, body, limited_for=seconds_to_wait(response.retry_after))
        return read_answer(body, chat=chat)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _messages(turns: tuple[Turn, ...], prefill: str) -> dict[str, Any]:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    if not prefill:
        return {"messages": messages}
    messages.append({"role": "assistant", "content": prefill})
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}


def _check_address(base_url: str) -> str:
    """The host. Raises InputError for an address that is not one, or that carries a password."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"engine.openai.base_url is no address: {base_url}", "write it like http://localhost:8000/v1")
    if parts.username or parts.password:
        raise InputError("engine.openai.base_url holds a password", "give the key by the environment variable")
    return parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"


def _is_openai(base_url: str) -> bool:
    return (urlsplit(base_url).hostname or "").endswith("openai.com")


def _is_local(host: str) -> bool:
    name = host.rsplit(":", 1)[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _renderer(settings: OpenAISettings) -> ChatRenderer:
    if not settings.template:
        raise InputError(
            "`api: completions` sends token ids and needs a tokenizer with a chat template",
            "set engine.openai.template to the model's folder or hub name",
        )
    from transformers import AutoTokenizer

    from cai.engine.files import find_template
    from cai.engine.render import ChatRenderer

    return ChatRenderer(cast(Any, AutoTokenizer.from_pretrained(find_template(settings.template))), settings.template)
