"""What a server says about itself: models, whether it works, numbers; and the chat page."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any

from kauldron.serve.http._calls import Call
from kauldron.serve.http._errors import Vendor
from kauldron.serve.http._generation import Service

_PAGE = pathlib.Path(__file__).with_name("page.html")
# Nothing from elsewhere, and in nobody else's frame.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


async def page(call: Call, service: Service) -> None:
    """Sends the page where a person chats."""
    del service
    await call.reply_text(
        _PAGE.read_text("utf-8"),
        "text/html; charset=utf-8",
        content_security_policy=_POLICY,
        x_content_type_options="nosniff",
    )


async def models(call: Call, service: Service) -> None:
    """Lists the model and its adapters."""
    entries = [_model(call, service, name) for name in service.names()]
    if call.vendor is Vendor.ANTHROPIC:
        ids = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
        await call.reply({"data": entries, "has_more": False, **ids})
    else:
        await call.reply({"object": "list", "data": entries})


async def model(call: Call, service: Service) -> None:
    """Tells of one of them."""
    name = service.known(call.path_params["name"])
    await call.reply(_model(call, service, name))


def _model(call: Call, service: Service, name: str) -> dict[str, Any]:
    length = service.engine.context_length
    if call.vendor is Vendor.ANTHROPIC:
        created = datetime.datetime.fromtimestamp(service.created, datetime.UTC)
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": created.isoformat(),
            "max_input_tokens": length,
            "max_tokens": length,
        }
    return {
        "id": name,
        "object": "model",
        "created": service.created,
        "owned_by": "kauldron",
        "max_model_len": length,
    }


async def health(call: Call, service: Service) -> None:
    """Tells whether the engine lives: 200, or 503 and what ended it."""
    failure = service.engine.failure
    if failure is None:
        await call.reply({"status": "ok"})
    else:
        reason = f"{type(failure).__name__}: {failure}"
        await call.reply({"status": "failed", "reason": reason[:500]}, 503)


async def ready(call: Call, service: Service) -> None:
    """Tells whether requests are taken, and for which models: 200, or 503."""
    is_ready = service.engine.failure is None
    status = {"status": "ready" if is_ready else "failed", "models": service.names()}
    await call.reply(status, 200 if is_ready else 503)


async def stats(call: Call, service: Service) -> None:
    """Tells the numbers of the engine."""
    await call.reply(dict(service.engine.stats()))


async def metrics(call: Call, service: Service) -> None:
    """Tells all numbers, as Prometheus reads them."""
    await call.reply_text(*service.metrics.text())
