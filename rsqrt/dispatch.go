package rsqrt

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/gorsqrt/gorsqrt/cgo"
	"golang.org/x/sys/cpu"
)

// The processor's features by the names that Linux and cgo's tiers have for them.
var features = map[string]bool{
	"asimd":        cpu.ARM64.HasASIMD,
	"avx2":         cpu.X86.HasAVX2,
	"avx512_vbmi2": cpu.X86.HasAVX512VBMI2,
	"avx512bw":     cpu.X86.HasAVX512BW,
	"avx512dq":     cpu.X86.HasAVX512DQ,
	"avx512f":      cpu.X86.HasAVX512F,
	"avx512vbmi":   cpu.X86.HasAVX512VBMI,
	"avx512vl":     cpu.X86.HasAVX512VL,
	"f16c":         cpu.X86.HasF16C,
	"fma":          cpu.X86.HasFMA,
}

// A tier that this machine runs, with what calls look up.
type tier struct {
	cgo.Tier
	name    string
	mover   cgo.Mover
	kernels [cgo.Computed]cgo.Kernels
}

// The tiers that this machine runs, the best first. Of two with one name the first counts.
var tiers []*tier

// The tier that every call uses: the best one, unless SetTier names another.
var active atomic.Pointer[tier]

func init() {
	for _, t := range cgo.Tiers() {
		if runs(t) {
			found := &tier{Tier: t, name: t.Name(), mover: t.Mover()}
			for dtype := range found.kernels {
				found.kernels[dtype] = t.Kernels(dtype)
			}
			tiers = append(tiers, found)
		}
	}
	active.Store(tiers[0])
}

// runs says whether the processor has all that a tier needs.
func runs(t cgo.Tier) bool {
	for _, feature := range t.Needs() {
		has, known := features[feature]
		if !known {
			panic(fmt.Sprintf("rsqrt: tier %s needs %s, which the dispatch does not know", t.Name(), feature))
		}
		if !has {
			return false
		}
	}
	return true
}

// Tiers lists the instruction sets that this machine runs, best first.
func Tiers() (names []string) {
	for _, t := range tiers {
		if !slices.Contains(names, t.name) {
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
		if t.name == name {
			active.Store(t)
			return nil
		}
	}
	return fmt.Errorf("instruction set '%s' is not one that this machine runs: %s", name, strings.Join(Tiers(), ", "))
}

// Kernels are the C functions in use, by dtype, for callers in C that have nothing to decide.
func Kernels() [cgo.Computed]cgo.Kernels { return active.Load().kernels }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
