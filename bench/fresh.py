"""Results of 32 MiB and more in fresh memory, on one thread, against torch and numpy: fresh.csv.

- Repeated: the result is dropped before the next call, so gorsqrt writes where the last one was.
- First touch: kept memory is given back to the system before each call, and that time counts, as
  it does for torch and numpy, which map and unmap memory at every call.

Prediction: a page fault every 4 KiB costs 1 to 2 µs, and 1024 float32 take 0.3 µs to compute. So
torch and numpy spend all their time in faults: .6 items/ns. Huge pages cause 512 times fewer
faults, but the system still fills them with zeros at some 10 GB/s: 2 items/ns. Kept memory costs
as much as out=: 3 to 5 items/ns.
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
