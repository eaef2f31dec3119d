"""Results in fresh memory, of 32 MiB and more, beside torch's and numpy's, on one thread: fresh.csv.

Repeated: the result is dropped before the next call, so ours is written where the last one was. First touch: what was kept is
given back to the system first, whose time counts too, as it counts for torch and numpy, which map and unmap at every call.

Prediction: a page fault every 4 KiB costs 1 to 2 µs where 1024 float32 take 0.3 µs to compute, so that faults are all of the
time: .6 items/ns, for torch and numpy. Huge pages are 512 times fewer faults, but the system still fills each with zeros at
some 10 GB/s: 2 items/ns. Kept memory costs what out= costs, 3 to 5.
"""

from measure import Contender, installed, main, one_core, speeds

MIB = (32, 64, 256)


def rows(quick):
    one_core()
    import numpy as np

    import gorsqrt
    from gorsqrt import empty_cache, rsqrt

    def first(x):
        empty_cache()
        return rsqrt(x)

    tier = gorsqrt.show_config("dicts")["tier"]
    for mib in MIB[:2] if quick else MIB:
        x = np.random.default_rng(1).uniform(1, 100, mib << 18).astype(np.float32)
        out = np.ones_like(x)
        calls = {
            ("gorsqrt", "out="): lambda: rsqrt(x, out=out),  # noqa: B023  (used before x changes)
            ("gorsqrt", "repeated"): lambda: rsqrt(x),  # noqa: B023
            ("gorsqrt", "first touch"): lambda: first(x),  # noqa: B023
            ("1 / np.sqrt", "repeated"): lambda: 1 / np.sqrt(x),  # noqa: B023
        }
        if installed("torch"):
            import torch

            torch.set_num_threads(1)
            tensor, tensor_out = torch.from_numpy(x), torch.from_numpy(out)
            calls["gorsqrt, torch tensors", "repeated"] = lambda: rsqrt(tensor)  # noqa: B023
            calls["gorsqrt, torch tensors", "first touch"] = lambda: first(tensor)  # noqa: B023
            calls["torch", "out="] = lambda: torch.rsqrt(tensor, out=tensor_out)  # noqa: B023
            calls["torch", "repeated"] = lambda: torch.rsqrt(tensor)  # noqa: B023
        about = (
            {"provider": provider, "tier": tier * provider.startswith("gorsqrt"), "form": form} for provider, form in calls
        )
        contenders = map(Contender, about, calls.values())
        yield from ({"dtype": "float32", "mib": mib} | row for row in speeds(contenders, x.size, 5 if quick else 15))


if __name__ == "__main__":
    main("fresh", __doc__, rows)
