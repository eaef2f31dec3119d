"""Contract 9.2, memory: each of Python's allocations in each form of a call fails once.

Nothing but the call itself may notice.

python tests/test_allocation.py GROUP    the same for one group of forms; a line for each, as JSON
"""

import json
import subprocess
import sys

import pytest
from call_forms import GROUPS, outcome
from test_references import references, watched

MORE = 8  # points that are tried past the one where a call succeeds without a further allocation
MOST = 20_000  # points: no form has as many
IN_A_ROW = 30  # and not all that follow, for which CPython may wait in a loop of its own
AGAIN = 5  # times that all of it is done while references are counted, so that one that is lost each time shows

# numpy's masked arrays (2.4.6) and torch's machinery (2.15) end the process without us as well. Of
# the errors of ctypes, MemoryError is only the cause.
NOT_OURS = "numpy, masked", "DLPack by hand", "by torch"


def failing(call, first, past):
    """outcome(call) if allocations first … past-1 fail during the call."""
    import _testcapi

    value = None
    _testcapi.set_nomemory(first, past)
    try:
        value = call()
    except BaseException as error:
        # CPython loses an exception for whose traceback it has no memory; one that we have lost
        # names our function.
        value = MemoryError if isinstance(error, SystemError) and "rsqrt" not in str(error) else type(error)
    finally:
        _testcapi.remove_mem_hooks()
    return value if isinstance(value, type) else outcome(lambda: value)


def fail_each(call, points):
    for first in range(points):
        for past in (first + 1, first + IN_A_ROW):
            failing(call, first, past)


def try_form(call, objects):
    """Fails every allocation of a call, alone and with all later ones.

    Returns the number of points, the outcomes and the faults.
    """
    expected, ends, wrong = outcome(call), {}, []
    points, first = MOST, 0
    while first < points:
        for past in (first + 1, first + IN_A_ROW):
            end = failing(call, first, past)
            kind = end.__name__ if isinstance(end, type) else "result"
            ends[kind] = ends.get(kind, 0) + 1
            if end is not MemoryError and end != expected:
                wrong.append(f"allocation {first}{f' … {past - 1}' if past > first + 1 else ''}: {str(end)[:60]}")
            if outcome(call) != expected:
                wrong.append(f"allocation {first}: the next call was another")
        if points == MOST and end == expected:
            points = first + MORE
        first += 1
    before = references(objects)
    for _ in range(AGAIN):
        fail_each(call, points)
    lost = references(objects) - before
    if abs(lost) >= AGAIN:
        wrong.append(f"{lost} references in {AGAIN} rounds")
    return {"points": 2 * points, "ends": ends, "wrong": wrong}


def try_group(group):
    forms = {name: call for name, call in GROUPS[group]().items() if not name.startswith(NOT_OURS)}
    for call in forms.values():
        outcome(call)
    objects = watched()
    for name, call in forms.items():
        print(json.dumps({"form": name}), flush=True)
        print(json.dumps(try_form(call, objects)), flush=True)


@pytest.mark.spec("9.2")
@pytest.mark.parametrize("group", GROUPS)
def test_every_allocation_of_every_form_fails_once(group):
    """A call gives its result, its exception or MemoryError; the next is right; no reference is
    left."""
    done = subprocess.run([sys.executable, "-W", "ignore", __file__, group], capture_output=True, text=True, timeout=500)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1]} ended the process: {done.returncode}\n{done.stderr[-3000:]}"
    results = {form["form"]: said for form, said in zip(lines[::2], lines[1::2], strict=True)}
    assert {*results} == {name for name in GROUPS[group]() if not name.startswith(NOT_OURS)}
    wrong = {form: said["wrong"] for form, said in results.items() if said["wrong"]}
    assert not wrong, json.dumps(wrong, indent=1)
    assert sum(said["ends"].get("MemoryError", 0) for said in results.values()) > len(results)


if __name__ == "__main__":
    try_group(sys.argv[1])
