package rsqrt

import (
	"errors"
	"strings"
	"testing"
)

func TestSetDefaultDType(t *testing.T) {
	defer func(name string) { must(SetDefaultDType(name)) }(DefaultDType().String())
	for dtype := range DType(len(names)) {
		before := DefaultDType()
		err := SetDefaultDType(dtype.String())
		var refused *Error
		switch {
		case dtype.real() && (err != nil || DefaultDType() != dtype):
			t.Errorf("SetDefaultDType(%s): %v, and then %s", dtype, err, DefaultDType())
		case !dtype.real() && (!errors.As(err, &refused) || refused.Kind != TypeError || DefaultDType() != before):
			t.Errorf("SetDefaultDType(%s): %v, and then %s", dtype, err, DefaultDType())
		}
	}
	if err := SetDefaultDType("float8"); err == nil || !strings.HasPrefix(err.Error(), "rsqrt: invalid dtype object") {
		t.Errorf("SetDefaultDType(float8): %v", err)
	}
}

// TestCasts: every dtype but complex ones goes to every real one, all to complex ones, and none to
// an integer.
func TestCasts(t *testing.T) {
	for _, tier := range tiers {
		for from := range DType(len(names)) {
			for to := range DType(len(names)) {
				steps, possible := casts(nil, tier.Tier, from, to)
				want := from == to || to.complex() || to.real() && !from.complex()
				if possible != want || want && (len(steps) == 0) != (from == to) || len(steps) > 3 {
					t.Errorf("%s: %s to %s in %d steps: %t, want %t", tier.name, from, to, len(steps), possible, want)
				}
			}
		}
	}
}

func TestSupported(t *testing.T) {
	if got := Supported(); !strings.HasPrefix(got, "float16, bfloat16, ") || !strings.HasSuffix(got, "uint32, int64 and uint64") {
		t.Errorf("Supported() = %s", got)
	}
}
