package cgo

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// listedFeatures returns the processor's features as Linux lists them; rsqrt's dispatch does not
// use this list.
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
// GORSQRT_REQUIRE_TIERS names tiers that run although Linux does not list the features they need,
// because the processor is emulated.
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

// runningWays yields the same tiers in the variant for AMD's processors, and AVX-512 also in the
// variant for Intel's.
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

// scalar returns the tier with which the others are compared, and which completes them.
func scalar() Tier {
	all := Tiers()
	return all[len(all)-1]
}

// TestTiers checks the properties of the table of tiers that the dispatch relies on.
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
