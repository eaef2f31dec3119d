/* What the C of this package shares. A call walks from call.c to express.c, and where that has no answer through intake.c to Go
 * (binding.go, in a forked child by way of fork.c), result.c and run.c. Built against CPython's limited API of 3.11, so that one
 * library serves every later version. */
#ifndef GORSQRT_BINDING_H
#define GORSQRT_BINDING_H

#include <Python.h> /* first, as it asks */

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../../cgo/plan.h"
#include "../../cgo/workers.h"

/* Of functions that every call passes and whose frames have no array that is written by an index: a call of one item takes some
 * 20 ns, of which each canary would be one. */
#define WITHOUT_CANARY __attribute__((no_stack_protector))

/* An argument as Go sees it. Everything points into the argument or into its operand and holds while that does. */
typedef struct {
    void *data;
    const int64_t *shape, *strides; /* ndim entries each; strides in bytes */
    const char *type;               /* the element type as the container names it, where dtype is GORSQRT_DTYPES */
    int32_t dtype, ndim;
    int32_t read_only;
    const char *because; /* why it is read-only, where the container has a reason of its own; NULL elsewhere */
    int32_t device;      /* rsqrt.Device */
    int32_t launches;    /* elsewhere than the CPU: whether kernels can be launched on it; if not, nothing else is filled in */
    int32_t index;       /* which CUDA device; -1: the driver knows */
    uintptr_t stream;    /* the CUstream that it is used on; 0: any */
    int32_t default_dtype; /* what it is computed in where it is of booleans or integers; -1: gorsqrt's default */
} gorsqrt_array;

enum { CPU, CUDA, ELSEWHERE }; /* rsqrt.Device */
enum { LEGACY_STREAM = 1 };    /* CUDA's default stream, as the interfaces number it */

/* The end of what is enqueued on a stream: an event of the driver's, on this device. */
typedef struct {
    uintptr_t event; /* 0: there is nothing to wait for */
    int32_t device;
} gorsqrt_mark;

/* Why Go refused a call: rsqrt.Error, with rsqrt's numbers of the kinds and operands. */
enum { RUNTIME_ERROR, TYPE_ERROR, VALUE_ERROR, OTHER_SHAPE };
enum { NEITHER, SRC, DST };
typedef struct {
    int32_t kind, operand;
    char *text; /* the receiver's to free; NULL if there is no memory for it */
} gorsqrt_refusal;

/* A copy of `length` bytes of text, by malloc; NULL if there is no memory. */
char *copied_text(const char *text, size_t length);

/* Sets an exception with a text of Go's; a MemoryError if that is NULL. */
void raise_text(PyObject *exception, const char *text);

/* fork.c: the library's Go, as C sees it. */

enum { COLLECT_EVERY = 256 };

typedef struct {
    /* The kernels in use by dtype, and the settings: Go fills in these three at install and whenever a setting changes. */
    gorsqrt_kernel *express[GORSQRT_COMPUTED];
    char tier[16];
    int32_t default_dtype;
    bool (*decide_into)(gorsqrt_plan *plan, gorsqrt_array *dst, gorsqrt_array *src, gorsqrt_refusal *refusal);
    bool (*decide_fresh)(gorsqrt_plan *plan, int64_t *strides, int32_t *dtype, gorsqrt_array *src, gorsqrt_refusal *refusal);
    /* mark: NULL where nobody wants to know when the work is done. */
    bool (*launch_into)(gorsqrt_array *dst, gorsqrt_array *src, gorsqrt_mark *mark, gorsqrt_refusal *refusal);
    bool (*has_passed)(gorsqrt_mark mark); /* and then forgets it */
    /* Memory on CUDA devices, on the legacy default stream, and that another stream waits for this one. */
    bool (*allocate)(int32_t *device, void *other, size_t bytes, uintptr_t *memory, gorsqrt_refusal *refusal);
    void (*give_back)(int32_t device, uintptr_t memory);
    bool (*order)(int32_t device, uintptr_t stream, gorsqrt_refusal *refusal);
    /* Begins this Go, which must not be called before. False if there is no room for it: `why` says so. */
    bool (*start)(char *why, size_t size);
    void (*collect)(void); /* the garbage of its calls: to be called every COLLECT_EVERY calls or so */
    /* The settings of the Go that was. */
    bool (*take_over)(char *tier, int32_t default_dtype, int32_t threads, gorsqrt_refusal *refusal);
    char *(*gopy_config)(void);
    char *(*gopy_set_tier)(char *name);
    char *(*gopy_get_default_dtype)(void);
    char *(*gopy_set_default_dtype)(char *name);
    char *(*gopy_set_num_threads)(long long threads);
    void (*release_thread)(void); /* the end of the calling thread will not enter this Go */
} gorsqrt_go;

