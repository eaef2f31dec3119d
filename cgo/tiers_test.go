package cgo

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// The features that Linux's kernel lists for this processor, which rsqrt's dispatch does not ask.
func listedFeatures() []string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, features, found := strings.Cut(line, ":"); found && slices.Contains([]string{"flags", "Features"}, strings.TrimSpace(name)) {
			return strings.Fields(features)
		}
	}
	return nil
}

// RunningTiers yields all tiers that this machine runs, by names that tell them apart.
// GORSQRT_REQUIRE_TIERS names those that run here although the kernel does not list what they need,
// since a processor is emulated.
func RunningTiers(yield func(string, Tier) bool) {
	listed, required := listedFeatures(), strings.Fields(os.Getenv("GORSQRT_REQUIRE_TIERS"))
	all := Tiers()
	for i, tier := range all {
		name, needs := tier.Name(), tier.Needs()
		runs := slices.Contains(required, name)
		if !slices.ContainsFunc(needs, func(feature string) bool { return !slices.Contains(listed, feature) }) {
			runs = true
		}
		if slices.ContainsFunc(all[i+1:], func(other Tier) bool { return other.Name() == name }) {
			name += " with " + needs[len(needs)-1]
		}
		if runs && !yield(name, tier) {
			return
		}
	}
}

// runningWays yields the same, first as on AMD's processors and AVX-512 once more as on Intel's,
// for tests of what depends on that.
func runningWays(yield func(string, Tier) bool) {
	defer SetIntel(IsIntel())
	for _, intel := range []bool{false, true} {
		SetIntel(intel)
		for name, tier := range RunningTiers {
			if intel && name != "avx512" {
				continue
			}
			if !yield(fmt.Sprintf("%s, Intel %t", name, intel), tier) {
				return
			}
		}
	}
}

// scalar is the tier that the others are compared with, and have what they lack from.
func scalar() Tier {
	all := Tiers()
	return all[len(all)-1]
}

// TestTiers holds the table of tiers to what the dispatch takes for granted.
func TestTiers(t *testing.T) {
	if last := scalar(); last.Name() != "scalar" || len(last.Needs()) > 0 {
		t.Errorf("the last tier is %s and needs %v", last.Name(), last.Needs())
	}
	for _, tier := range Tiers() {
		if tier.Name() == "" || tier.Mover() == 0 {
			t.Errorf("tier %q moves nothing", tier.Name())
		}
		for dtype := range Computed {
			if tier.Kernels(dtype).Plain() == 0 {
				t.Errorf("tier %s has no kernel of dtype %d", tier.Name(), dtype)
			}
		}
		for from := range DTypes {
			for to := range Computed {
				if (tier.Cast(from, to) == 0) != (scalar().Cast(from, to) == 0) {
					t.Errorf("tier %s casts dtype %d to %d by other steps than scalar", tier.Name(), from, to)
				}
			}
		}
	}
}
