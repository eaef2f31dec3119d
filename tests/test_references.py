"""Reference counts: a call of any form leaves those of its arguments as they were.

It does so whether it returns or raises. In a debug build of CPython (`make refcounts`) the total of
all references is compared too.
"""

import gc
import subprocess
import sys

import pytest
from call_forms import GROUPS, outcome

CALLS = 50
IN_DEBUG = hasattr(sys, "gettotalrefcount")


def watched():
    """All objects that there are now."""
    found, ahead = {}, gc.get_objects()
    while ahead:
        objects = {id(o): o for o in ahead if id(o) not in found}
        found |= objects
        ahead = gc.get_referents(*objects.values())
    return list(found.values())


def references(objects):
    """The number of references to each. The cache of types' attributes has some, so it is
    emptied."""
    gc.collect()
    sys._clear_type_cache()
    return sum(map(sys.getrefcount, objects))


def blocks(_):
    """The blocks that Python's allocator has given out, without those in freelists."""
    gc.collect()
    return sys.getallocatedblocks()


def all_references(_):
    """All that a debug build counts: those of what is built for it, which numpy is not."""
    gc.collect()
    sys._clear_type_cache()
    return sys.gettotalrefcount()


def lost(count, objects, calls):
    """How much more there is after CALLS rounds of the calls, less what counting itself leaves."""
    marks = [count(objects)]
    for rounds in (0, CALLS):
        for _ in range(rounds):
            for call in calls:
                outcome(call)
        marks.append(count(objects))
    return marks[2] - marks[1] - (marks[1] - marks[0])


def loses(count, objects, calls):
    """Whether calls leave something each time: caches and freelists are full after some rounds."""
    return all(abs(lost(count, objects, calls)) >= CALLS // 2 for _ in range(6))


def those_that_lose(count, objects, forms):
    """The forms that leave something, asked one by one only if all of them together do."""
    if not loses(count, objects, forms.values()):
        return []
    return [form for form, call in forms.items() if loses(count, objects, [call])]


def main(group):
    forms = GROUPS[group]()
    counts = [references, blocks] + [all_references] * (IN_DEBUG and group == "plain")
    for call in forms.values():
        outcome(call)
    objects = watched()
    for count in counts:
        print(count.__name__, those_that_lose(count, objects, forms))
    if group == "plain":
        kept = []
        losing = {"does not": list, "a reference": lambda: kept.append(None), "an object": lambda: kept.append(object())}
        for count in counts:
            print(those_that_lose(count, objects, losing))


@pytest.mark.parametrize("group", GROUPS)
def test_every_form_leaves_every_count_as_it_was(group):
    """And calls that lose something, a reference to None or a fresh object, are found."""
    done = subprocess.run([sys.executable, "-W", "ignore", __file__, group], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    expected = ["references []", "blocks []"]
    if IN_DEBUG and group == "plain":
        expected.append("all_references []")
    if group == "plain":
        expected += ["['a reference']", "['an object']", "['a reference', 'an object']"][: len(expected)]
    assert done.stdout.splitlines() == expected


if __name__ == "__main__":
    main(sys.argv[1])
