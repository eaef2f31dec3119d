/* Moves items between strided memory and tiles, in which items are contiguous: the functions of
 * gorsqrt_mover (kernels.h). All distances are in bytes and may be negative or zero. Nothing need
 * be aligned. The two sides share no byte. Items have 1, 2, 4, 8 or 16 bytes.
 *
 * A tier that moves items by its own vectors includes this file and makes its two functions with
 * MOVER; TIER names the functions' attributes. The source is the same in every tier, except the
 * squares that are transposed at once. */
#ifndef GORSQRT_MOVE_H
#define GORSQRT_MOVE_H

#include "kernels.h"

#include <string.h>

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif

enum {
    LARGEST = 16,     /* bytes of an item */
    LINE = 64,        /* bytes of a cache line */
    LINES_AHEAD = 64, /* lines that are prefetched into the second-level cache if the processor can't predict them */
};

typedef uint8_t u8x64 __attribute__((vector_size(64)));
typedef uint8_t u8x32 __attribute__((vector_size(32)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

/* Copies rows of at least sizeof(type) bytes by loads and stores of this type. The last store of a
 * row overlaps the one before. Rows with gaps between them are prefetched. */
#define COPY_ROWS(type)                                                                                                        \
    for (int64_t r = 0; r < rows; r++) {                                                                                       \
        char *restrict const out = to + r * to_row;                                                                            \
        const char *restrict const in = from + r * from_row;                                                                   \
        int64_t const end = bytes - (int64_t)sizeof(type);                                                                     \
        type x;                                                                                                                \
        if (from_row != bytes) {                                                                                               \
            for (int64_t i = 0; i < bytes; i += LINE) __builtin_prefetch(in + ahead * from_row + i, 0, 2);                     \
        }                                                                                                                      \
        for (int64_t i = 0; i < end; i += (int64_t)sizeof x) {                                                                 \
            memcpy(&x, in + i, sizeof x);                                                                                      \
            memcpy(out + i, &x, sizeof x);                                                                                     \
        }                                                                                                                      \
        memcpy(&x, in + end, sizeof x);                                                                                        \
        memcpy(out + end, &x, sizeof x);                                                                                       \
    }

INLINE void copy_rows(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_row, int64_t rows,
                      int64_t bytes, int64_t vector) {
    int64_t const ahead = LINES_AHEAD * LINE / (bytes + LINE) + 1;
    if (vector >= 64 && bytes >= 64) {
        COPY_ROWS(u8x64)
    } else if (vector >= 32 && bytes >= 32) {
        COPY_ROWS(u8x32)
    } else if (bytes >= 16) {
        COPY_ROWS(u8x16)
    } else if (bytes >= 8) {
        COPY_ROWS(uint64_t)
    } else if (bytes >= 4) {
        COPY_ROWS(uint32_t)
    } else if (bytes >= 2) {
        COPY_ROWS(uint16_t)
    } else {
        COPY_ROWS(uint8_t)
    }
}

/* Fills each row with one item of 16 bytes, by stores of this type. The last store of a row
 * overlaps the one before. The compiler would store item by item. */
#define REPEAT_ROWS(type)                                                                                                      \
    for (int64_t r = 0; r < rows; r++) {                                                                                       \
        char *const out = to + r * to_row;                                                                                     \
        int64_t const end = k * LARGEST - (int64_t)sizeof(type);                                                               \
        type x;                                                                                                                \
        for (size_t i = 0; i < sizeof x; i += LARGEST) memcpy((char *)&x + i, from + r * from_row, LARGEST);                   \
        for (int64_t i = 0; i < end; i += (int64_t)sizeof x) memcpy(out + i, &x, sizeof x);                                    \
        memcpy(out + end, &x, sizeof x);                                                                                       \
    }

INLINE void repeat_rows(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_row, int64_t rows, int64_t k,
                        int64_t vector) {
    if (vector >= 64 && k >= 4) {
        REPEAT_ROWS(u8x64)
    } else if (vector >= 32 && k >= 2) {
        REPEAT_ROWS(u8x32)
    } else {
        REPEAT_ROWS(u8x16)
    }
}

/* Callers pass constant sizes and strides, so that the compiler makes each memcpy one load and
 * store, or shuffles of vectors. */
INLINE void strided_rows(char *restrict to, int64_t to_row, int64_t to_item, const char *restrict from, int64_t from_row,
                         int64_t from_item, int64_t rows, int64_t k, size_t size) {
    for (int64_t r = 0; r < rows; r++) {
        char *restrict const out = to + r * to_row;
        const char *restrict const in = from + r * from_row;
#pragma GCC unroll 8
        for (int64_t i = 0; i < k; i++) memcpy(out + i * to_item, in + i * from_item, size);
    }
}

/* Each item is on its own cache line. The loop is not unrolled: then the processor has more lines
 * on their way at once. */
INLINE void far_rows(char *restrict to, int64_t to_row, const char *restrict from, int64_t from_row, int64_t from_item,
                     int64_t rows, int64_t k, size_t size) {
    for (int64_t r = 0; r < rows; r++) {
        char *restrict const out = to + r * to_row;
        const char *restrict const in = from + r * from_row;
#pragma GCC unroll 1
        for (int64_t i = 0; i < k; i++) memcpy(out + i * (int64_t)size, in + i * from_item, size);
    }
}

INLINE void sized_rows(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item,
                       int64_t rows, int64_t k, int64_t size, int64_t vector) {
    size_t const bytes = (size_t)size;
    if (to_item == size) {
        if (from_item == 0 && size == LARGEST) {
            repeat_rows(to, to_row, from, from_row, rows, k, vector);
        } else if (from_item == 0) {
            strided_rows(to, to_row, size, from, from_row, 0, rows, k, bytes);
        } else if (from_item == -size) {
            strided_rows(to, to_row, size, from, from_row, -size, rows, k, bytes);
        } else if (from_item == 2 * size) {
            strided_rows(to, to_row, size, from, from_row, 2 * size, rows, k, bytes);
        } else if (from_item == 3 * size) {
            strided_rows(to, to_row, size, from, from_row, 3 * size, rows, k, bytes);
        } else if (from_item >= LINE || from_item <= -LINE) {
            far_rows(to, to_row, from, from_row, from_item, rows, k, bytes);
        } else {
            strided_rows(to, to_row, size, from, from_row, from_item, rows, k, bytes);
        }
    } else if (from_item == size) {
        strided_rows(to, to_row, to_item, from, from_row, size, rows, k, bytes);
    } else {
        strided_rows(to, to_row, to_item, from, from_row, from_item, rows, k, bytes);
    }
}

INLINE void move_rows(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item,
                      int64_t rows, int64_t k, int64_t size, int64_t vector) {
    if (to_item == size && from_item == size) {
        copy_rows(to, to_row, from, from_row, rows, k * size, vector);
        return;
    }
    switch (size) {
        case 1: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 1, vector); break;
        case 2: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 2, vector); break;
        case 4: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 4, vector); break;
        case 8: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, 8, vector); break;
        default: sized_rows(to, to_row, to_item, from, from_row, from_item, rows, k, LARGEST, vector);
    }
}

