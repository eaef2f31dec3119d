/* What the C of this package shares. A call walks from call.c to express.c, and where that has no answer through intake.c to Go
 * (binding.go), result.c and run.c. Built against CPython's limited API of 3.11, so that one library serves every later version. */
#ifndef GORSQRT_BINDING_H
#define GORSQRT_BINDING_H

#include <Python.h> /* first, as it asks */

#include <stdlib.h>

#include "../../cgo/plan.h"

/* An argument as Go sees it. Everything points into the argument or into its operand and holds while that does. */
typedef struct {
    void *data;
    const int64_t *shape, *strides; /* ndim entries each; strides in bytes */
    const char *type;               /* the element type as the container names it, where dtype is GORSQRT_DTYPES */
    int32_t dtype, ndim;
    int32_t read_only;
    int32_t device; /* rsqrt.Device; not 0: nothing else here is filled in */
} gorsqrt_array;

/* Why Go refused a call: rsqrt.Error, with rsqrt's numbers of the kinds and operands. */
enum { RUNTIME_ERROR, TYPE_ERROR, VALUE_ERROR };
enum { NEITHER, SRC, DST };
typedef struct {
    int32_t kind, operand;
    char *text; /* the receiver's to free */
} gorsqrt_refusal;

/* call.c: gives back what loading Go's runtime took from the process, and learns of forks; then adds rsqrt and rsqrt_ to the
 * module of this name: 0, or -1 with an exception set. */
void call_once_per_process(void);
int call_install(const char *module, const char *rsqrt_doc, const char *rsqrt_inplace_doc);

/* express.c. Each answers NULL without an exception where the call needs a decision. */

/* The kernels by dtype: Go fills this in at install and whenever the tier changes. */
extern gorsqrt_kernel *express[GORSQRT_COMPUTED];

PyObject *express_fresh(PyObject *input);
PyObject *express_in_place(PyObject *input);
PyObject *express_out(PyObject *input, PyObject *out);

/* run.c: both answer 0, or -1 with an exception set. The memory at dst and src is held by the caller. */

int run(const gorsqrt_plan *plan, void *dst, const void *src);

/* n contiguous items of one dtype, disjoint or identical, without a plan of Go's. */
int run_plain(int32_t dtype, int64_t n, void *dst, const void *src);

/* intake.c: objects to arrays. */

typedef enum { NOT_AN_ARRAY, NUMPY_ARRAY, NUMPY_SCALAR, ARRAY_ARRAY, BUFFER, ARRAY_INTERFACE, CUDA_ARRAY } container;

/* Which container an object is, without an effect on it. */
container recognise(PyObject *object);

/* An attribute of a module that somebody else has imported; NULL where there is none, without an exception. */
PyObject *imported(const char *module, const char *attribute);

/* array.array, once somebody else has imported its module. */
extern PyTypeObject *array_array_type;

/* The dtype of a buffer's format, the syntax of Python's struct module, and item size; GORSQRT_DTYPES where it is none of ours. */
int32_t format_dtype(const char *format, int64_t item_size);

/* An argument of a call and what is held for it. `object` is borrowed from the caller, who keeps it alive. */
typedef struct {
    PyObject *object;
    container container;
    gorsqrt_array array;
    Py_buffer view;  /* held until operand_release where view.obj is set: the exporter can't move its memory meanwhile */
    PyObject *owned; /* keeps array.type or a scalar's array alive; may be NULL */
    int64_t shape[GORSQRT_MAX_NDIM], strides[GORSQRT_MAX_NDIM]; /* for exporters that have none in memory */
} operand;

/* Fills in an operand. 0, or -1 with an exception set; the operand must be released in either case. */
int operand_take(operand *o, PyObject *object, container container);
void operand_release(operand *o);

/* result.c: fresh containers of uninitialised memory. *data is the first element and lives as long as the object. NULL with an
 * exception set. */

/* A container like input's, of this layout (bytes). */
PyObject *result_new(const operand *input, int32_t dtype, const int64_t *strides, void **data);

/* What the caller gets for it, once computed: a numpy scalar for a scalar. Takes the reference over. */
PyObject *result_finish(const operand *input, PyObject *result);

/* strides may be NULL for C order, and `like` where no subclass asks for its instance. */
PyObject *result_numpy(PyTypeObject *type, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides,
                       PyObject *like, void **data);
PyObject *result_array_array(int32_t dtype, int64_t n, void **data); /* of f32 or f64 */

int result_install(void);

/* numpy.c: numpy's C API, found when somebody else has imported numpy. */

/* The start of every ndarray and dtype, the same since numpy 1.7; from numpy's ndarraytypes.h. */
typedef struct {
    PyObject_HEAD char *data;
    int nd;
    Py_ssize_t *dimensions, *strides;
    PyObject *base;
    PyObject *descr;
    int flags;
} numpy_array;

typedef struct {
    PyObject_HEAD PyTypeObject *typeobj;
    char kind, type, byteorder, flags;
    int type_num;
} numpy_descr;

enum { NUMPY_C_CONTIGUOUS = 0x1, NUMPY_WRITEABLE = 0x400 };

typedef struct {
    PyTypeObject *array_type, *generic_type; /* NULL until numpy is found */
    PyObject *descr[GORSQRT_COMPUTED];       /* see numpy_descr_for */
    PyObject *(*new_from_descr)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int,
                                PyObject *);
    PyObject *(*scalar)(void *, PyObject *, PyObject *);
    PyObject *(*from_scalar)(PyObject *, PyObject *);
} numpy_api;

extern numpy_api numpy;

/* Whether numpy is there; looks for it if it was not. Sets no exception. */
bool numpy_find(void);

/* The dtype of a numpy descriptor; GORSQRT_DTYPES where it is none of ours. */
int32_t numpy_dtype(PyObject *descr);

/* numpy's descriptor of a computed dtype, borrowed; NULL with an exception set where numpy has none (bfloat16). */
PyObject *numpy_descr_for(int32_t dtype);

#endif
