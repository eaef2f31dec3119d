package rsqrt

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/gorsqrt/gorsqrt/cgo"
	"golang.org/x/sys/cpu"
)

var hasAVX512 = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL

// The instruction sets, best first. A tier's kernels are in cgo/<name>.c, and `runs` says whether
// this machine has it. Of two lines with the same name the first that runs counts.
var tiers = []struct {
	name string
	id   int
	runs bool
}{
	{"avx512", cgo.AVX512VBMI, hasAVX512 && cpu.X86.HasAVX512VBMI && cpu.X86.HasAVX512VBMI2},
	{"avx512", cgo.AVX512, hasAVX512},
	{"avx2", cgo.AVX2, cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C},
	{"neon", cgo.NEON, cpu.ARM64.HasASIMD},
	{"scalar", cgo.Scalar, true},
}

// A tier in use: its name, its number in cgo and its kernels by dtype.
type tier struct {
	name    string
	id      int
	kernels [cgo.Computed]cgo.Kernel
}

// The tier that every call uses: the best one, unless SetTier names another.
var active atomic.Pointer[tier]

func init() { must(SetTier(Tiers()[0])) }

// Tiers lists the instruction sets that this machine runs, best first.
func Tiers() (names []string) {
	for _, t := range tiers {
		if t.runs && !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
	}
	return names
}

// Tier is the instruction set in use.
func Tier() string { return active.Load().name }

// SetTier chooses the instruction set of all later calls by its name. The bits of results don't
// depend on it.
func SetTier(name string) error {
	for _, t := range tiers {
		if t.runs && t.name == name {
			active.Store(&tier{name, t.id, cgo.Kernels(t.id)})
			return nil
		}
	}
	return fmt.Errorf("instruction set '%s' is not one that this machine runs: %s", name, strings.Join(Tiers(), ", "))
}

// Kernels are the C functions (dst, src, n) in use, by dtype. Callers in C use them if there is
// nothing to decide.
func Kernels() [cgo.Computed]cgo.Kernel { return active.Load().kernels }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