/* Transposes a few rows of a few columns. A vector's 16-byte lanes are loaded from columns as far
 * apart as a lane has items, so that all shuffles stay within lanes. */
typedef void square(char *to, int64_t to_row, const char *from, int64_t from_column);

/* Selects items of two vectors by number. gcc before 12 has its own builtin for it. */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (__typeof__(a)){__VA_ARGS__})
#endif

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

INLINE void square_u32x4(char *to, int64_t to_row, const char *from, int64_t from_column) {
    u32x4 a, b, c, d;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + from_column, sizeof b);
    memcpy(&c, from + 2 * from_column, sizeof c);
    memcpy(&d, from + 3 * from_column, sizeof d);
    u32x4 const ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
    u32x4 const cd_low = SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
    a = SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
    b = SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
    c = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
    d = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
    memcpy(to, &a, sizeof a);
    memcpy(to + to_row, &b, sizeof b);
    memcpy(to + 2 * to_row, &c, sizeof c);
    memcpy(to + 3 * to_row, &d, sizeof d);
}

INLINE void square_u64x2(char *to, int64_t to_row, const char *from, int64_t from_column) {
    u64x2 a, b;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + from_column, sizeof b);
    u64x2 const low = SHUFFLE(a, b, 0, 2), high = SHUFFLE(a, b, 1, 3);
    memcpy(to, &low, sizeof low);
    memcpy(to + to_row, &high, sizeof high);
}

/* Transposes by squares of wide_rows and wide_columns, then by squares of one lane's items, and the
 * rest item by item. */
INLINE void transposed(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows, int64_t columns,
                       int64_t size, square *wide, int64_t wide_rows, int64_t wide_columns, square *narrow) {
    int64_t const side = 16 / size, whole_rows = rows - rows % side, whole_columns = columns - columns % side;
    for (int64_t c = 0, cs; c < whole_columns; c += cs) {
        int64_t r = 0;
        cs = side;
        if (c + wide_columns <= columns) {
            cs = wide_columns;
            for (; r + wide_rows <= rows; r += wide_rows) {
                wide(to + r * to_row + c * size, to_row, from + c * from_column + r * size, from_column);
            }
        }
        for (; r < whole_rows; r += side) {
            for (int64_t i = c; i < c + cs; i += side) {
                narrow(to + r * to_row + i * size, to_row, from + i * from_column + r * size, from_column);
            }
        }
    }
    strided_rows(to + whole_columns * size, to_row, size, from + whole_columns * from_column, size, from_column, whole_rows,
                 columns - whole_columns, (size_t)size);
    strided_rows(to + whole_rows * to_row, to_row, size, from + whole_rows * size, size, from_column, rows - whole_rows,
                 columns, (size_t)size);
}

/* Makes a tier's mover from the bytes of its vectors, its squares of 4-byte items and their rows,
 * and its squares of 8-byte items. */
#define MOVER(tier, width, wide_u32, rows_u32, wide_u64)                                                                       \
    TIER static void rows_##tier(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row,                \
                                 int64_t from_item, int64_t rows, int64_t k, int64_t size) {                                   \
        move_rows(to, to_row, to_item, from, from_row, from_item, rows, k, size, width);                                       \
    }                                                                                                                          \
    TIER static void transposed_##tier(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows,          \
                                       int64_t columns, int64_t size) {                                                        \
        if (size == 4) {                                                                                                       \
            transposed(to, to_row, from, from_column, rows, columns, 4, wide_u32, rows_u32, width / 4, square_u32x4);          \
        } else if (size == 8) {                                                                                                \
            transposed(to, to_row, from, from_column, rows, columns, 8, wide_u64, 2, width / 8, square_u64x2);                 \
        } else {                                                                                                               \
            move_rows(to, size, to_row, from, from_column, size, columns, rows, size, width);                                  \
        }                                                                                                                      \
    }

#endif