/* This library's own, and the one in use: another one in a forked child that has loaded its copy. What is no function may be read
 * in any child; the functions are to be had from go_ask. */
extern gorsqrt_go go_here, *go_now;

/* The Go to call. In a forked child that loads the copy. NULL with a RuntimeError set where that fails. The GIL is held. */
const gorsqrt_go *go_ask(void);

/* Whether this is the Go in use, and not one of a parent of this process. It may be asked without the GIL. */
bool go_is_in_use(const gorsqrt_go *go);

void fork_install(void);

/* start.c */

/* Begins this library's Go, once. False if the system has too little of what Go needs: `why`, of `size` bytes, says of what. */
bool start_go(char *why, size_t size);

/* Whether there is memory for the calling thread's first call into Go; true for later calls. */
bool start_may_enter(void);

/* Appends " (RLIMIT_AS is 800 MiB)" and the like to a text in `size` bytes: the limits of these kinds that this process has. */
enum { OF_MEMORY = 1, OF_THREADS = 2, OF_FILES = 4 };
void append_limits(char *text, size_t size, int kinds);

/* signals.c */

enum { GO_SIGNALS = 5 };
typedef struct sigaction signal_actions[GO_SIGNALS];

/* Notes what is set, for signals_settle after Go has begun and has answered its first call. */
void signals_note(signal_actions now);
void signals_settle(const signal_actions before);

/* The same for this library's own Go. */
void signals_note_import(void);
void signals_settle_import(void);

/* Takes Go's handlers off. Safe in a child of fork. */
void signals_without_go(void);

/* Which container an object is. */
typedef enum {
    NOT_AN_ARRAY,
    NUMPY_ARRAY,
    NUMPY_SCALAR,
    OVERRIDES_UFUNC, /* numpy's, of a class with an __array_ufunc__ of its own: what its values mean, only that knows */
    ARRAY_ARRAY,
    BUFFER,
    ARRAY_INTERFACE,
    CUDA_ARRAY,
    DEVICE_MEMORY, /* a result of ours on a CUDA device */
    TORCH_TENSOR,
    DLPACK,
    ARRAY_API, /* DLPack, and a namespace that makes such arrays */
    JAX_ARRAY,
    TORCH_KERNEL, /* a tensor that torch's dispatcher hands to a kernel: whether it is ordinary, torch has seen to */
} container;

/* call.c: gives back what loading Go's runtime took from the process, and learns of forks; then adds rsqrt and rsqrt_ to the
 * module of this name: 0, or -1 with an exception set. */
void call_once_per_process(void);
int call_install(const char *module, const char *rsqrt_doc, const char *rsqrt_inplace_doc);

/* Raises what Go refused a call of this function with, and frees the text. In place the destination is the input. */
void refusal_raise(const char *function, bool in_place, gorsqrt_refusal *refusal);

/* Calls that Go decides, of arguments that have been recognised; in place out is the input. NULL with an exception set; call_into
 * answers with out, or with None where that is a kernel's tensor of another shape and nothing else is wrong. */
PyObject *call_fresh(PyObject *input, container in);
PyObject *call_into(const char *function, bool in_place, PyObject *input, container in, PyObject *out, container to);

/* express.c. Each answers NULL without an exception where the call needs a decision. */

PyObject *express_fresh(PyObject *input);
PyObject *express_in_place(PyObject *input);
PyObject *express_out(PyObject *input, PyObject *out);

/* run.c: both answer 0, or -1 with an exception set. The memory at dst and src is held by the caller. */

int run(const gorsqrt_plan *plan, void *dst, const void *src);

/* What the number of threads comes from: a string that C keeps. */
void run_threads_from(const char *source);

/* Sets it for the user; the workers are the original library's in a forked child too. */
void run_set_threads(int threads);

