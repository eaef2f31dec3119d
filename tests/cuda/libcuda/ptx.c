/* The interpreter of ptx.h. It reads a module's text into rows of registers and a list of
 * instructions, and runs its kernels on the CPU. Needs ptx_memory to know the blocks of memory. No
 * access leaves its block: the launch ends with an error instead. */
#include "ptx.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 32, MAX_OPERANDS = 6, BUCKETS = 1024, MAX_BRANCHES = 100000 /* of a warp */ };

/* A register is a row of 32 lanes, of 4 bytes (predicates: 0 or ~0; 16-bit registers:
 * zero-extended) or of 8. */
typedef enum { PRED, B16, B32, B64 } width;

static size_t row_bytes(width w) {
    return w == B64 ? 8 * LANES : 4 * LANES;
}

/* clang-format off */

/* The instructions without control flow or memory: name (with _ for .), the types of the result and
 * the operands, and what they do. NAN32 and NAN64 stand for the nans that arithmetic makes. */
#define F32(x) canonical32(x, nan32)
#define F64(x) canonical64(x, nan64)

#define COMPARE(UNIT, type)                                                                                                    \
    UNIT(setp_eq_##type, p, type, type, none, x == y)                                                                          \
    UNIT(setp_ne_##type, p, type, type, none, x != y)                                                                          \
    UNIT(setp_lt_##type, p, type, type, none, x < y)                                                                           \
    UNIT(setp_le_##type, p, type, type, none, x <= y)                                                                          \
    UNIT(setp_gt_##type, p, type, type, none, x > y)                                                                           \
    UNIT(setp_ge_##type, p, type, type, none, x >= y)

#define COMPARE_FLOATS(UNIT, type)                                                                                             \
    COMPARE(UNIT, type)                                                                                                        \
    UNIT(setp_equ_##type, p, type, type, none, !(x < y || x > y))                                                              \
    UNIT(setp_neu_##type, p, type, type, none, !(x == y))                                                                      \
    UNIT(setp_ltu_##type, p, type, type, none, !(x >= y))                                                                      \
    UNIT(setp_leu_##type, p, type, type, none, !(x > y))                                                                       \
    UNIT(setp_gtu_##type, p, type, type, none, !(x <= y))                                                                      \
    UNIT(setp_geu_##type, p, type, type, none, !(x < y))                                                                       \
    UNIT(setp_nan_##type, p, type, type, none, x != x || y != y)                                                               \
    UNIT(setp_num_##type, p, type, type, none, x == x && y == y)

#define BITS(UNIT, type, n)                                                                                                    \
    UNIT(and_##type, type, type, type, none, x & y)                                                                            \
    UNIT(or_##type, type, type, type, none, x | y)                                                                             \
    UNIT(xor_##type, type, type, type, none, x ^ y)                                                                            \
    UNIT(not_##type, type, type, none, none, ~x)                                                                               \
    UNIT(shl_##type, type, type, u32, none, y < n ? x << y : 0)                                                                \
    UNIT(selp_##type, type, type, type, p, z ? x : y)

#define INTEGERS(UNIT, u, s, n)                                                                                                \
    COMPARE(UNIT, u)                                                                                                           \
    COMPARE(UNIT, s)                                                                                                           \
    UNIT(shr_##u, u, u, u32, none, y < n ? x >> y : 0)                                                                         \
    UNIT(shr_##s, s, s, u32, none, x >> (y < n ? y : n - 1))                                                                   \
    UNIT(selp_##u, u, u, u, p, z ? x : y)                                                                                      \
    UNIT(selp_##s, s, s, s, p, z ? x : y)                                                                                      \
    UNIT(add_##u, u, u, u, none, x + y)                                                                                        \
    UNIT(add_##s, u, u, u, none, x + y)                                                                                        \
    UNIT(sub_##u, u, u, u, none, x - y)                                                                                        \
    UNIT(sub_##s, u, u, u, none, x - y)                                                                                        \
    UNIT(mul_lo_##u, u, u, u, none, x * y)                                                                                     \
    UNIT(mul_lo_##s, u, u, u, none, x * y)                                                                                     \
    UNIT(mad_lo_##u, u, u, u, u, x * y + z)                                                                                    \
    UNIT(mad_lo_##s, u, u, u, u, x * y + z)                                                                                    \
    UNIT(max_##u, u, u, u, none, x > y ? x : y)                                                                                \
    UNIT(min_##u, u, u, u, none, x < y ? x : y)                                                                                \
    UNIT(max_##s, s, s, s, none, x > y ? x : y)                                                                                \
    UNIT(min_##s, s, s, s, none, x < y ? x : y)                                                                                \
    UNIT(div_##u, u, u, u, none, y ? x / y : ~(x ^ x))                                                                         \
    UNIT(rem_##u, u, u, u, none, y ? x % y : x)                                                                                \
    UNIT(mov_##u, u, u, none, none, x)

#define FLOATS(UNIT, type, R)                                                                                                  \
    COMPARE_FLOATS(UNIT, type)                                                                                                 \
    UNIT(add_rn_##type, type, type, type, none, R(x + y))                                                                      \
    UNIT(sub_rn_##type, type, type, type, none, R(x - y))                                                                      \
    UNIT(mul_rn_##type, type, type, type, none, R(x * y))                                                                      \
    UNIT(neg_##type, type, type, none, none, R(-x))                                                                            \
    UNIT(rcp_rn_##type, type, type, none, none, R(1 / x))                                                                      \
    UNIT(selp_##type, type, type, type, p, z ? x : y)                                                                          \
    UNIT(mov_##type, type, type, none, none, x)

#define UNITS(UNIT)                                                                                                            \
    BITS(UNIT, b16, 16)                                                                                                        \
    BITS(UNIT, b32, 32)                                                                                                        \
    BITS(UNIT, b64, 64)                                                                                                        \
    INTEGERS(UNIT, u16, s16, 16)                                                                                               \
    INTEGERS(UNIT, u32, s32, 32)                                                                                               \
    INTEGERS(UNIT, u64, s64, 64)                                                                                               \
    COMPARE(UNIT, b32)                                                                                                         \
    COMPARE(UNIT, b64)                                                                                                         \
    FLOATS(UNIT, f32, F32)                                                                                                     \
    FLOATS(UNIT, f64, F64)                                                                                                     \
    UNIT(sqrt_rn_f32, f32, f32, none, none, F32(sqrtf(x)))                                                                     \
    UNIT(sqrt_rn_f64, f64, f64, none, none, F64(sqrt(x)))                                                                      \
    UNIT(fma_rn_f32, f32, f32, f32, f32, F32(fmaf(x, y, z)))                                                                   \
    UNIT(fma_rn_f64, f64, f64, f64, f64, F64(fma(x, y, z)))                                                                    \
    UNIT(abs_f32, f32, f32, none, none, F32(fabsf(x)))                                                                         \
    UNIT(abs_f64, f64, f64, none, none, F64(fabs(x)))                                                                          \
    UNIT(bfe_u32, u32, u32, u32, u32, bit_field(x, y, z, 32, false))                                                           \
    UNIT(bfe_s32, u32, u32, u32, u32, bit_field(x, y, z, 32, true))                                                            \
    UNIT(bfe_u64, u64, u64, u32, u32, bit_field(x, y, z, 64, false))                                                           \
    UNIT(bfe_s64, u64, u64, u32, u32, bit_field(x, y, z, 64, true))                                                            \
    UNIT(and_pred, p, p, p, none, x & y)                                                                                       \
    UNIT(or_pred, p, p, p, none, x | y)                                                                                        \
    UNIT(xor_pred, p, p, p, none, x ^ y)                                                                                       \
    UNIT(not_pred, p, p, none, none, !x)                                                                                       \
    UNIT(mov_b16, b16, b16, none, none, x)                                                                                     \
    UNIT(mov_b32, b32, b32, none, none, x)                                                                                     \
    UNIT(mov_b64, b64, b64, none, none, x)                                                                                     \
    UNIT(mul_hi_u32, u32, u32, u32, none, (uint64_t)x * y >> 32)                                                               \
    UNIT(mul_wide_u16, u32, u16, u16, none, (uint32_t)x * y)                                                                   \
    UNIT(mul_wide_u32, u64, u32, u32, none, (uint64_t)x * y)                                                                   \
    UNIT(mul_wide_s32, s64, s32, s32, none, (int64_t)x * y)                                                                    \
    UNIT(cvta_to_global_u64, u64, u64, none, none, x)                                                                          \
    UNIT(cvt_u16_u32, u16, u32, none, none, x)                                                                                 \
    UNIT(cvt_u16_u64, u16, u64, none, none, x)                                                                                 \
    UNIT(cvt_u32_u16, u32, u16, none, none, x)                                                                                 \
    UNIT(cvt_s32_s16, s32, s16, none, none, x)                                                                                 \
    UNIT(cvt_u32_u64, u32, u64, none, none, x)                                                                                 \
    UNIT(cvt_u64_u16, u64, u16, none, none, x)                                                                                 \
    UNIT(cvt_u64_u32, u64, u32, none, none, x)                                                                                 \
    UNIT(cvt_s64_s32, s64, s32, none, none, x)                                                                                 \
    UNIT(cvt_f32_f16, f32, u16, none, none, F32(float_of_half(x)))                                                             \
    UNIT(cvt_rn_f16_f32, u16, f32, none, none, half_of_float(x))                                                               \
    UNIT(cvt_f64_f32, f64, f32, none, none, F64(x))                                                                            \
    UNIT(cvt_rn_f32_f64, f32, f64, none, none, F32((float)x))                                                                  \
    UNIT(cvt_rn_f32_u16, f32, u16, none, none, x)                                                                              \
    UNIT(cvt_rn_f32_u32, f32, u32, none, none, x)                                                                              \
    UNIT(cvt_rn_f32_s32, f32, s32, none, none, x)                                                                              \
    UNIT(cvt_rn_f32_u64, f32, u64, none, none, x)                                                                              \
    UNIT(cvt_rn_f32_s64, f32, s64, none, none, x)                                                                              \
    UNIT(cvt_rn_f64_u32, f64, u32, none, none, x)                                                                              \
    UNIT(cvt_rn_f64_s32, f64, s32, none, none, x)                                                                              \
    UNIT(cvt_rn_f64_u64, f64, u64, none, none, x)                                                                              \
    UNIT(cvt_rn_f64_s64, f64, s64, none, none, x)

/* clang-format on */

/* The types: how a lane is read and written. */
#define WIDTH_none PRED
#define WIDTH_p PRED
#define WIDTH_b16 B16
#define WIDTH_u16 B16
#define WIDTH_s16 B16
#define WIDTH_b32 B32
#define WIDTH_u32 B32
#define WIDTH_s32 B32
#define WIDTH_f32 B32
#define WIDTH_b64 B64
#define WIDTH_u64 B64
#define WIDTH_s64 B64
#define WIDTH_f64 B64

#define OPERANDS_none 0
#define OPERANDS_p 1
#define OPERANDS_b16 1
#define OPERANDS_u16 1
#define OPERANDS_s16 1
#define OPERANDS_b32 1
#define OPERANDS_u32 1
#define OPERANDS_s32 1
#define OPERANDS_f32 1
#define OPERANDS_b64 1
#define OPERANDS_u64 1
#define OPERANDS_s64 1
#define OPERANDS_f64 1

#define READ_none(row, l) 0
#define READ_p(row, l) (((const uint32_t *)(row))[l])
#define READ_b16(row, l) ((uint16_t)((const uint32_t *)(row))[l])
#define READ_u16(row, l) ((uint16_t)((const uint32_t *)(row))[l])
#define READ_s16(row, l) ((int16_t)((const uint32_t *)(row))[l])
#define READ_b32(row, l) (((const uint32_t *)(row))[l])
#define READ_u32(row, l) (((const uint32_t *)(row))[l])
#define READ_s32(row, l) (((const int32_t *)(row))[l])
#define READ_f32(row, l) (((const float *)(row))[l])
#define READ_b64(row, l) (((const uint64_t *)(row))[l])
#define READ_u64(row, l) (((const uint64_t *)(row))[l])
#define READ_s64(row, l) (((const int64_t *)(row))[l])
#define READ_f64(row, l) (((const double *)(row))[l])

#define WRITE_p(row, l, v) (((uint32_t *)(row))[l] = (v) ? ~0u : 0)
#define WRITE_b16(row, l, v) (((uint32_t *)(row))[l] = (uint16_t)(v))
#define WRITE_u16(row, l, v) (((uint32_t *)(row))[l] = (uint16_t)(v))
#define WRITE_s16(row, l, v) (((uint32_t *)(row))[l] = (uint16_t)(v))
#define WRITE_b32(row, l, v) (((uint32_t *)(row))[l] = (uint32_t)(v))
#define WRITE_u32(row, l, v) (((uint32_t *)(row))[l] = (uint32_t)(v))
#define WRITE_s32(row, l, v) (((int32_t *)(row))[l] = (int32_t)(v))
#define WRITE_f32(row, l, v) (((float *)(row))[l] = (float)(v))
#define WRITE_b64(row, l, v) (((uint64_t *)(row))[l] = (uint64_t)(v))
#define WRITE_u64(row, l, v) (((uint64_t *)(row))[l] = (uint64_t)(v))
#define WRITE_s64(row, l, v) (((int64_t *)(row))[l] = (int64_t)(v))
#define WRITE_f64(row, l, v) (((double *)(row))[l] = (double)(v))

static inline float canonical32(float x, float nan) {
    return x != x ? nan : x;
}

static inline double canonical64(double x, double nan) {
    return x != x ? nan : x;
}

static inline float float_of_half(uint16_t h) {
    _Float16 x;
    memcpy(&x, &h, sizeof x);
    return x;
}

static inline uint16_t half_of_float(float x) {
    _Float16 const h = (_Float16)x;
    uint16_t bits;
    memcpy(&bits, &h, sizeof bits);
    return x != x ? 0x7fff : bits;
}

/* PTX's bfe: `length` bits of x from `position` on, extended by zeros or by their highest bit. */
static inline uint64_t bit_field(uint64_t x, uint32_t position, uint32_t length, int width, bool sign) {
    position &= 0xff;
    length &= 0xff;
    uint64_t result = 0;
    uint32_t const top = position + length - 1 < (uint32_t)width - 1 ? position + length - 1 : (uint32_t)width - 1;
    bool const fill = sign && length > 0 && (x >> top & 1);
    for (uint32_t i = 0; i < (uint32_t)width; i++) {
        bool const bit = i < length && position + i < (uint32_t)width ? x >> (position + i) & 1 : fill;
        result |= (uint64_t)bit << i;
    }
    return result;
}

static inline uint32_t bit_insert(uint32_t from, uint32_t into, uint32_t position, uint32_t length) {
    for (uint32_t i = 0; i < (length & 0xff) && (position & 0xff) + i < 32; i++) {
        uint32_t const at = (position & 0xff) + i;
        into = (into & ~(1u << at)) | (from >> i & 1) << at;
    }
    return into;
}

enum operation {
#define ID(name, ...) OP_##name,
    UNITS(ID) OP_BFI,
    OP_BRANCH,
    OP_RETURN,
    OP_PACK,   /* two halves to a whole */
    OP_UNPACK, /* a whole to two halves */
    OP_LOAD_PARAM,
    OP_LOAD,
    OP_STORE,
    OPERATIONS
};

typedef struct {
    const char *name;
    width result, operand[3];
    int operands;
} unit;

static const unit units[] = {
#define ROW(name, d, a, b, c, ...)                                                                                             \
    {#name, WIDTH_##d, {WIDTH_##a, WIDTH_##b, WIDTH_##c}, OPERANDS_##a + OPERANDS_##b + OPERANDS_##c},
    UNITS(ROW)};

enum { NUNITS = sizeof units / sizeof units[0] };

/* The units by their names' hashes: the first of each bucket and the next of each unit, + 1; 0:
 * none. */
static uint16_t unit_first[BUCKETS], unit_next[NUNITS];

static unsigned bucket(const char *name) {
    unsigned hash = 0;
    while (*name) hash = 31 * hash + (unsigned char)*name++;
    return hash % BUCKETS;
}

static void sort_units(void) {
    for (uint16_t i = 0; i < NUNITS; i++) {
        uint16_t *const first = &unit_first[bucket(units[i].name)];
        unit_next[i] = *first;
        *first = (uint16_t)(i + 1);
    }
}

/* NULL if there is none of this name. */
static const unit *find_unit(const char *name) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, sort_units);
    uint16_t i = unit_first[bucket(name)];
    while (i && strcmp(name, units[i - 1].name) != 0) i = unit_next[i - 1];
    return i ? &units[i - 1] : NULL;
}

typedef struct {
    uint16_t operation;
    uint8_t size;   /* of an access, in bytes */
    uint8_t vector; /* the number of registers that it moves */
    bool negated;   /* the predicate */
    uint32_t wide;  /* bit i: row[i] is 8 bytes wide */
    int32_t guard;  /* the predicate's row, or -1 */
    int32_t target; /* a branch's; a label's number until all labels are known */
    int64_t offset; /* of an address */
    uint32_t row[MAX_OPERANDS];
} instruction;

typedef struct {
    char name[64];
    size_t offset, size;
} param;

struct ptx_kernel {
    char name[64];
    param *params;
    int nparams, max_threads;
    size_t params_size;
    instruction *code;
    char **text;
    int length;
    uint32_t bytes; /* of all rows: first the special registers, then constants and registers as they come */
    struct {
        uint32_t row;
        uint64_t value;
        width width;
    } *constants;
    int nconstants;
    struct {
        uint32_t row;
        width width;
    } *exposed; /* the registers that may be read before they are written */
    int nexposed;
    struct ptx_kernel *next;
};

struct ptx_module {
    ptx_kernel *kernels;
};

enum { ROW_TID = 0, ROW_CTAID = 128, ROW_NCTAID = 256, ROW_NTID = 384, ROW_ZERO = 512, ROWS_BEGIN = 640 };

/* Reading. */

typedef struct {
    char name[80];
    uint32_t row;
    width width;
    int next; /* in its bucket, older; -1: none */
} variable;

typedef struct {
    const char *at;
    char *why;
    size_t size;
    bool failed;
    ptx_kernel *kernel;
    variable *variables;
    int nvariables, buckets[BUCKETS];
    struct {
        char name[64];
        int index;
    } *labels;
    int nlabels;
} reader;

__attribute__((format(printf, 2, 3))) static void refuse(reader *r, const char *format, ...) {
    if (r->failed) return;
    va_list args;
    va_start(args, format);
    vsnprintf(r->why, r->size, format, args);
    va_end(args);
    r->failed = true;
}

static void *grow(void *array, int n, size_t item) {
    return (n & (n - 1)) == 0 ? realloc(array, (n ? 2 * (size_t)n : 1) * item) : array;
}

static void skip_blanks(reader *r) {
    for (;;) {
        while (isspace((unsigned char)*r->at)) r->at++;
        if (r->at[0] != '/' || r->at[1] != '/') return;
        while (*r->at && *r->at != '\n') r->at++;
    }
}

static bool accept(reader *r, const char *text) {
    skip_blanks(r);
    size_t const n = strlen(text);
    if (strncmp(r->at, text, n) != 0) return false;
    r->at += n;
    return true;
}

static void expect(reader *r, const char *text) {
    if (!accept(r, text)) refuse(r, "'%s' expected at: %.40s", text, r->at);
}

/* A name: letters, digits and . _ $ % */
static void word(reader *r, char name[64]) {
    skip_blanks(r);
    size_t n = 0;
    while (isalnum((unsigned char)*r->at) || (*r->at && strchr("._$%", *r->at))) {
        if (n < 63) name[n++] = *r->at;
        r->at++;
    }
    name[n] = 0;
    if (n == 0) refuse(r, "a name expected at: %.40s", r->at);
}

static uint32_t new_row(reader *r, width w) {
    uint32_t const row = r->kernel->bytes;
    r->kernel->bytes += (uint32_t)row_bytes(w);
    return row;
}

static void declare(reader *r, const char *name, width w) {
    r->variables = grow(r->variables, r->nvariables, sizeof *r->variables);
    variable *const v = &r->variables[r->nvariables++];
    snprintf(v->name, sizeof v->name, "%s", name);
    v->width = w;
    v->row = new_row(r, w);
    v->next = r->buckets[bucket(name)];
    r->buckets[bucket(name)] = r->nvariables - 1;
}

/* .reg .b32 %r<7>; or .reg .b32 tmp; */
static void declaration(reader *r) {
    static const struct {
        const char *name;
        width width;
    } types[] = {{".pred", PRED}, {".b16", B16}, {".b32", B32}, {".f32", B32}, {".b64", B64}, {".f64", B64}};
    char type[64], name[64], numbered[80];
    word(r, type);
    word(r, name);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(type, types[i].name) != 0) continue;
        if (accept(r, "<")) {
            int const count = (int)strtol(r->at, (char **)&r->at, 10);
            expect(r, ">");
            for (int k = 0; k < count; k++) {
                snprintf(numbered, sizeof numbered, "%s%d", name, k);
                declare(r, numbered, types[i].width);
            }
        } else {
            declare(r, name, types[i].width);
        }
        expect(r, ";");
        return;
    }
    refuse(r, "registers of type %s", type);
}

static const variable *lookup(reader *r, const char *name) {
    static const variable specials[] = {
        {"%tid.x", ROW_TID, B32, -1},
        {"%ctaid.x", ROW_CTAID, B32, -1},
        {"%nctaid.x", ROW_NCTAID, B32, -1},
        {"%ntid.x", ROW_NTID, B32, -1},
    };
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
        if (strcmp(name, specials[i].name) == 0) return &specials[i];
    }
    for (int i = r->buckets[bucket(name)]; i >= 0; i = r->variables[i].next) {
        if (strcmp(name, r->variables[i].name) == 0) return &r->variables[i];
    }
    return NULL;
}

static const param *lookup_param(reader *r, const char *name) {
    for (int i = 0; i < r->kernel->nparams; i++) {
        if (strcmp(name, r->kernel->params[i].name) == 0) return &r->kernel->params[i];
    }
    return NULL;
}

static uint32_t constant(reader *r, uint64_t value, width w) {
    ptx_kernel *const k = r->kernel;
    for (int i = 0; i < k->nconstants; i++) {
        if (k->constants[i].value == value && k->constants[i].width == w) return k->constants[i].row;
    }
    k->constants = grow(k->constants, k->nconstants, sizeof *k->constants);
    k->constants[k->nconstants].row = new_row(r, w);
    k->constants[k->nconstants].value = value;
    k->constants[k->nconstants].width = w;
    return k->constants[k->nconstants++].row;
}

static instruction *emit(reader *r, const instruction *i, const char *text) {
    ptx_kernel *const k = r->kernel;
    k->code = grow(k->code, k->length, sizeof *k->code);
    k->text = grow(k->text, k->length, sizeof *k->text);
    k->text[k->length] = strndup(text, strcspn(text, ";\n"));
    k->code[k->length] = *i;
    return &k->code[k->length++];
}

static bool is_number(const char *at) {
    return isdigit((unsigned char)*at) || (*at == '-' && isdigit((unsigned char)at[1]));
}

static uint64_t number(reader *r) {
    char *end;
    uint64_t value;
    if (r->at[0] == '0' && (r->at[1] == 'f' || r->at[1] == 'd')) {
        value = strtoull(r->at + 2, &end, 16);
    } else if (*r->at == '-') {
        value = (uint64_t)strtoll(r->at, &end, 0);
    } else {
        value = strtoull(r->at, &end, 0);
    }
    r->at = end;
    return value;
}

/* A register of this width, or of a greater width if `wider` allows it; then its low bytes are
 * read. */
static const variable *register_operand(reader *r) {
    char name[64];
    word(r, name);
    const variable *const v = lookup(r, name);
    if (v == NULL) refuse(r, "no register %s", name);
    static const variable none;
    return v ? v : &none;
}

/* A source operand: a register, a number, or the address of a parameter. */
static uint32_t source(reader *r, width w, instruction *i, const char *text) {
    skip_blanks(r);
    if (is_number(r->at)) {
        uint64_t const value = number(r);
        return constant(r, w == B64 ? value : w == B16 ? (uint16_t)value : (uint32_t)value, w);
    }
    char name[64];
    word(r, name);
    const param *const p = lookup_param(r, name);
    if (p && w == B64) return constant(r, p->offset, B64);
    const variable *const v = lookup(r, name);
    if (v == NULL) {
        refuse(r, "no register %s", name);
        return ROW_ZERO;
    }
    if (v->width == w) return v->row;
    if (v->width == B64 && w == B32) { /* its low half, which an instruction of its own extracts */
        instruction narrow = {.operation = OP_cvt_u32_u64, .guard = i->guard, .negated = i->negated};
        narrow.row[0] = new_row(r, B32);
        narrow.row[1] = v->row;
        emit(r, &narrow, text);
        return narrow.row[0];
    }
    refuse(r, "register %s is of the wrong width", name);
    return ROW_ZERO;
}

static uint32_t destination(reader *r, width w) {
    const variable *const v = register_operand(r);
    if (!r->failed && v->width != w) refuse(r, "register %s is of the wrong width", v->name);
    return v->row;
}

/* [register+offset] or [parameter+offset] */
static void address(reader *r, instruction *i, int place, bool of_params) {
    char name[64];
    expect(r, "[");
    word(r, name);
    const param *const p = lookup_param(r, name);
    const variable *const v = lookup(r, name);
    i->row[place] = p && of_params ? constant(r, p->offset, B64) : v && v->width == B64 ? v->row : 0;
    if (!i->row[place]) refuse(r, "no address %s", name);
    i->offset = accept(r, "+") ? (int64_t)number(r) : 0;
    expect(r, "]");
}

/* The registers of an access: one, or four in braces. */
static void moved(reader *r, instruction *i, int place) {
    bool const braces = i->vector > 1;
    if (braces) expect(r, "{");
    for (int k = 0; k < i->vector; k++) {
        if (k) expect(r, ",");
        const variable *const v = register_operand(r);
        if (r->failed) return;
        if (v->width == PRED || row_bytes(v->width) < (size_t)i->size * LANES || (v->width == B16 && i->size > 2)) {
            refuse(r, "register %s is too narrow", v->name);
        }
        i->row[place + k] = v->row;
        if (v->width == B64) i->wide |= 1u << (place + k);
    }
    if (braces) expect(r, "}");
}

static int label(reader *r, const char *name) {
    for (int i = 0; i < r->nlabels; i++) {
        if (strcmp(r->labels[i].name, name) == 0) return i;
    }
    r->labels = grow(r->labels, r->nlabels, sizeof *r->labels);
    snprintf(r->labels[r->nlabels].name, sizeof r->labels[0].name, "%s", name);
    r->labels[r->nlabels].index = -1;
    return r->nlabels++;
}

/* u8 u16 u32 u64 to bytes; 0 for another. */
static uint8_t access_size(const char *type) {
    static const char *const types[] = {"u8", "u16", "u32", "u64"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(type, types[i]) == 0) return (uint8_t)(1 << i);
    }
    return 0;
}

static void statement(reader *r) {
    const char *const text = r->at;
    instruction i = {.guard = -1, .vector = 1};
    char name[64];
    if (accept(r, "@")) {
        i.negated = accept(r, "!");
        const variable *const v = register_operand(r);
        if (!r->failed && v->width != PRED) refuse(r, "%s is no predicate", v->name);
        i.guard = (int32_t)v->row;
    }
    word(r, name);
    if (accept(r, ":")) {
        int const l = label(r, name);
        r->labels[l].index = r->kernel->length;
        return;
    }
    if (strcmp(name, ".reg") == 0) {
        declaration(r);
        return;
    }
    if (strcmp(name, ".pragma") == 0) {
        expect(r, "\"nounroll\"");
        expect(r, ";");
        return;
    }
    if (strcmp(name, "bra") == 0 || strcmp(name, "bra.uni") == 0) {
        i.operation = OP_BRANCH;
        word(r, name);
        i.target = label(r, name);
    } else if (strcmp(name, "ret") == 0) {
        i.operation = OP_RETURN;
    } else if (strncmp(name, "ld.param.", 9) == 0) {
        i.operation = OP_LOAD_PARAM;
        i.size = access_size(name + 9);
        moved(r, &i, 0);
        expect(r, ",");
        address(r, &i, 4, true);
    } else if (strncmp(name, "ld.global.", 10) == 0 || strncmp(name, "st.global.", 10) == 0) {
        bool const load = name[0] == 'l';
        const char *type = name + 10;
        i.operation = load ? OP_LOAD : OP_STORE;
        if (strncmp(type, "v4.", 3) == 0) {
            i.vector = 4;
            type += 3;
        }
        i.size = access_size(type);
        if (load) {
            moved(r, &i, 0);
            expect(r, ",");
        }
        address(r, &i, 4, false);
        if (!load) {
            expect(r, ",");
            moved(r, &i, 0);
        }
    } else if (strcmp(name, "bfi.b32") == 0) {
        i.operation = OP_BFI;
        i.row[0] = destination(r, B32);
        for (int k = 1; k < 5; k++) {
            expect(r, ",");
            i.row[k] = source(r, B32, &i, text);
        }
    } else if (strcmp(name, "mov.b64") == 0 || strcmp(name, "mov.b32") == 0) {
        width const whole = name[5] == '6' ? B64 : B32, part = whole == B64 ? B32 : B16;
        if (accept(r, "{")) {
            i.operation = OP_UNPACK;
            i.row[0] = destination(r, part);
            expect(r, ",");
            i.row[1] = destination(r, part);
            expect(r, "}");
            expect(r, ",");
            i.row[2] = source(r, whole, &i, text);
        } else {
            i.row[0] = destination(r, whole);
            expect(r, ",");
            if (accept(r, "{")) {
                i.operation = OP_PACK;
                i.row[1] = source(r, part, &i, text);
                expect(r, ",");
                i.row[2] = source(r, part, &i, text);
                expect(r, "}");
            } else {
                i.operation = whole == B64 ? OP_mov_b64 : OP_mov_b32;
                i.row[1] = source(r, whole, &i, text);
            }
        }
        i.size = whole == B64 ? 8 : 4;
    } else {
        char id[64];
        snprintf(id, sizeof id, "%s", name);
        for (char *c = id; *c; c++) {
            if (*c == '.') *c = '_';
        }
        const unit *const found = find_unit(id);
        if (found == NULL) {
            refuse(r, "unknown instruction %s", name);
            return;
        }
        i.operation = (uint16_t)(found - units);
        i.row[0] = destination(r, found->result);
        for (int k = 0; k < found->operands; k++) {
            expect(r, ",");
            i.row[1 + k] = source(r, found->operand[k], &i, text);
        }
    }
    if ((i.operation == OP_LOAD_PARAM || i.operation == OP_LOAD || i.operation == OP_STORE) && i.size == 0) {
        refuse(r, "unknown instruction %s", name);
    }
    expect(r, ";");
    emit(r, &i, text);
}

static void read_param(reader *r) {
    ptx_kernel *const k = r->kernel;
    size_t align = 8, size = 8;
    char type[64];
    k->params = grow(k->params, k->nparams, sizeof *k->params);
    param *const p = &k->params[k->nparams++];
    expect(r, ".param");
    if (accept(r, ".align")) {
        skip_blanks(r);
        align = number(r);
    }
    word(r, type);
    if (strcmp(type, ".u64") != 0 && strcmp(type, ".b8") != 0) refuse(r, "a parameter of type %s", type);
    word(r, p->name);
    if (accept(r, "[")) {
        size = number(r);
        expect(r, "]");
    }
    p->offset = (k->params_size + align - 1) / align * align;
    p->size = size;
    k->params_size = p->offset + size;
}

/* The rows that an instruction reads, and those that it writes. */
static void rows_of(const instruction *i, uint32_t reads[MAX_OPERANDS + 1], int *nreads, uint32_t writes[4], int *nwrites) {
    int first = 1, last = 0;
    *nreads = *nwrites = 0;
    switch (i->operation) {
        case OP_BRANCH:
        case OP_RETURN: break;
        case OP_STORE: first = 0, last = i->vector - 1, reads[(*nreads)++] = i->row[4]; break;
        case OP_LOAD:
        case OP_LOAD_PARAM:
            reads[(*nreads)++] = i->row[4];
            for (int k = 0; k < i->vector; k++) writes[(*nwrites)++] = i->row[k];
            break;
        case OP_UNPACK: first = last = 2, writes[(*nwrites)++] = i->row[0], writes[(*nwrites)++] = i->row[1]; break;
        case OP_BFI: last = 4, writes[(*nwrites)++] = i->row[0]; break;
        case OP_PACK: last = 2, writes[(*nwrites)++] = i->row[0]; break;
        default: last = units[i->operation].operands, writes[(*nwrites)++] = i->row[0];
    }
    for (int k = first; k <= last; k++) reads[(*nreads)++] = i->row[k];
    if (i->guard >= 0) reads[(*nreads)++] = (uint32_t)i->guard;
}

/* Finds the exposed registers: computes, backwards and until nothing changes, the rows that are
 * alive before each instruction. */
static void expose(reader *r) {
    enum { ROW = 4 * LANES };
    ptx_kernel *const k = r->kernel;
    size_t const words = k->bytes / ROW / 64 + 1;
    uint64_t *const alive = calloc((size_t)k->length + 1, words * sizeof *alive), *const now = calloc(words, sizeof *now);
    for (bool changed = true; changed;) {
        changed = false;
        for (int at = k->length - 1; at >= 0; at--) {
            const instruction *const i = &k->code[at];
            bool const always = i->guard < 0, leaves = i->operation == OP_BRANCH || i->operation == OP_RETURN;
            uint32_t reads[MAX_OPERANDS + 1], writes[4];
            int nreads, nwrites;
            rows_of(i, reads, &nreads, writes, &nwrites);
            for (size_t w = 0; w < words; w++) {
                now[w] = leaves && always ? 0 : alive[(size_t)(at + 1) * words + w];
                if (i->operation == OP_BRANCH) now[w] |= alive[(size_t)i->target * words + w];
            }
            for (int n = 0; n < nwrites && always; n++) now[writes[n] / ROW / 64] &= ~(UINT64_C(1) << writes[n] / ROW % 64);
            for (int n = 0; n < nreads; n++) now[reads[n] / ROW / 64] |= UINT64_C(1) << reads[n] / ROW % 64;
            uint64_t *const before = &alive[(size_t)at * words];
            if (memcmp(before, now, words * sizeof *now) != 0) changed = true;
            memcpy(before, now, words * sizeof *now);
        }
    }
    for (int i = 0; i < r->nvariables; i++) {
        uint32_t const row = r->variables[i].row;
        if (!(alive[row / ROW / 64] >> row / ROW % 64 & 1)) continue;
        k->exposed = grow(k->exposed, k->nexposed, sizeof *k->exposed);
        k->exposed[k->nexposed].row = row;
        k->exposed[k->nexposed++].width = r->variables[i].width;
    }
    free(alive);
    free(now);
}

static void read_kernel(reader *r, ptx_module *module) {
    ptx_kernel *const k = calloc(1, sizeof *k);
    k->next = module->kernels;
    module->kernels = k;
    k->bytes = ROWS_BEGIN;
    r->kernel = k;
    r->nvariables = r->nlabels = 0;
    for (int i = 0; i < BUCKETS; i++) r->buckets[i] = -1;
    word(r, k->name);
    expect(r, "(");
    while (!r->failed && !accept(r, ")")) {
        if (k->nparams) expect(r, ",");
        read_param(r);
    }
    if (accept(r, ".maxntid")) {
        skip_blanks(r);
        k->max_threads = (int)number(r);
        expect(r, ", 1, 1");
    }
    expect(r, "{");
    for (int depth = 1; depth > 0 && !r->failed;) {
        if (accept(r, "{")) {
            depth++;
        } else if (accept(r, "}")) {
            depth--;
        } else {
            skip_blanks(r);
            if (*r->at == 0) refuse(r, "%s does not end", k->name);
            statement(r);
        }
    }
    instruction const end = {.operation = OP_RETURN, .guard = -1};
    emit(r, &end, "ret");
    for (int i = 0; i < k->length && !r->failed; i++) {
        if (k->code[i].operation != OP_BRANCH) continue;
        int const at = r->labels[k->code[i].target].index;
        if (at < 0) refuse(r, "no label %s", r->labels[k->code[i].target].name);
        k->code[i].target = at;
    }
    if (!r->failed) expose(r);
}

ptx_module *ptx_load(const char *text, char *why, size_t size) {
    ptx_module *const module = calloc(1, sizeof *module);
    reader r = {.at = text, .why = why, .size = size};
    expect(&r, ".version");
    char name[64];
    word(&r, name);
    expect(&r, ".target");
    word(&r, name);
    if (strncmp(name, "sm_", 3) != 0) refuse(&r, "target %s", name);
    expect(&r, ".address_size");
    expect(&r, "64");
    for (skip_blanks(&r); *r.at && !r.failed; skip_blanks(&r)) {
        expect(&r, ".visible");
        expect(&r, ".entry");
        if (!r.failed) read_kernel(&r, module);
    }
    free(r.variables);
    free(r.labels);
    if (!r.failed) return module;
    ptx_unload(module);
    return NULL;
}

void ptx_unload(ptx_module *module) {
    while (module->kernels) {
        ptx_kernel *const k = module->kernels;
        module->kernels = k->next;
        for (int i = 0; i < k->length; i++) free(k->text[i]);
        free(k->text);
        free(k->code);
        free(k->params);
        free(k->constants);
        free(k->exposed);
        free(k);
    }
    free(module);
}

const ptx_kernel *ptx_find(const ptx_module *module, const char *name) {
    const ptx_kernel *k = module->kernels;
    while (k && strcmp(k->name, name) != 0) k = k->next;
    return k;
}

int ptx_params(const ptx_kernel *kernel) {
    return kernel->nparams;
}

size_t ptx_param_offset(const ptx_kernel *kernel, int i) {
    return i < kernel->nparams ? kernel->params[i].offset : kernel->params_size;
}

size_t ptx_param_size(const ptx_kernel *kernel, int i) {
    return kernel->params[i].size;
}

int ptx_max_threads(const ptx_kernel *kernel) {
    return kernel->max_threads;
}

/* Running. */

/* The threads that accessed a byte during a launch: a thread's number + 1; 0: none; for readers ~0:
 * several. */
typedef struct {
    uint64_t low, high;
    uint32_t *writer, *reader;
} shadow;

typedef struct {
    const ptx_launch *launch;
    unsigned first, last; /* blocks */
    ptx_outcome outcome;
    char why[512];
    uint64_t low, high; /* the memory block of the last access */
    shadow *shadows;
    int nshadows;
    unsigned block, warp;
} worker;

static ptx_outcome fail(worker *w, ptx_outcome outcome, int pc, int lane, const char *what, uint64_t address, int size) {
    const ptx_kernel *const k = w->launch->kernel;
    snprintf(w->why, sizeof w->why, "%s, block %u, thread %u: %s of %d bytes at %#llx: %s", k->name, w->block,
             w->warp * LANES + (unsigned)lane, what, size, (unsigned long long)address, k->text[pc]);
    return w->outcome = outcome;
}

static bool contains(worker *w, uint64_t address, int size) {
    if (address < w->low || address + (uint64_t)size > w->high) {
        if (!w->launch->memory(address, &w->low, &w->high, w->launch->context)) {
            w->low = w->high = 0;
            return false;
        }
    }
    return address >= w->low && address + (uint64_t)size <= w->high;
}

static shadow *shadow_at(worker *w, uint64_t address) {
    for (int i = 0; i < w->nshadows; i++) {
        if (address >= w->shadows[i].low && address < w->shadows[i].high) return &w->shadows[i];
    }
    w->shadows = grow(w->shadows, w->nshadows, sizeof *w->shadows);
    shadow *const s = &w->shadows[w->nshadows++];
    s->low = w->low;
    s->high = w->high;
    s->writer = calloc(s->high - s->low, sizeof *s->writer);
    s->reader = calloc(s->high - s->low, sizeof *s->reader);
    return s;
}

static bool races(worker *w, int lane, uint64_t address, int size, bool write) {
    uint32_t const me = w->block * w->launch->threads + w->warp * LANES + (uint32_t)lane + 1;
    const shadow *const s = shadow_at(w, address);
    for (uint64_t at = address - s->low; at < address - s->low + (uint64_t)size; at++) {
        if (s->writer[at] && s->writer[at] != me) return true;
        if (write) {
            if (s->reader[at] && s->reader[at] != me) return true;
            s->writer[at] = me;
        } else {
            s->reader[at] = s->reader[at] && s->reader[at] != me ? ~0u : me;
        }
    }
    return false;
}

static uint64_t get(const char *row, bool wide, int lane) {
    return wide ? ((const uint64_t *)row)[lane] : ((const uint32_t *)row)[lane];
}

static void put(char *row, bool wide, int lane, uint64_t value) {
    if (wide) {
        ((uint64_t *)row)[lane] = value;
    } else {
        ((uint32_t *)row)[lane] = (uint32_t)value;
    }
}

#define EACH(mask, ...)                                                                                                        \
    if ((mask) == ~0u) {                                                                                                       \
        _Pragma("GCC ivdep") for (int l = 0; l < LANES; l++) {                                                                 \
            __VA_ARGS__;                                                                                                       \
        }                                                                                                                      \
    } else {                                                                                                                   \
        for (int l = 0; l < LANES; l++) {                                                                                      \
            if ((mask) >> l & 1) {                                                                                             \
                __VA_ARGS__;                                                                                                   \
            }                                                                                                                  \
        }                                                                                                                      \
    }

static ptx_outcome access(worker *w, const instruction *i, int pc, uint32_t mask, char *rows) {
    const uint64_t *const base = (const uint64_t *)(rows + i->row[4]);
    int const bytes = i->size * i->vector;
    bool const write = i->operation == OP_STORE;
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        uint64_t const address = base[l] + (uint64_t)i->offset;
        if (address % (uint64_t)bytes) return fail(w, PTX_MISALIGNED, pc, l, "a misaligned access", address, bytes);
        if (!contains(w, address, bytes)) return fail(w, PTX_OUT_OF_BOUNDS, pc, l, "an access out of bounds", address, bytes);
        if (w->launch->careful && races(w, l, address, bytes, write)) {
            return fail(w, PTX_RACE, pc, l, "a race", address, bytes);
        }
        char *const at = (char *)(uintptr_t)address;
        for (int k = 0; k < i->vector; k++) {
            bool const wide = i->wide >> k & 1;
            uint64_t value = 0;
            if (write) {
                value = get(rows + i->row[k], wide, l);
                memcpy(at + k * i->size, &value, i->size);
            } else {
                memcpy(&value, at + k * i->size, i->size);
                put(rows + i->row[k], wide, l, value);
            }
        }
    }
    return PTX_DONE;
}

/* The usual access: 16 contiguous bytes for each of 32 lanes. */
static bool access_dense(worker *w, const instruction *i, uint32_t mask, char *rows) {
    const uint64_t *const base = (const uint64_t *)(rows + i->row[4]);
    if (mask != ~0u || i->vector != 4 || i->size != 4 || w->launch->careful) return false;
    uint64_t strays = 0;
    for (uint64_t l = 0; l < LANES; l++) strays |= base[l] ^ (base[0] + 16 * l);
    uint64_t const first = base[0] + (uint64_t)i->offset;
    if (strays || first % 16 || !contains(w, first, 16 * LANES)) return false;
    uint32_t *const memory = (uint32_t *)(uintptr_t)first;
    for (int k = 0; k < 4; k++) {
        uint32_t *const row = (uint32_t *)(rows + i->row[k]);
        if (i->operation == OP_LOAD) {
            for (int l = 0; l < LANES; l++) row[l] = memory[4 * l + k];
        } else {
            for (int l = 0; l < LANES; l++) memory[4 * l + k] = row[l];
        }
    }
    return true;
}

static ptx_outcome load_param(worker *w, const instruction *i, int pc, uint32_t mask, char *rows) {
    const uint64_t *const base = (const uint64_t *)(rows + i->row[4]);
    bool const wide = i->wide & 1;
    for (int l = 0; l < LANES; l++) {
        if (!(mask >> l & 1)) continue;
        uint64_t const at = base[l] + (uint64_t)i->offset;
        if (at % i->size) return fail(w, PTX_MISALIGNED, pc, l, "a misaligned parameter", at, i->size);
        if (at + i->size > w->launch->kernel->params_size)
            return fail(w, PTX_OUT_OF_BOUNDS, pc, l, "no parameter", at, i->size);
        uint64_t value = 0;
        memcpy(&value, (const char *)w->launch->params + at, i->size);
        put(rows + i->row[0], wide, l, value);
    }
    return PTX_DONE;
}

static uint32_t lowest(const uint32_t *pcs, uint32_t alive, uint32_t *mask, uint32_t *next) {
    uint32_t pc = ~0u;
    for (int l = 0; l < LANES; l++) {
        if (alive >> l & 1 && pcs[l] < pc) pc = pcs[l];
    }
    *mask = 0;
    *next = ~0u;
    for (int l = 0; l < LANES; l++) {
        if (!(alive >> l & 1)) continue;
        if (pcs[l] == pc) {
            *mask |= 1u << l;
        } else if (pcs[l] < *next) {
            *next = pcs[l];
        }
    }
    return pc;
}

static ptx_outcome run_warp(worker *w, char *rows, uint32_t alive) {
    const ptx_kernel *const kernel = w->launch->kernel;
    float nan32;
    double nan64;
    memcpy(&nan32, &w->launch->nan32, sizeof nan32);
    memcpy(&nan64, &w->launch->nan64, sizeof nan64);
    uint32_t pcs[LANES], pc = 0, mask = alive, next = ~0u; /* next: the lowest pc of the lanes that wait */
    uint64_t steps = 0;
    while (alive) {
        if (pc >= next) {
            for (int l = 0; l < LANES; l++) {
                if (mask >> l & 1) pcs[l] = pc;
            }
            pc = lowest(pcs, alive, &mask, &next);
        }
        const instruction *const i = &kernel->code[pc];
        uint32_t on = mask;
        if (i->guard >= 0) {
            const uint32_t *const guard = (const uint32_t *)(rows + i->guard);
            uint32_t set = 0;
            for (int l = 0; l < LANES; l++) set |= (guard[l] & 1) << l;
            on &= i->negated ? ~set : set;
        }
        switch (i->operation) {
#define RUN(name, d, a, b, c, ...)                                                                                             \
    case OP_##name: {                                                                                                          \
        char *const to = rows + i->row[0];                                                                                     \
        const char *const from_x = rows + i->row[1], *const from_y = rows + i->row[2], *const from_z = rows + i->row[3];       \
        EACH(on, ({                                                                                                            \
                 __auto_type const x = READ_##a(from_x, l);                                                                    \
                 __auto_type const y = READ_##b(from_y, l);                                                                    \
                 __auto_type const z = READ_##c(from_z, l);                                                                    \
                 (void)y, (void)z;                                                                                             \
                 WRITE_##d(to, l, (__VA_ARGS__));                                                                              \
             }))(void) from_y,                                                                                                 \
            (void)from_z;                                                                                                      \
        break;                                                                                                                 \
    }
            UNITS(RUN)
            case OP_BFI:
                EACH(on, {
                    ((uint32_t *)(rows + i->row[0]))[l] =
                        bit_insert(READ_u32(rows + i->row[1], l), READ_u32(rows + i->row[2], l), READ_u32(rows + i->row[3], l),
                                   READ_u32(rows + i->row[4], l));
                })
                break;
            case OP_PACK:
                EACH(on, {
                    if (i->size == 8) {
                        WRITE_u64(rows + i->row[0], l,
                                  READ_u32(rows + i->row[1], l) | (uint64_t)READ_u32(rows + i->row[2], l) << 32);
                    } else {
                        WRITE_u32(rows + i->row[0], l,
                                  READ_u16(rows + i->row[1], l) | (uint32_t)READ_u16(rows + i->row[2], l) << 16);
                    }
                })
                break;
            case OP_UNPACK:
                EACH(on, {
                    uint64_t const whole = i->size == 8 ? READ_u64(rows + i->row[2], l) : READ_u32(rows + i->row[2], l);
                    if (i->size == 8) {
                        WRITE_u32(rows + i->row[0], l, whole);
                        WRITE_u32(rows + i->row[1], l, whole >> 32);
                    } else {
                        WRITE_u16(rows + i->row[0], l, whole);
                        WRITE_u16(rows + i->row[1], l, whole >> 16);
                    }
                })
                break;
            case OP_LOAD_PARAM:
                if (load_param(w, i, (int)pc, on, rows) != PTX_DONE) return w->outcome;
                break;
            case OP_LOAD:
            case OP_STORE:
                if (!access_dense(w, i, on, rows) && access(w, i, (int)pc, on, rows) != PTX_DONE) return w->outcome;
                break;
            case OP_RETURN:
                alive &= ~on;
                mask &= ~on;
                if (mask == 0) {
                    if (alive) pc = lowest(pcs, alive, &mask, &next);
                    continue;
                }
                break;
            case OP_BRANCH:
                if (++steps > MAX_BRANCHES) return fail(w, PTX_STUCK, (int)pc, 0, "a loop without end", 0, 0);
                if (on == mask) {
                    pc = (uint32_t)i->target;
                    continue;
                }
                if (on) {
                    for (int l = 0; l < LANES; l++) {
                        if (mask >> l & 1) pcs[l] = on >> l & 1 ? (uint32_t)i->target : pc + 1;
                    }
                    pc = lowest(pcs, alive, &mask, &next);
                    continue;
                }
                break;
        }
        pc++;
    }
    return PTX_DONE;
}

static void fill(char *row, uint64_t value, width w) {
    for (int l = 0; l < LANES; l++) put(row, w == B64, l, value);
}

static void *work(void *argument) {
    worker *const w = argument;
    const ptx_launch *const launch = w->launch;
    const ptx_kernel *const k = launch->kernel;
    char *const rows = aligned_alloc(64, (k->bytes + 63) / 64 * 64);
    fill(rows + ROW_ZERO, 0, B32);
    fill(rows + ROW_NCTAID, launch->blocks, B32);
    fill(rows + ROW_NTID, launch->threads, B32);
    for (int i = 0; i < k->nconstants; i++) fill(rows + k->constants[i].row, k->constants[i].value, k->constants[i].width);
    for (w->block = w->first; w->block < w->last && w->outcome == PTX_DONE; w->block++) {
        fill(rows + ROW_CTAID, w->block, B32);
        for (w->warp = 0; w->warp * LANES < launch->threads && w->outcome == PTX_DONE; w->warp++) {
            for (int i = 0; i < k->nexposed; i++) fill(rows + k->exposed[i].row, launch->poison, k->exposed[i].width);
            for (uint32_t l = 0; l < LANES; l++) ((uint32_t *)(rows + ROW_TID))[l] = w->warp * LANES + l;
            unsigned const left = launch->threads - w->warp * LANES;
            run_warp(w, rows, left >= LANES ? ~0u : (1u << left) - 1);
        }
    }
    free(rows);
    return NULL;
}

ptx_outcome ptx_run(const ptx_launch *launch, char *why, size_t size) {
    enum { MANY = 64 };
    bool const both = !launch->careful && launch->blocks - launch->first >= MANY;
    unsigned const half = both ? launch->first + (launch->blocks - launch->first) / 2 : launch->blocks;
    worker one = {.launch = launch, .first = launch->first, .last = half},
           two = {.launch = launch, .first = half, .last = launch->blocks};
    pthread_t thread;
    if (both && pthread_create(&thread, NULL, work, &two) != 0) return PTX_STUCK;
    work(&one);
    if (both) pthread_join(thread, NULL);
    for (int i = 0; i < one.nshadows; i++) {
        free(one.shadows[i].writer);
        free(one.shadows[i].reader);
    }
    free(one.shadows);
    const worker *const bad = one.outcome != PTX_DONE ? &one : &two;
    if (bad->outcome != PTX_DONE) snprintf(why, size, "%s", bad->why);
    return bad->outcome;
}
