"""What every peer is asked, and how it answers.

    python lightning_loop.py vit loop 20 7

prints seconds of a step, of a loop written by hand in the same framework and of the tool,
which take turns in one process; and

    python lightning_loop.py vit start tool      # or: raw

prints a line when the first step is done, and makes some more.
"""

import json
import sys

import clocks
import sizes

NUM_MORE = 20


def answer(make_raw, train):
    """Answers the command line.

    Args:
      make_raw: From the name of a model to a function that makes a number of steps, and
        waits for them. Imports nothing of the tool.
      train: `(model, every, num_rounds, at_pause)`: trains by the tool, and calls
        `at_pause()` before the first step and whenever `every` more are finished.
    """
    model, what, *options = sys.argv[1:]
    if what == "loop":
        num_steps, num_rounds = map(int, options)
        _loop(make_raw(model), train, model, num_steps, num_rounds)
    elif options == ["raw"]:
        run = make_raw(model)
        run(1)
        print(sizes.FIRST, flush=True)
        run(NUM_MORE)
    else:
        pauses = []

        def at_pause():
            pauses.append(None)
            if len(pauses) == 2:
                print(sizes.FIRST, flush=True)

        train(model, 1, 1 + NUM_MORE, at_pause)


def _loop(raw, train, model, num_steps, num_rounds):
    raw(3)
    found, start = {"tool": [], "raw": []}, []

    def at_pause():
        if start:
            found["tool"].append(clocks.since(start[0]).per(num_steps))
        secs = clocks.timed(lambda: raw(num_steps))()
        found["raw"].append(secs.per(num_steps))
        start[:] = [clocks.now()]

    train(model, num_steps, num_rounds + 1, at_pause)
    # The first round of the tool compiles.
    print(json.dumps({name: secs[-num_rounds:] for name, secs in found.items()}))
