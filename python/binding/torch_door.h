/* Reading and writing torch's tensors without torch's dispatcher: the state of a tensor, the state
 * of the calling thread, and torch's own C functions. */
#ifndef GORSQRT_TORCH_DOOR_H
#define GORSQRT_TORCH_DOOR_H

#include "go.h"

/* The address of an at::Tensor, which is one pointer to a TensorImpl. */
typedef void *torch_handle;

/* torch's own functions. The functions of its stable C ABI answer 0 on success. An optional
 * function is NULL if this torch lacks it. Four are C++ functions, known by their mangled names. */
typedef struct {
    int32_t (*cpu)(void), (*cuda)(void), (*strided)(void);
    int32_t (*get_dim)(torch_handle, int64_t *);
    int32_t (*get_sizes)(torch_handle, const int64_t **);
    int32_t (*get_strides)(torch_handle, const int64_t **);
    int32_t (*get_numel)(torch_handle, int64_t *);
    int32_t (*get_dtype)(torch_handle, int32_t *);
    int32_t (*get_layout)(torch_handle, int32_t *); /* optional */
    int32_t (*get_device_type)(torch_handle, int32_t *);
    int32_t (*get_device_index)(torch_handle, int32_t *);
    int32_t (*get_data)(torch_handle, void **);
    bool (*grad_mode)(void);
    int64_t (*function_modes)(void);
    bool (*requires_grad)(const void *impl);
    void (*bump_version)(torch_handle);
    int32_t (*empty_strided)(int64_t, const int64_t *, const int64_t *, int32_t, int32_t, int32_t, torch_handle *);
    int32_t (*delete_tensor)(torch_handle);
    int32_t (*get_const_data)(torch_handle, const void **);            /* optional */
    const void *(*autograd_meta)(const void *impl);                    /* optional */
    int32_t (*to_pyobject)(torch_handle, PyTypeObject *, PyObject **); /* optional */
    int32_t (*current_stream)(int32_t, void **); /* on a CUDA device; NULL if this torch is built without CUDA */
} torch_functions;

/* The installed torch, once the program has imported it. */
typedef struct {
    bool known; /* the fields below that are needed are filled in */
    torch_functions call;
    int32_t cpu, cuda, strided;        /* torch's numbers */
    int32_t number_of[GORSQRT_DTYPES]; /* torch's number of a dtype, */
    PyObject *dtype[GORSQRT_COMPUTED]; /* and its object */
    PyObject *get_default_dtype, *empty_strided;
    /* Filled in when the door opens: torch's rsqrt and rsqrt_; the function that answers the
     * innermost hooks on saved tensors, or None if torch is too old; the __torch_function__ of
     * classes that keep torch's, and of classes that disable it. */
    PyObject *rsqrt[2], *saved_hooks, *function, *no_function;
} torch_here;

extern torch_here torch;

/* torch's classes; NULL until torch is found. */
extern PyTypeObject *torch_tensor, *torch_parameter;

/* Whether a type is Tensor or a subclass; -1 with an exception set. */
int torch_is_tensor(PyTypeObject *type);

/* A tensor; strides count elements. All fields are valid while the tensor lives and the GIL is held
 * without interruption. */
typedef struct {
    void *data;
    const int64_t *shape, *strides;
    int64_t n, ndim;
    int32_t dtype;
    bool on_cuda;
} torch_look;

/* Reads any strided tensor. False if torch refuses. */
bool torch_look_at(torch_look *t, torch_handle tensor, bool written);

/* The at::Tensor in a Python object: no reference is taken, and the address is valid while the
 * object lives. Use it only while the door is open. */
torch_handle torch_handle_of(PyObject *object);

/* A tensor's TensorImpl, also if the door is not open; NULL with an exception set. */
void *torch_impl_of(PyObject *object);

/* Why a tensor can't be read and written directly. */
typedef enum {
    TORCH_ORDINARY, /* it can */
    TORCH_RECORDED, /* only a gradient that is to be recorded */
    TORCH_SUBCLASS, /* only its class, and perhaps a gradient */
    TORCH_CONJUGATE,
    TORCH_OTHER, /* another reason, which torch's dispatcher handles; also with an exception set */
} torch_state;

/* The state of a tensor that will be read, and also written if `written`; and whether it is on a
 * CUDA device. */
torch_state torch_state_of(PyObject *object, bool written, bool *on_cuda);

/* Whether torch would record a gradient for a function of this tensor. */
bool torch_is_recorded(PyObject *object);

/* Whether a tensor is ordinary; if so, fills in t. False also with an exception set. */
bool torch_is_ordinary(PyObject *object, bool written, torch_look *t);

/* Whether a tensor in any state has memory and a dtype that gorsqrt knows; if so, fills in t. */
bool torch_is_readable(PyObject *object, bool written, torch_look *t);

/* Whether a tensor is strided and in the CPU's memory. */
bool torch_is_strided(PyObject *object);

bool torch_is_contiguous(const torch_look *t);

/* Counts a write into an ordinary tensor, for autograd's checks. */
void torch_count_write(PyObject *object);

/* A function of torch's libraries; NULL if there is none. */
void *torch_symbol(const char *name);

/* Calls a function of gorsqrt/_torch_door.py that examines the installed torch. False if this torch
 * is not built as that function expects. True also if it can't tell now: a mode or transform is
 * active, or it was stopped by Ctrl-C, missing memory or a full stack, whose exception stays set.
 * Then the next call tries again. */
bool torch_find_out(const char *which, PyObject *tensor);

/* Adds the functions that gorsqrt/_torch_door.py calls. */
int torch_door_install(PyObject *module);

#endif
