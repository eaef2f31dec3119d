package rsqrt

// preserve fills in the strides of a fresh result of this shape whose elements have `size` bytes,
// for an input with the strides `like`. It is torch's preserve_format (TensorIterator):
//
//   - contiguous or empty → C order
//   - channels_last → channels_last
//   - dense without overlap → the same strides
//   - everything else → the dimensions in the order of their strides, packed
//
// Negative strides, which torch lacks, count by their absolute value.
func preserve(strides, shape, like []int, likeSize, size int) {
	switch {
	case empty(shape) || packed(shape, like, likeSize, cOrder):
		pack(strides, shape, size, cOrder)
	case len(shape) == 4 && packed(shape, like, likeSize, channelsLast):
		pack(strides, shape, size, channelsLast)
	default:
		for d, stride := range preserveCast(strides, shape, like, likeSize) {
			strides[d] = stride / likeSize * size
		}
	}
}

// preserveCast is torch's preserve_format of a cast, which differs: dense without overlap → the
// same strides; everything else → the dimensions in the order of their strides, packed. It returns
// strides, for elements of the same size.
func preserveCast(strides, shape, like []int, size int) []int {
	if dense(shape, like, size) {
		for d := range shape {
			strides[d] = abs(like[d])
		}
		return strides
	}
	var buffer [maxNDim]int
	order := byStride(buffer[:len(shape)], shape, like)
	pack(strides, shape, size, func(i, ndim int) int { return order[i] })
	return strides
}

// An order of dimensions: the i-th from the inside.
type dimOrder func(i, ndim int) int

func cOrder(i, ndim int) int       { return ndim - 1 - i }
func channelsLast(i, ndim int) int { return [...]int{1, 3, 2, 0}[i] }

// pack lays the dimensions out in an order without gaps; a dimension of length 0 counts as one of
// length 1, as in torch.
func pack(strides, shape []int, size int, order dimOrder) {
	for i := range shape {
		d := order(i, len(shape))
		strides[d] = size
		size *= max(1, shape[d])
	}
}

// packed says whether an array is laid out in an order without gaps; dimensions of length 1 may
// have any stride.
func packed(shape, strides []int, size int, order dimOrder) bool {
	for i := range shape {
		d := order(i, len(shape))
		if shape[d] != 1 && abs(strides[d]) != size {
			return false
		}
		size *= shape[d]
	}
	return true
}

// dense says whether some order of the dimensions is without gaps and overlap.
func dense(shape, strides []int, size int) bool {
	var done [maxNDim]bool
	for range shape {
		next := -1
		for d := range shape {
			if !done[d] && shape[d] > 1 && abs(strides[d]) == size {
				next = d
			}
		}
		if next < 0 {
			break
		}
		done[next] = true
		size *= shape[next]
	}
	for d := range shape {
		if shape[d] > 1 && !done[d] {
			return false
		}
	}
	return true
}

// byStride sorts the dimensions from the smallest stride to the largest, as torch does: by an
// insertion sort from the last dimension. A stride of 0 compares with nothing; of two equal strides
// the smaller dimension is inside.
func byStride(order, shape, strides []int) []int {
	for i := range order {
		order[i] = len(order) - 1 - i
	}
	for i := 1; i < len(order); i++ {
		at := i
		for before := i - 1; before >= 0; before-- {
			a, b := abs(strides[order[before]]), abs(strides[order[at]])
			if a == 0 || b == 0 {
				continue
			}
			if a < b {
				break
			}
			if a > b || shape[order[before]] > shape[order[at]] {
				order[before], order[at] = order[at], order[before]
				at = before
			}
		}
	}
	return order
}

// Reach is the range of bytes that elements of these strides and this size lie in, counted from the
// first element: from the lowest byte to the one after the highest. There is at least one element.
func Reach(shape, strides []int, size int) (low, high int) {
	high = size
	for d, length := range shape {
		if far := strides[d] * (length - 1); far < 0 {
			low += far
		} else {
			high += far
		}
	}
	return low, high
}

func (a Array) dense() bool { return dense(a.Shape, a.Strides, a.DType.Size()) }

func empty(shape []int) bool { return count(shape) == 0 }

func count(shape []int) int {
	n := 1
	for _, length := range shape {
		n *= length
	}
	return n
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}
