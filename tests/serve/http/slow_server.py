"""A server whose answers take their time, as a process of its own; prints its address."""

from __future__ import annotations

from kauldron import kd
from tests.serve.http import scripted_engine


def main():
    engine = scripted_engine.ScriptedEngine(
        text="a b c d e f g h i j", secs_per_token=0.05
    )
    app = kd.serve.make_app(engine)
    kd.serve.run_server(
        app,
        kd.serve.open_port(port=0),
        on_start=lambda address: print(address, flush=True),
    )
    print("ended", engine.num_running, engine.num_cancelled, flush=True)


if __name__ == "__main__":
    main()