/* Functions of the module: the number of threads, and its source. */
PyObject *run_threads(PyObject *module, PyObject *unused), *run_threads_source(PyObject *module, PyObject *unused);

/* n contiguous items of one dtype, disjoint or identical, without a plan of Go's. */
int run_plain(int32_t dtype, int64_t n, void *dst, const void *src);

/* intake.c: objects to arrays. */

/* Which container an object is, without an effect on it. NOT_AN_ARRAY also with an exception set. */
container recognise(PyObject *object);

/* Questions to objects, which may run anybody's code: only an AttributeError is a no, every other exception is the answer. */

/* 1 or 0; -1 with an exception set. */
int has_attribute(PyObject *object, const char *name);

/* An attribute of a module that somebody else has imported; NULL if there is none, or with an exception set. */
PyObject *imported(const char *module, const char *attribute);

/* array.array, once somebody else has imported its module. */
extern PyTypeObject *array_array_type;

/* Whether an object is an instance of a class that somebody else has imported: 1 or 0; -1 with an exception set. */
int is_instance(PyObject *object, const char *module, const char *name);

/* A tuple of integers; NULL with an exception set. */
PyObject *tuple_of(int length, const int64_t *integers);

/* The dtype of a buffer's format, the syntax of Python's struct module, and item size; GORSQRT_DTYPES where it is none of ours. */
int32_t format_dtype(const char *format, int64_t item_size);

/* The dtype of a kind of numpy's ("biufc") and an item size; GORSQRT_DTYPES where it is none of ours. */
int32_t kind_dtype(char kind, int64_t item_size);

/* An argument of a call and what is held for it. `object` is borrowed from the caller, who keeps it alive. */
typedef struct {
    PyObject *object;
    container container;
    gorsqrt_array array;
    Py_buffer view;  /* held until operand_release where view.obj is set: the exporter can't move its memory meanwhile */
    PyObject *owned; /* keeps array.type, a scalar's array or an interface's dict alive; may be NULL */
    void *managed;   /* DLPack's tensor, whose deleter operand_release calls; may be NULL */
    bool versioned;  /* which of DLPack's two structs that is */
    int64_t shape[GORSQRT_MAX_NDIM], strides[GORSQRT_MAX_NDIM]; /* for exporters that have none in memory */
} operand;

/* Fills in an operand, for its memory to be written or only read. 0, or -1 with an exception set; the operand must be released in
 * either case. */
int operand_take(operand *o, PyObject *object, container container, bool written);
void operand_release(operand *o);

/* PyBuffer_Release, which keeps the exception that is set, if any. */
void release_buffer(Py_buffer *view);

/* Names an element type that has no kernel: str(type). 0, or -1 with an exception set, which may have been set before. */
int operand_name_type(operand *o, PyObject *type);

/* Fills in an operand from the attribute of this name, a dict as numpy's array interface has it, of this dtype or, if that is
 * GORSQRT_DTYPES, of the one that the dict names. As operand_take. */
int operand_take_interface(operand *o, const char *name, int32_t dtype);

/* An item of that dict, borrowed; NULL if there is none, or with an exception set. */
PyObject *operand_interface_item(const operand *o, const char *key);

/* Strides for an operand that came without; false where they overflow. */
bool operand_c_order(operand *o, int64_t item_size);

/* How many bytes an array's items take, and how far they reach from its first one: `low` is at most 0, `high` at least 0. */
typedef struct {
    int64_t bytes, low, high;
} extent;

/* Measures an array of a dtype of ours by the shape and strides that somebody else's object gave: what is wrong with them, or
 * NULL. Of an array without items the extent is 0. */
const char *operand_measure(const gorsqrt_array *a, extent *e);

/* Sets the address of the first item, which somebody else's object gave: what is wrong with it, or NULL. It is NULL or beyond the
 * first page afterwards: Go ends a process that holds a pointer into that. */
const char *operand_place(gorsqrt_array *a, const extent *e, const void *data);

/* dlpack.c. dlpack_take is operand_take for what has __dlpack__, and dlpack_release calls the deleter, if there is one to call,
 * and keeps the exception that is set, if any. Of what is on a CUDA device dlpack_take finds out only where: dlpack_is_closed
 * says so, and dlpack_open takes the tensor for use on a stream, 0 or -1 with an exception set. */
