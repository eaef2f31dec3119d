"""Has Inductor, the compiler behind torch.compile, fuse the ops.

- For real dtypes gorsqrt.rsqrt becomes torch.rsqrt once the graph is traced, and is fused with its
  neighbours like it. On the CPU that code has our bits, except nans' and those of intermediates,
  which it does not round to 16 bits. On CUDA devices it has torch's bits.
- An op that stands alone, on a tensor large enough to be worth a call, stays ours: the code calls
  gorsqrt.rsqrt(x, out=...).

A wrong decision costs time and no more. Code without Python (AOTInductor's packages, cpp_wrapper)
has torch's op everywhere, complex dtypes too, and runs without gorsqrt.

gorsqrt._watch imports this module when Inductor is imported. If Inductor lacks a name that is used
here, the ops stay calls, and are not fused.
"""

import operator

import torch
from torch._inductor import config
from torch._inductor.fx_passes import joint_graph, post_grad
from torch._inductor.ir import ExternKernel, NoneLayout, convert_shape_to_inductor
from torch._inductor.lowering import fallback_handler, fallbacks, lowerings, needs_realized_inputs
from torch._inductor.pattern_matcher import MULTIPLE, CallFunction, KeywordArg, register_graph_pattern
from torch._inductor.virtualized import V
from torch.fx.experimental.symbolic_shapes import statically_known_true, sym_eq
from torch.fx.passes.reinplace import _is_view_op
from torch.utils._ordered_set import OrderedSet

from ._ops import FRESH, OUT

LARGE = 8192  # items; of fewer Inductor's own loop takes no longer than a call
_RSQRT, _COPY, _EMPTY = (op.default for op in (torch.ops.aten.rsqrt, torch.ops.aten.copy_, torch.ops.aten.empty_strided))


# Decisions about the nodes of a graph.


def _size(node):
    """The number of items, of symbolic shapes at the graph's first call. int() would guard it."""
    n = node.meta["val"].numel()
    return n if isinstance(n, int) else n.node.hint or 0


def _is_argument(node):
    return node.op in ("placeholder", "get_attr")


def _is_in_memory(node):
    """Whether what has computed node is no code of Inductor's that more could be fused into."""
    while node.op == "call_function" and (node.target is operator.getitem or _is_view_op(node.target)):
        node = node.args[0]
    if node.target in needs_realized_inputs:  # matrix products and the like
        return not (config.max_autotune or config.max_autotune_gemm)
    return _is_argument(node) or node.target in fallbacks


def _fills_argument(copy):
    """Whether the node copy, a copy_, only writes a fresh result into an argument, as out= does."""
    out, fresh = copy.args[:2]
    if fresh.target is not FRESH or len(fresh.users) > 1 or not (_is_argument(out) and _is_argument(fresh.args[0])):
        return False
    out, fresh = out.meta["val"], fresh.meta["val"]
    return out.dtype == fresh.dtype and statically_known_true(sym_eq(out.shape, fresh.shape))


def _takes_memory(user, node):
    """Whether user is no code of Inductor's that node could be fused into."""
    if user.target is _COPY:
        return user.args[0] is node or _fills_argument(user)
    if user.op == "call_function" and _is_view_op(user.target):
        return all(_takes_memory(after, user) and after.target is not _COPY for after in user.users)
    if user.meta.get("partitioner_tag") in ("is_backward", "must_be_in_backward"):
        return True  # in another graph
    return user.op == "output" or user.target in needs_realized_inputs or user.target in fallbacks


def _is_complex(node):
    return node.meta["val"].is_complex()


def _stands_alone(node):
    """Whether our kernel is faster: Inductor's code would be a loop for node alone over x."""
    (x,) = node.args
    return (
        node.meta["val"].device.type in ("cpu", "cuda")
        and _size(node) >= LARGE
        and _is_in_memory(x)
        and all(_takes_memory(user, node) for user in node.users)
        and all(user is node or _takes_memory(user, x) for user in x.users)
    )


# The call that is left of an op that stands alone.


class Call(ExternKernel):
    """gorsqrt.rsqrt(x, out=out) among the generated code; out may be x."""

    def __init__(self, x, out):
        inputs = self.unwrap_storage([self.realize_input(x), out])
        super().__init__(None, NoneLayout(device=out.get_device()), inputs, op_overload=OUT)
        V.graph.mark_buffer_mutated(out.get_name())
        self.name = V.graph.register_buffer(self)
        V.graph.register_operation(self)

    def codegen(self, wrapper):
        x, out = (buffer.codegen_reference() for buffer in self.inputs)
        wrapper.add_import_once("import gorsqrt")
        wrapper.writeline(f"gorsqrt.rsqrt({x}, out={out})")

    def should_allocate(self):
        return False

    def get_mutation_names(self):
        return [self.inputs[1].get_name()]

    def get_unbacked_symbol_defs(self):
        return OrderedSet()


def _has_python():
    return not (V.graph.cpp_wrapper or getattr(V.graph, "fx_wrapper", False))


def _lower_out(x, *, out):
    if not _has_python():
        return lowerings[_COPY](out, lowerings[_RSQRT](x))
    Call(x, out)
    return out


def _lower(x):
    node = V.graph.current_node
    if _is_complex(node):
        return fallback_handler(FRESH if _has_python() else _RSQRT, add_to_fallback_set=False)(x)
    if not (_has_python() and _stands_alone(node)):
        return lowerings[_RSQRT](x)
    val = node.meta["val"]
    size, stride = map(convert_shape_to_inductor, (val.shape, val.stride()))
    return _lower_out(x, out=lowerings[_EMPTY](size, stride, dtype=val.dtype, device=val.device))


# What becomes of the nodes before that. A pattern is one node: none may reach across the write of a
# copy_.


def _becomes_torchs(match):
    node = match.output_node()
    return not (_is_complex(node) or _stands_alone(node))


def _become_torchs(match, x):
    match.output_node().target = _RSQRT


def _becomes_out(match):
    copy = match.output_node()
    return _fills_argument(copy) and not _is_complex(copy) and _stands_alone(copy.args[1])


def _become_out(match, out, fresh):
    copy = match.output_node()
    copy.target, copy.args, copy.kwargs = OUT, fresh.args, {"out": out}
    match.graph.erase_node(fresh)


def register():
    """Have Inductor fuse the ops before the graph is split into forward and backward, and lower the
    rest."""
    if lowerings.get(FRESH) is _lower:  # gorsqrt has been reloaded
        return
    fresh = CallFunction(FRESH, KeywordArg("x"), _users=MULTIPLE)
    copy = CallFunction(_COPY, KeywordArg("out"), KeywordArg("fresh"), _users=MULTIPLE)
    register_graph_pattern(fresh, _becomes_torchs, pass_dict=joint_graph.patterns)(_become_torchs)
    register_graph_pattern(copy, _becomes_out, pass_dict=post_grad.pass_patterns[2])(_become_out)
    lowerings[FRESH], lowerings[OUT] = _lower, _lower_out
