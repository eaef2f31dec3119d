package rsqrt

import (
	"slices"
	"testing"
)

func TestPreserve(t *testing.T) {
	for _, c := range []struct{ shape, like, want []int }{
		{[]int{}, []int{}, []int{}},
		{[]int{2, 3}, []int{24, 8}, []int{24, 8}},
		{[]int{2, 3}, []int{8, 16}, []int{8, 16}},                           // dense: kept
		{[]int{2, 3}, []int{8, 32}, []int{8, 16}},                           // gaps: packed in the same order
		{[]int{4}, []int{-8}, []int{8}},                                     // reversed
		{[]int{0, 3}, []int{8, 0}, []int{24, 8}},                            // empty
		{[]int{2, 3, 4, 5}, []int{480, 8, 120, 24}, []int{480, 8, 120, 24}}, // channels_last
		{[]int{3, 1, 4}, []int{8, 999, 48}, []int{8, 96, 24}},               // the odd stride counts as the largest
		{[]int{3, 4}, []int{0, 8}, []int{32, 8}},                            // expanded
	} {
		got := make([]int, len(c.shape))
		preserve(got, c.shape, c.like, 8, 8)
		if !slices.Equal(got, c.want) {
			t.Errorf("preserve(%v, %v) = %v, want %v", c.shape, c.like, got, c.want)
		}
	}
}

func TestReach(t *testing.T) {
	for _, c := range []struct {
		shape, strides []int
		low, high      int
	}{
		{nil, nil, 0, 8},
		{[]int{3}, []int{8}, 0, 24},
		{[]int{3}, []int{-8}, -16, 8},
		{[]int{3, 2}, []int{-8, 100}, -16, 108},
		{[]int{5, 1}, []int{0, 999}, 0, 8},
	} {
		if low, high := Reach(c.shape, c.strides, 8); low != c.low || high != c.high {
			t.Errorf("Reach(%v, %v) = %d, %d, want %d, %d", c.shape, c.strides, low, high, c.low, c.high)
		}
	}
}