int dlpack_take(operand *o, bool written);
bool dlpack_is_closed(const operand *o);
int dlpack_open(operand *o, bool written, uintptr_t stream);
void dlpack_release(operand *o);

/* Keeps the tensors of two operands until the device has come to the mark. */
void dlpack_hold(operand *y, operand *x, gorsqrt_mark mark);

/* In a child of fork. */
void dlpack_forget(void);

/* cuda.c: arrays of __cuda_array_interface__. cuda_take is operand_take for them; cuda_result a fresh array like the input, one of
 * these or a tensor, of this layout (bytes): torch's, cupy's, or a DEVICE_MEMORY. NULL with an exception set. */
int cuda_take(operand *o);
PyObject *cuda_result(const operand *input, int32_t dtype, const int64_t *strides);

/* Results of kinds that are nobody's else: memory on a device, used on its legacy default stream. */
extern PyTypeObject *cuda_memory;
int cuda_take_memory(operand *o);
int cuda_install(void);

/* jax.c. jax_take is operand_take for jax's arrays and tracers as jax_compute needs them: without memory. jax_compute is 1/√x of
 * one, of this dtype, by jax; NULL with an exception set. jax_install adds what the module gorsqrt.jax is made of. */
int jax_take(operand *o);
PyObject *jax_compute(const operand *o, int32_t dtype);
int jax_install(PyObject *module);

/* Whether one of jax's can be read as DLPack: 0, or -1 with an exception set. */
int jax_needs_memory(const char *function, PyObject *array);

/* result.c: fresh containers of uninitialised memory. */

/* A fresh container, and its first element, which lives as long as the container does. Both are NULL, with an exception set, if
 * there is none. */
typedef struct {
    PyObject *object;
    void *data;
} fresh;

static inline fresh fresh_of(PyObject *object, void *data) {
    return (fresh){object, object ? data : NULL};
}

/* The memory of a result that others look into, of any thread and whether they hold the GIL or not: one allocation that ends
 * with this header, and is freed with the last reference. */
typedef struct {
    char *data;                      /* the first element */
    int64_t *shape, *strides, bytes; /* ndim entries each; strides in bytes */
    int32_t dtype, ndim;
    const gorsqrt_go *go; /* whose memory on a CUDA device it is, which is then none of this allocation; NULL: the CPU's */
    int32_t device;
    atomic_long references;
} block;

void block_drop(block *b);

/* The methods __dlpack__ and __dlpack_device__ of an object that holds a block: a capsule takes a reference of its own. */
PyObject *dlpack_export(block *b, PyObject *args, PyObject *kwargs);
PyObject *dlpack_device(const block *b);

/* A fresh block, to which nobody refers yet but the caller; NULL with an exception set. */
block *block_new(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);

/* The same on a CUDA device: of this number, or if that is negative where other memory is. */
block *block_new_on_device(int32_t device, void *other, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);

/* A container like input's, of this layout (bytes). */
fresh result_new(const operand *input, int32_t dtype, const int64_t *strides);

/* What the caller gets for it, once computed: a numpy scalar for a scalar. Takes the reference over. */
PyObject *result_finish(const operand *input, PyObject *result);

/* strides may be NULL for C order, and `like` where no subclass asks for its instance. */
fresh result_numpy(PyTypeObject *type, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides, PyObject *like);
fresh result_array_array(int32_t dtype, int64_t n); /* of f32 or f64 */
fresh result_memoryview(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);

int result_install(void);

/* pool.c: memory of large results. */

enum {
    POOLED = 1 << 25
}; /* bytes from which on results come from the pool: below, the C heap does not go to the system each time */

/* A block of at least `bytes` bytes, aligned to 64, of any content; NULL where there is no memory. It is its taker's until given
 * back. */
void *pool_take(size_t bytes);
void pool_give(void *memory);

/* How many bytes a block has. */
size_t pool_size(const void *memory);

/* Asks for huge pages for fresh memory of somebody else's allocator, which nobody has written to. It has no other effect. */
void pool_prepare(void *memory, size_t bytes);

void pool_set_limit(size_t bytes);

/* Gives back what is kept; whether anything was. */
bool pool_drop(void);

/* In a child of fork. */
void pool_forget(void);

