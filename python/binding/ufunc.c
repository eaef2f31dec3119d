/* rsqrt as a numpy.ufunc, by numpy's C API of ufuncs, which is found in the numpy that was
 * imported: nothing of numpy is needed at build time, and one build serves numpy 1.26 and newer.
 *
 * numpy does what it does for every ufunc: where=, casting, order, broadcasting, subclasses,
 * iterators. Here are the loops, which run Go's steps on strided items, and the choice of a loop if
 * none is of exactly an input's dtype. Promises: the bits are those of rsqrt, and no value raises a
 * floating-point warning. numpy may have given up the GIL in a loop.
 *
 * numpy asks for the loop of an input's dtype once, and keeps the answer for as long as the ufunc
 * lives. So there is a ufunc for each default dtype of integers, and bfloat16, whose dtype numpy
 * learns of when ml_dtypes is imported, gets its loop before the first answer about it. */
#include "ufunc.h"
#include "container.h"
#include "decide.h"
#include "numpy.h"
#include "run.h"

#include "../../cgo/mode.h"

/* The entries of numpy's _UFUNC_API table that are used, by number; from numpy's __ufunc_api.h. */
enum { FROM_FUNC_AND_DATA = 1, REGISTER_LOOP_FOR_TYPE = 2, DEFAULT_TYPE_RESOLVER = 39 };

/* dimensions: the number of items. args and steps: the input's, then the output's. */
typedef void ufunc_loop(char **args, const Py_ssize_t *dimensions, const Py_ssize_t *steps, void *data);

/* Fills in the dtypes of a call, two references: 0, or -1 with an exception set. type_tup: the
 * dtypes that the caller asks for; NULL or None if none. */
typedef int type_resolver(PyObject *ufunc, int casting, PyObject **operands, PyObject *type_tup, PyObject **dtypes);

/* The start of every ufunc, the same in numpy 1.26 to 2.5; from numpy's ufuncobject.h. */
typedef struct {
    PyObject_HEAD int nin, nout, nargs, identity;
    ufunc_loop **functions;
    void *const *data;
    int ntypes, flags;
    const char *name, *types, *doc;
    void *ptr;
    PyObject *obj, *userloops; /* loops for dtypes that are not numpy's own: NULL, or a dict */
    int core_enabled, core_num_dim_ix;
    int *core_num_dims, *core_dim_ixs, *core_offsets;
    char *core_signature;
    type_resolver *resolver;
} numpy_ufunc;

/* numpy's table; NULL until a ufunc is made. */
static void **api;

/* Loops. */

/* What a loop's data says: items of `from` become results of `to`. */
static void *loop_data(int32_t from, int32_t to) {
    return (void *)(intptr_t)(from * GORSQRT_COMPUTED + to);
}

enum {
    FEW = 4,            /* items for which the scalar kernel is faster: where= hands over runs of some, .at one */
    PIECE = 1 << 14,    /* items of overlapping sides that are copied at once */
    SHORT_RUN = 1 << 13 /* items below which a plan is not worth its preparation */
};

/* The two sides of a loop. */
typedef struct {
    char *dst;
    const char *src;
    int64_t dst_step, src_step, dst_size, src_size, n;
} sides;

static void turn(sides *s) {
    s->dst += (s->n - 1) * s->dst_step;
    s->src += (s->n - 1) * s->src_step;
    s->dst_step = -s->dst_step;
    s->src_step = -s->src_step;
}

/* Whether items have been handed over that share bytes with others than their own result, or
 * results that do so with each other. numpy hands over those for which it makes no difference if
 * items are computed one after the other. dst_step is not negative. */
static bool overlap(const sides *s) {
    if (s->dst_step < s->dst_size && s->n > 1) return true;
    if (s->src == s->dst && s->src_step == s->dst_step && s->src_size == s->dst_size) return false;
    int64_t const reach = (s->n - 1) * s->src_step;
    const char *const first = reach < 0 ? s->src + reach : s->src, *const last = reach < 0 ? s->src : s->src + reach;
    return first < s->dst + (s->n - 1) * s->dst_step + s->dst_size && s->dst < last + s->src_size;
}

static void run_sides(const gorsqrt_steps *steps, const sides *given) {
    sides s = *given;
    gorsqrt_plan plan;
    bool const descending = s.dst_step < 0;
    if (descending) turn(&s);
    bool const temporary = overlap(&s);
    if (temporary && descending) turn(&s); /* back: the order counts */
    if (!temporary && s.n < SHORT_RUN && steps->stages == 1 && s.src_step == s.src_size && s.dst_step == s.dst_size) {
        steps->stage[0](s.dst, s.src, (size_t)s.n);
        return;
    }
    plan.src_size = s.src_size;
    plan.dst_size = s.dst_size;
    plan.src_strides[0] = s.src_step;
    plan.dst_strides[0] = s.dst_step;
    plan.src_offset = plan.dst_offset = 0;
    plan.temporary = temporary;
    plan.ndim = 1;
    plan.stages = (int32_t)steps->stages;
    plan.mover = steps->mover;
    plan.kernels = steps->kernels;
    for (int i = 0; i < GORSQRT_MAX_STAGES; i++) plan.stage[i] = steps->stage[i];
    for (int64_t at = 0; at < s.n; at += plan.n) {
        plan.n = temporary && s.n - at > PIECE ? PIECE : s.n - at;
        plan.shape[0] = plan.n;
        run_in_loop(&plan, s.dst + at * s.dst_step, s.src + at * s.src_step);
    }
}

