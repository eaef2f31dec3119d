package cgo_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/rsqrt"
)

// TestEveryTierOfTheDispatchIsTested checks that these tests run the dispatch's tiers. The tests
// read the processor's features from Linux's list, and the dispatch asks the processor.
func TestEveryTierOfTheDispatchIsTested(t *testing.T) {
	var tested []string
	for name := range cgo.RunningTiers {
		if name, _, _ = strings.Cut(name, " "); !slices.Contains(tested, name) {
			tested = append(tested, name)
		}
	}
	if offered := rsqrt.Tiers(); !slices.Equal(tested, offered) {
		t.Errorf("the tests run %v, and the dispatch offers %v", tested, offered)
	}
}