/* Functions of the module. */
PyObject *pool_empty(PyObject *module, PyObject *unused), *pool_state(PyObject *module, PyObject *unused);

/* torch.c: tensors of torch, once somebody else has imported it. */

extern PyTypeObject *torch_tensor, *torch_parameter; /* NULL until torch is found */

/* Whether a type is Tensor or a subclass; -1 with an exception set. */
int torch_is_tensor(PyTypeObject *type);

/* A tensor. Strides count elements. All of it holds as long as the GIL is ours and the tensor lives. */
typedef struct {
    void *data;
    const int64_t *shape, *strides;
    int64_t n, ndim;
    int32_t dtype;
    bool on_cuda;
} torch_look;

/* Whether a tensor may be read, or also written, without torch's dispatcher; if so, looks at it. False also with an exception
 * set. */
bool torch_is_ordinary(PyObject *object, bool written, torch_look *t);

bool torch_is_contiguous(const torch_look *t);

/* Fills in an operand from a strided tensor in the CPU's memory or a CUDA device's, ordinary or not. As operand_take. */
int torch_take(operand *o, bool written);

/* Counts a write into an ordinary tensor, as autograd wants to know. */
void torch_written(PyObject *object);

/* A fresh tensor on the CPU, or on the CUDA device of an index that is not negative; strides in elements. */
fresh torch_result(int32_t index, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides);

/* The answer to a call with a tensor that is ordinary but for a gradient to record, a subclass or a lazy conjugate. NULL for all
 * other objects, or with an exception set. */
PyObject *torch_call_directly(bool in_place, PyObject *input);

/* What gorsqrt/torch/_calls.py makes of a call with a tensor that is not ordinary. out: NULL where there is none. */
PyObject *torch_call(bool in_place, PyObject *input, PyObject *out);

/* Lets a function of gorsqrt/_torch_door.py find out what the installed torch looks like. It does nothing if it can't now, since a
 * mode or transform is active: the next call asks again, and so it does after Ctrl-C, or if memory or the stack was too small,
 * whose exception stays set. False if this torch looks otherwise than that knows. */
bool torch_find_out(const char *which, PyObject *tensor);

int torch_install(PyObject *module);

/* torch_storage.c */

/* Gives a fresh tensor in the CPU's memory, of whose TensorImpl and first element nobody else knows, a block of the pool instead of
 * torch's memory if it is large: *data is the first element afterwards. 0, or -1 with an exception set. */
int torch_pool(void *impl, void **data);

/* Finds what that needs of torch's library. */
void torch_storage_find(void *library);

int torch_storage_install(PyObject *module);

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
    PyTypeObject *array_type, *generic_type, *descr_type; /* NULL until numpy is found */
    PyObject *descr[GORSQRT_COMPUTED];                    /* see numpy_descr_for */
    PyObject *(*new_from_descr)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int,
                                PyObject *);
    PyObject *(*scalar)(void *, PyObject *, PyObject *);
    PyObject *(*from_scalar)(PyObject *, PyObject *);
    PyObject *(*set_handler)(PyObject *); /* NULL before numpy 1.22 */
    PyObject *pooled;                     /* the handler of memory from the pool */
} numpy_api;

extern numpy_api numpy;

/* Whether numpy is there; looks for it if it was not. 1 or 0; -1 with an exception set. */
int numpy_find(void);

/* Whether a subclass of ndarray or generic has an __array_ufunc__ that is not ndarray's: 1 or 0; -1 with an exception set. */
int numpy_overrides(PyTypeObject *type);

/* Raises a TypeError that refuses such an argument. */
void numpy_refuse(const char *function, const char *argument, PyObject *object);

/* What numpy's functions do once they have written to `out`, an ndarray: a masked one has the mask of `input` from now on. 0, or -1
 * with an exception set. */
int numpy_written(PyObject *out, PyObject *input);

/* The dtype of a numpy descriptor; GORSQRT_DTYPES if it is none of ours, also with an exception set. */
int32_t numpy_dtype(PyObject *descr);

/* The same of somebody's attribute `dtype`, which may be of any class. */
int32_t numpy_dtype_of(PyObject *dtype);

/* numpy's descriptor of a computed dtype, borrowed; NULL with an exception set where numpy has none (bfloat16). */
PyObject *numpy_descr_for(int32_t dtype);

#endif
