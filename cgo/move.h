/* Moving items between memory, where they lie as the strides say, and tiles, where they are contiguous. All distances are in bytes
 * and may be negative or zero; nothing need be aligned; the two sides share no byte. Items have 1, 2, 4, 8 or 16 bytes. */
#ifndef GORSQRT_MOVE_H
#define GORSQRT_MOVE_H

#include "kernels.h"

typedef struct {
    /* Rows of k items, from_row and to_row from a row to the next, from_item and to_item from an item to the next. */
    void (*rows)(char *to, int64_t to_row, int64_t to_item, const char *from, int64_t from_row, int64_t from_item, int64_t rows,
                 int64_t k, int64_t size);
    /* to[row][column] = from[column][row]: a row's items are next to each other in `to`, a column's in `from`. */
    void (*transposed)(char *to, int64_t to_row, const char *from, int64_t from_column, int64_t rows, int64_t columns,
                       int64_t size);
} gorsqrt_mover;

/* The same in every tier, by its vectors. */
extern const gorsqrt_mover gorsqrt_movers[GORSQRT_TIERS];

#endif
