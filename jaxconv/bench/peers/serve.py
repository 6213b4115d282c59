"""A framework, served over lines of JSON by `python serve.py NAME`. Imports nothing of jaxconv.

→ {"build": {…}}    ← what is known of the call, or {"error": …}
→ {"run": number}   ← {"seconds": …}, of that many calls, each waited for
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

MODULES = {
    "lax": "of_jax", "flax": "of_jax", "equinox": "of_jax", "plain": "of_jax", "hoisted": "of_jax",
    "flax_gru": "of_jax", "equinox_gru": "of_jax",
    "torch": "of_torch", "torch_gru": "of_torch", "torch_cell": "of_torch",
    "onnxruntime": "of_onnxruntime", "onnxruntime_gru": "of_onnxruntime",
}  # fmt: skip


def main() -> None:
    """Serve until the input ends."""
    name = sys.argv[1]
    # What a framework prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")

    try:
        module = importlib.import_module(MODULES[name])
        answer(**module.start(name))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        return
    call = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "build" in message:
                call = None
                call, facts = module.build(name, message["build"])
                answer(**facts)
            else:
                start = time.perf_counter()
                for _ in range(message["run"]):
                    call()
                answer(seconds=time.perf_counter() - start)
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
