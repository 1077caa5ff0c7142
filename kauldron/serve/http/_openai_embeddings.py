"""`/v1/embeddings`: a vector of norm 1 for each text."""

from __future__ import annotations

import base64

from kauldron.serve import requests
from kauldron.serve.http import _errors
from kauldron.serve.http._calls import Call
from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._generation import Service
from kauldron.serve.http._openai_completions import read_prompts

_MAX_INPUTS = 2048


async def answer(call: Call, service: Service) -> None:
    """Answers a request for embeddings."""
    import numpy as np

    body = call.body
    if service.adapter(body) is not None:
        raise body.wrong("model", "must be the model itself: adapters embed nothing")
    prompts = await read_prompts(service, body, "input", _MAX_INPUTS)
    encoding = body.choice("encoding_format", ("float", "base64"), "float")
    num_wanted = body.integer("dimensions", 1)
    body.accept("user")
    body.finish()
    for prompt in prompts:
        if not prompt:
            raise HttpError(400, "`input` has an empty text.", param="input")
        if len(prompt) > service.engine.context_length:
            raise HttpError(
                400,
                f"A text of `input` is too long: it has {len(prompt)} tokens, and the "
                f"context of the model is {service.engine.context_length} tokens.",
                param="input",
                code="context_length_exceeded",
            )
    try:
        found = await service.engine.aembed(prompts, timeout=service.timeout)
    except (requests.RequestError, requests.ServiceError) as error:
        raise _errors.of_engine(error, {"prompt": "input"}) from error
    except TimeoutError:
        raise HttpError(503, "The embeddings took longer than the limit.") from None
    rows = [np.asarray(row, "<f4") for row in found]
    if num_wanted is not None and num_wanted != rows[0].size:
        raise body.wrong("dimensions", f"must be {rows[0].size}, as the model has")
    data = [
        {
            "object": "embedding",
            "index": i,
            "embedding": base64.b64encode(row.tobytes()).decode()
            if encoding == "base64"
            else [float(value) for value in row],
        }
        for i, row in enumerate(rows)
    ]
    num_tokens = sum(map(len, prompts))
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    model = body.text("model")
    await call.reply({"object": "list", "data": data, "model": model, "usage": usage})
