"""float32 into out= on one thread and on two, against torch: threads.csv.

- Hot: the calls follow each other. A large call before them has woken the helpers: gorsqrt wakes
  none for less than 8 MiB read and written. There is a pause between contenders, since torch's
  helpers spin while they wait and would slow down the next contender.
- Beside torch: just before each call comes a call of torch's on two threads, untimed, so that
  torch's helpers spin.
- Idle: before each call the process sleeps for 20 ms.
- 8 callers: eight Python threads call at once, each with arrays of its own. The figure is the sum
  of all. 1 caller is one such thread alone.

Prediction: below a MiB ours stays on one thread. In the caches two threads have twice the dividers
and multipliers, and lose a few microseconds a call to the meeting: 1.8 times one thread from 2^19
items on. In memory both share what one nearly uses up, so a copy by two threads is the limit there
and not 1.8. Beside torch's spinning worker the helper has half a processor, and nobody waits for it
while it has not begun: no slower than one thread, where a static split was measured as 0.3 to 0.7
of that. Idle: to wake the helper takes 10 µs of the caller and 50 to 100 until it begins, which
2^20 float32 are worth; torch's two threads meet before they begin, and wait. 8 callers: twice one
caller in the caches, as there are two processors, and helpers are not asked; torch gives each
caller a team of its own, 16 threads in all, and should lose by that.
"""

import functools
import threading
import time

from measure import Contender, installed, main, speeds

PAUSE = 0.01
IDLE = 0.02
CALLERS = 8
BATCH = 1 << 26  # items that all callers compute in a sample: some milliseconds


class Callers:
    """Python threads that do their work together when they are told to."""

    def __init__(self, count):
        self.gate, self.work = threading.Barrier(count + 1), [None] * count
        for i in range(count):
            threading.Thread(target=self.serve, args=(i,), daemon=True).start()

    def serve(self, i):
        while True:
            self.gate.wait()
            self.work[i]()
            self.gate.wait()

    def together(self, work):
        self.work[:] = work
        self.gate.wait()
        self.gate.wait()


def rows(quick):
    import numpy as np
    from contenders import aligned, copies

    import gorsqrt

    tier = gorsqrt.show_config("dicts")["tier"]
    libraries = [("gorsqrt", tier, gorsqrt.set_num_threads, gorsqrt.rsqrt, lambda x: x)]
    if installed("torch"):
        import torch

        libraries.append(("torch", "", torch.set_num_threads, torch.rsqrt, torch.from_numpy))
        spun = torch.ones(1 << 20), torch.empty(1 << 20)
    large = np.ones(1 << 21, np.float32)

    def arrays(n):
        x = aligned(n, np.dtype(np.float32))
        x[:] = np.random.default_rng(1).uniform(1, 100, n)
        out = aligned(n, x.dtype)
        out.fill(1)
        return x, out

    def with_threads(form, call_of, before=None):
        """Each library on one thread and on two. call_of(rsqrt, array, set_threads) makes the timed
        call."""
        for provider, tier, set_threads, rsqrt, array in libraries:
            warm = functools.partial(rsqrt, array(large), out=array(large))

            def prepare(set_threads, warm=warm):
                time.sleep(PAUSE)
                set_threads()
                warm()

            for threads in (1, 2):
                chosen = functools.partial(set_threads, threads)
                about = {"provider": provider, "tier": tier, "form": form, "threads": threads}
                yield Contender(about, call_of(rsqrt, array, chosen), functools.partial(prepare, chosen), before)

    def hot(n, form="hot", before=None):
        x, out = arrays(n)
        yield from with_threads(form, lambda rsqrt, array, _: functools.partial(rsqrt, array(x), out=array(out)), before)
        for threads in (1, 2) if form == "hot" and n >= 1 << 22 else ():
            if copy := copies(x, out, threads):
                yield Contender({"provider": "streaming copy", "tier": "", "form": form, "threads": threads}, copy)

    def spin():
        torch.rsqrt(spun[0], out=spun[1])

    def beside(n):
        for contender in hot(n, "beside torch", spin):
            if contender.about["provider"] == "gorsqrt":
                prepare = contender.prepare
                yield contender._replace(prepare=lambda prepare=prepare: (torch.set_num_threads(2), prepare()))
            elif contender.about["threads"] == 2:
                yield contender

    def callers(n, count):
        pairs, together = [arrays(n) for _ in range(count)], Callers(count).together

        def call_of(rsqrt, array, set_threads):
            def many(x, out):
                set_threads()  # torch's is the calling thread's
                for _ in range(BATCH // count // n):
                    rsqrt(x, out=out)

            return functools.partial(together, [functools.partial(many, array(x), array(out)) for x, out in pairs])

        yield from with_threads(f"{count} caller" + "s" * (count > 1), call_of)

    rounds = 5 if quick else 31
    dtype = {"dtype": "float32"}
    for n in (1 << 19, 1 << 20) if quick else [1 << k for k in range(15, 25)]:
        yield from (dtype | row for row in speeds(hot(n), n, rounds))
    for n in (1 << 20,) if quick else [1 << k for k in (16, 18, 20, 22)]:
        if installed("torch"):
            yield from (dtype | row for row in speeds(beside(n), n, rounds))
        yield from (dtype | row for row in speeds(hot(n, "idle", functools.partial(time.sleep, IDLE)), n, rounds))
        for count in (1, CALLERS):
            yield from (dtype | row for row in speeds(callers(n, count), n, rounds, BATCH // n))


if __name__ == "__main__":
    main("threads", __doc__, rows)