/* By the scalar kernels: they raise no flag for lanes without an item, which takes longer to take
 * back than a few items take. Each call waits for the arithmetic of the one before, so contiguous
 * items go together. */
static void run_few(int32_t dtype, char *dst, int64_t dst_step, const char *src, int64_t src_step, int64_t n) {
    gorsqrt_kernel *const kernel = gorsqrt_scalar.of[dtype].plain;
    int64_t const size = gorsqrt_item_size[dtype], bytes = n * size;
    if (src_step == size && dst_step == size && (src == dst || src + bytes <= dst || dst + bytes <= src)) {
        kernel(dst, src, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) kernel(dst + i * dst_step, src + i * src_step, 1);
}

static void loop(char **args, const Py_ssize_t *dimensions, const Py_ssize_t *steps, void *data) {
    int32_t const from = (int32_t)((intptr_t)data / GORSQRT_COMPUTED), to = (int32_t)((intptr_t)data % GORSQRT_COMPUTED);
    fp_flags const before = flags_get();
    if (dimensions[0] <= FEW && from == to) {
        run_few(to, args[1], steps[1], args[0], steps[0], dimensions[0]);
    } else {
        sides s = {args[1], args[0], steps[1], steps[0], gorsqrt_item_size[to], gorsqrt_item_size[from], dimensions[0]};
        if (s.n == 1) {
            s.src_step = s.src_size;
            s.dst_step = s.dst_size;
        }
        run_sides(&go_now->steps[from][to], &s);
    }
    if ((flags_get() ^ before) & FP_FLAGS_NOTED) flags_restore(before);
}

/* The ufuncs' tables. */

/* numpy's type numbers, in the order in which it looks for a loop that an input can be cast to: so
 * the floating-point ones come first. */
enum { BOOL, ULONGLONG = 10, FLOAT, DOUBLE, CFLOAT = 14, CDOUBLE, HALF = 23 };
static const char floats[] = {HALF, FLOAT, DOUBLE, CFLOAT, CDOUBLE};
enum { FLOATS = sizeof floats, INTEGERS = ULONGLONG + 1, LOOPS = FLOATS + INTEGERS, DEFAULTS = GORSQRT_F64 + 1 };

/* By the default dtype. numpy keeps their addresses for as long as the ufunc lives. */
static struct {
    ufunc_loop *functions[LOOPS];
    void *data[LOOPS];
    char types[2 * LOOPS];
} tables[DEFAULTS];

/* The number of a computed dtype that is numpy's own. */
static int number_of(int32_t dtype) {
    return ((const numpy_descr *)numpy.descr[dtype])->type_num;
}

static void add_loop(int32_t integers, int at, int32_t from, int number, int32_t to) {
    tables[integers].functions[at] = loop;
    tables[integers].data[at] = loop_data(from, to);
    tables[integers].types[2 * at] = (char)number;
    tables[integers].types[2 * at + 1] = (char)number_of(to);
}

/* Fills in a table: how many loops it has. Integers in bfloat16 come later, with bfloat16. */
static int fill_table(int32_t integers) {
    for (int i = 0; i < FLOATS; i++) {
        int32_t const dtype = numpy_number_dtype(floats[i]);
        add_loop(integers, i, dtype, floats[i], dtype);
    }
    if (integers == GORSQRT_BF16) return FLOATS;
    for (int i = 0; i < INTEGERS; i++) add_loop(integers, FLOATS + i, numpy_number_dtype(BOOL + i), BOOL + i, integers);
    return LOOPS;
}

/* What a ufunc computes integers in. */
static int32_t integers_of(const numpy_ufunc *ufunc) {
    int32_t dtype = 0;
    while (dtype < GORSQRT_F64 && ufunc->data != tables[dtype].data) dtype++;
    return dtype;
}

/* Adds the loops that have bfloat16 on a side, once per ufunc: 0, or -1 with an exception set. */
static int add_bfloat16(numpy_ufunc *ufunc) {
    if (ufunc->userloops) return 0;
    PyObject *const descr = numpy_descr_for(GORSQRT_BF16);
    if (descr == NULL) return -1;
    int (*const add)(PyObject *, int, ufunc_loop *, const int *, void *) =
        (int (*)(PyObject *, int, ufunc_loop *, const int *, void *))api[REGISTER_LOOP_FOR_TYPE];
    int const bfloat16 = ((const numpy_descr *)descr)->type_num;
    int types[2] = {bfloat16, bfloat16};
    int failed = add((PyObject *)ufunc, bfloat16, loop, types, loop_data(GORSQRT_BF16, GORSQRT_BF16));
    for (int i = 0; i < INTEGERS && !failed && integers_of(ufunc) == GORSQRT_BF16; i++) {
        types[0] = BOOL + i;
        failed = add((PyObject *)ufunc, bfloat16, loop, types, loop_data(numpy_number_dtype(types[0]), GORSQRT_BF16));
    }
    return failed ? -1 : 0;
}

/* Whether somebody has imported ml_dtypes: 1 or 0; -1 with an exception set. */
static int has_bfloat16(void) {
    PyObject *const type = imported("ml_dtypes", "bfloat16");
    Py_XDECREF(type);
    return type ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* numpy asks if no loop is of exactly an input's dtype, or if the caller asks for dtypes. Its own
 * answer would be a loop that the input can be cast to: that would compute bfloat16 in float32, and
 * longdouble in nothing. */
static int resolve(PyObject *ufunc, int casting, PyObject **operands, PyObject *type_tup, PyObject **dtypes) {
    PyObject *const given = ((const numpy_array *)operands[0])->descr;
    if (type_tup && type_tup != Py_None) {
        int const has = has_bfloat16();
        if (has < 0 || (has && add_bfloat16((numpy_ufunc *)ufunc) < 0)) return -1;
        return ((type_resolver *)api[DEFAULT_TYPE_RESOLVER])(ufunc, casting, operands, type_tup, dtypes);
    }
    bool const foreign = ((const numpy_descr *)given)->byteorder == '>'; /* numpy swaps the bytes */
    PyObject *const descr = foreign ? PyObject_CallMethod(given, "newbyteorder", "s", "=") : Py_NewRef(given);
    if (descr == NULL) return -1;
    int32_t const dtype = numpy_dtype(descr);
    int failed = -1;
    if (dtype == GORSQRT_DTYPES) {
        if (!PyErr_Occurred()) (void)decided_fresh(operands[0], NUMPY_ARRAY); /* which refuses it */
    } else if (add_bfloat16((numpy_ufunc *)ufunc) == 0) {
        /* Only loops of bfloat16 can have been missing. */
        dtypes[0] = Py_NewRef(descr);
        dtypes[1] = Py_NewRef(numpy.descr[GORSQRT_BF16]);
        failed = 0;
    }
    Py_DECREF(descr);
    return failed;
}

/* numpy's table, once; false with an exception set. */
static bool find_api(void) {
    if (api) return true;
    int const found = numpy_find();
    PyObject *capsule = found > 0 ? imported("numpy._core._multiarray_umath", "_UFUNC_API") : NULL;
    if (capsule == NULL && !PyErr_Occurred()) capsule = imported("numpy.core._multiarray_umath", "_UFUNC_API");
    /* Static data of numpy's extension module, which is never unloaded. */
    if (capsule && PyCapsule_IsValid(capsule, NULL)) api = PyCapsule_GetPointer(capsule, NULL);
    Py_XDECREF(capsule);
    if (api == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_ImportError, "gorsqrt.numpy: this numpy has no C API of ufuncs");
    return api;
}

PyObject *ufunc_new(PyObject *module, PyObject *args) {
    (void)module;
    int integers;
    PyObject *texts;
    const char *name, *doc;
    if (!PyArg_ParseTuple(args, "iO!:ufunc", &integers, &PyTuple_Type, &texts) || !find_api()) return NULL;
    if (!PyArg_ParseTuple(texts, "ss:ufunc", &name, &doc)) return NULL;
    if (integers < 0 || integers >= DEFAULTS) {
        PyErr_SetString(PyExc_ValueError, "ufunc(): no default dtype has this number");
        return NULL;
    }
    Py_INCREF(texts); /* never released: the ufunc keeps their addresses */
    enum { NO_IDENTITY = -1 };
    PyObject *(*const from_func_and_data)(ufunc_loop **, void *const *, const char *, int, int, int, int, const char *,
                                          const char *, int) =
        (PyObject * (*)(ufunc_loop **, void *const *, const char *, int, int, int, int, const char *, const char *, int))
            api[FROM_FUNC_AND_DATA];
    int const loops = fill_table(integers);
    PyObject *ufunc = from_func_and_data(tables[integers].functions, tables[integers].data, tables[integers].types, loops, 1, 1,
                                         NO_IDENTITY, name, doc, 0);
    if (ufunc == NULL) return NULL;
    if (((numpy_ufunc *)ufunc)->resolver != (type_resolver *)api[DEFAULT_TYPE_RESOLVER]) {
        PyErr_SetString(PyExc_ImportError, "gorsqrt.numpy: this numpy has another layout of ufuncs than 1.26 to 2.5");
        Py_CLEAR(ufunc);
        return NULL;
    }
    ((numpy_ufunc *)ufunc)->resolver = resolve;
    return ufunc;
}
