"""float32 into out=, on one thread and on two, beside torch's: threads.csv.

Hot: the calls follow each other, and before the first of them a large one has woken the helpers (ours are not woken for less
than 8 MiB read and written). Between contenders there is a pause, since torch's helpers wait for work by spinning, and would
slow down whoever comes next.

Prediction: below a MiB ours stays on one thread. In the caches two threads have twice the dividers and multipliers, and lose a
few microseconds a call to the meeting: 1.8 times one thread from 2^19 items on. In memory both share what one nearly uses up.
"""

import functools
import time

from measure import Contender, installed, main, speeds

PAUSE = 0.01


def rows(quick):
    import numpy as np

    import gorsqrt

    tier = gorsqrt.show_config("dicts")["tier"]
    libraries = [("gorsqrt", tier, gorsqrt.set_num_threads, gorsqrt.rsqrt, lambda x: x)]
    if installed("torch"):
        import torch

        libraries.append(("torch", "", torch.set_num_threads, torch.rsqrt, torch.from_numpy))
    large = np.ones(1 << 21, np.float32)

    def contenders(x, out):
        for provider, tier, set_threads, rsqrt, array in libraries:
            call = functools.partial(rsqrt, array(x), out=array(out))
            wake = functools.partial(rsqrt, array(large), out=array(large))

            def prepare(threads, set_threads=set_threads, wake=wake):
                time.sleep(PAUSE)
                set_threads(threads)
                wake()

            for threads in (1, 2):
                about = {"provider": provider, "tier": tier, "threads": threads}
                yield Contender(about, call, functools.partial(prepare, threads))

    for n in (1 << 19, 1 << 20) if quick else [1 << k for k in range(15, 25)]:
        x = np.random.default_rng(1).uniform(1, 100, n).astype(np.float32)
        yield from ({"dtype": "float32"} | row for row in speeds(contenders(x, np.ones_like(x)), n, 5 if quick else 31))


if __name__ == "__main__":
    main("threads", __doc__, rows)
