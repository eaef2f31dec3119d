"""``python -m gorsqrt``: the five uses on real arrays.

Results and times of numpy and torch stand beside ours if they are installed.
"""

import timeit
from array import array
from importlib import import_module

import gorsqrt


def installed(name):
    try:
        return import_module(name)
    except ImportError:
        return None


numpy, torch = installed("numpy"), installed("torch")


def values(numbers, shape):
    """A float32 array: numpy's, or without numpy a memoryview."""
    if numpy:
        return numpy.array(numbers, "float32").reshape(shape)
    flat = memoryview(array("f", numbers))
    return flat if len(shape) == 1 else flat.cast("B").cast("f", shape)


def show(result):
    return str([[round(x, 4) for x in row] if isinstance(row, list) else round(row, 4) for row in result.tolist()])


def compare(title, setup, **contenders):
    """Prints the result and the time of each contender. A contender is made with a fresh array."""
    print(f"\n{title}")
    for code, call in contenders.values():
        result = call(setup())
        x = setup()
        timer = timeit.Timer(lambda call=call, x=x: call(x))
        loops = max(1, int(0.01 / timer.timeit(3) * 3))
        seconds = min(timer.repeat(7, loops)) / loops
        time = f"{seconds * 1e9:.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:.0f} us"
        shown = show(result) if len(result) <= 3 else f"{len(result)} elements"
        print(f"  {code:44}{time:>9}  {shown}")


def beside(ours, numpy_code=None, torch_code=None):
    """The contenders that are installed, as (code, callable of x)."""
    names = {"gorsqrt": gorsqrt, "rsqrt": gorsqrt.rsqrt, "rsqrt_": gorsqrt.rsqrt_, "np": numpy, "torch": torch}
    contenders = {"ours": ours}
    if numpy and numpy_code:
        contenders["numpy"] = numpy_code
    if torch and torch_code:
        contenders["torch"] = torch_code
    made = {}
    for name, code in contenders.items():
        call = eval(f"lambda x: {code}", names)
        made[name] = (code, call if name != "torch" else lambda x, call=call: call(tensor(x)))
    return made


tensors: dict = {}


def tensor(x):
    """x as a tensor of the same memory, made once, so that it does not count into the time."""
    if id(x) not in tensors:
        tensors[id(x)] = (x, torch.from_numpy(x))
    return tensors[id(x)][1]


class OnDevice:
    """What an array on a CUDA device shows of itself."""

    __cuda_array_interface__ = {"shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3}  # noqa: RUF012


def main():
    config = gorsqrt.show_config("dicts")
    print(f"gorsqrt {config['version']}: the reciprocal square root, by {config['tier']} (of {', '.join(config['tiers'])})")
    peers = [f"{peer.__name__} {peer.__version__}" for peer in (numpy, torch) if peer]
    print("beside " + " and ".join(peers) if peers else "neither numpy nor torch is installed; the arrays are memoryviews")

    compare(
        "1. A 1-D array, [4, 16, 25]",
        lambda: values([4, 16, 25], (3,)),
        **beside("rsqrt(x)", "1 / np.sqrt(x)", "torch.rsqrt(x)"),
    )
    compare(
        "   and a million elements",
        lambda: values([1 + i % 97 for i in range(1 << 20)], (1 << 20,)),
        **beside("rsqrt(x)", "1 / np.sqrt(x)", "torch.rsqrt(x)"),
    )
    compare(
        "2. An n-D array, [[1, 4], [16, 64]]",
        lambda: values([1, 4, 16, 64], (2, 2)),
        **beside("rsqrt(x)", "1 / np.sqrt(x)", "torch.rsqrt(x)"),
    )
    compare(
        "3. In place",
        lambda: values([1, 1, 1], (3,)),
        **beside("rsqrt_(x)", "np.divide(1, np.sqrt(x, out=x), out=x)", "torch.rsqrt_(x)"),
    )
    x = values([4, 16, 25], (3,))
    print(f"  {'x = [4, 16, 25]; rsqrt_(x) is x':53}  {gorsqrt.rsqrt_(x) is x}, x is now {show(x)}")

    if numpy:
        compare(
            "4. Inside a lambda, in a larger expression: the rows of a matrix divided by their lengths",
            lambda: values([3, 4, 6, 8], (2, 2)),
            **beside(
                "x * rsqrt((x * x).sum(1, keepdims=True))",
                "x / np.sqrt((x * x).sum(1, keepdims=True))",
                "x * torch.rsqrt((x * x).sum(1, keepdim=True))",
            ),
        )
    else:
        print("\n4. Inside a lambda, in a larger expression: the rows of a matrix divided by their lengths")
        normalise = lambda row: [v * gorsqrt.rsqrt(array("f", [sum(v * v for v in row)]))[0] for v in row]  # noqa: E731
        print(f"  {'map(normalise, [[3, 4], [6, 8]])':53}  {[[round(v, 4) for v in normalise(r)] for r in ([3, 4], [6, 8])]}")

    print("\n5. CUDA")
    cupy = installed("cupy") if config["cuda_driver"] else None
    if torch and torch.cuda.is_available():
        x = torch.tensor([4.0, 16.0, 25.0], device="cuda")
        print(f"  {'rsqrt(tensor([4.0, 16.0, 25.0], device=cuda))':53}  {show(gorsqrt.rsqrt(x))}")
    elif cupy:
        print(f"  {'rsqrt(cupy.array([4, 16, 25]))':53}  {show(gorsqrt.rsqrt(cupy.array([4, 16, 25])))}")
    elif config["cuda_driver"]:
        print(f"  NVIDIA's driver {config['cuda_driver']} is here, but no torch or cupy to make an array on the device by.")
    else:
        print("  This machine has no NVIDIA driver. An array that says it is on a CUDA device gets one sentence:")
        try:
            gorsqrt.rsqrt_(OnDevice())
        except RuntimeError as error:
            print(f"  RuntimeError: {error}")


if __name__ == "__main__":
    main()
