package cuda

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"github.com/gorsqrt/gorsqrt/rsqrt"
)

// statements of a kernel's PTX, without comments, predicates and labels.
func statements(text string) (all []string) {
	text = regexp.MustCompile(`//.*`).ReplaceAllString(text, "")
	for _, s := range regexp.MustCompile(`[;{}]\s|:\s`).Split(text, -1) {
		if s = strings.TrimSpace(regexp.MustCompile(`^\s*@!?%p\d+\s`).ReplaceAllString(s, "")); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// What the PTX may not hold, since its bits or its effects are left open.
var forbidden = map[string]*regexp.Regexp{
	"an approximation":            regexp.MustCompile(`^\S*\.(approx|full)\b`),
	"a flush of subnormals":       regexp.MustCompile(`^\S*\.ftz\b`),
	"another rounding":            regexp.MustCompile(`^\S*\.(rz|rm|rp|rna|sat)\b`),
	"arithmetic that may fuse":    regexp.MustCompile(`^(add|sub|mul|mad|fma)\.(f16|f32|f64|bf16)`),
	"a division without rounding": regexp.MustCompile(`^(div|rcp|sqrt|rsqrt)\.(f32|f64)`),
	"a cast without rounding":     regexp.MustCompile(`^cvt\.(f16\.|f32\.(f64|[su])|f64\.[su])`),
	"a cached load":               regexp.MustCompile(`^ld\S*\.(nc|ca|cg|cs|lu|cv)\b`),
	"a call":                      regexp.MustCompile(`^call`),
	"other memory":                regexp.MustCompile(`^\S*\.(local|shared|const)\b`),
	"the min or max of floats":    regexp.MustCompile(`^(min|max)\.f`),
}

func TestPTX(t *testing.T) {
	for dtype, token := range tokens {
		file, err := ptx.ReadFile("ptx/" + token + ".ptx")
		if err != nil {
			t.Fatal(err)
		}
		text := string(file)
		for _, wanted := range []string{".version 4.2\n", ".target sm_52\n", fmt.Sprintf("_items_param_0[%d]", unsafe.Sizeof(items{}))} {
			if !strings.Contains(text, wanted) {
				t.Errorf("%s: no %q", token, wanted)
			}
		}
		if n := strings.Count(text, fmt.Sprintf("\n.maxntid %d, 1, 1", threads)); n != 3 {
			t.Errorf("%s: %d kernels of %d threads, want 3", token, n, threads)
		}
		for _, statement := range statements(text) {
			for what, pattern := range forbidden {
				if pattern.MatchString(statement) {
					t.Errorf("%s: %s: %s", token, what, statement)
				}
			}
		}
		// The flat kernel has all its loads in flight before it stores, and loads nothing twice:
		// the loop has one more, and the items after the last vector one of each part.
		flat, _, _ := strings.Cut(regexp.MustCompile(`\s*//.*`).ReplaceAllString(text, ""), "_cuda_items")
		if ahead := fmt.Sprintf(`(ld\.global\.v4\.u32 [^\n]*\n\s*){%d}`, flight); !regexp.MustCompile(ahead).MatchString(flat) {
			t.Errorf("%s: no %d loads in a row", token, flight)
		}
		after := 0
		if size := rsqrt.DType(dtype).Size(); size < vector {
			after, _ = parts(rsqrt.DType(dtype))
		}
		if n := strings.Count(flat, "ld.global"); n != flight+1+after {
			t.Errorf("%s: %d loads, want %d", token, n, flight+1+after)
		}
	}
}

// The patterns find what they are there for.
func TestForbidden(t *testing.T) {
	for statement, what := range map[string]string{
		"sqrt.approx.f32 %f1, %f2":       "an approximation",
		"div.full.f32 %f1, %f2, %f3":     "an approximation",
		"rcp.rn.ftz.f32 %f1, %f2":        "a flush of subnormals",
		"add.rz.f32 %f1, %f2, %f3":       "another rounding",
		"mul.f64 %fd1, %fd2, %fd3":       "arithmetic that may fuse",
		"fma.f32 %f1, %f2, %f3, %f4":     "arithmetic that may fuse",
		"sqrt.f32 %f1, %f2":              "a division without rounding",
		"cvt.f32.f64 %f1, %fd2":          "a cast without rounding",
		"ld.global.nc.u32 %r1, [%rd1]":   "a cached load",
		"call.uni f":                     "a call",
		"st.local.u32 [%rd1], %r1":       "other memory",
		"max.f32 %f1, %f2, %f3":          "the min or max of floats",
		"ld.global.u32 %r1, [%rd1]":      "",
		"cvt.f64.f32 %fd1, %f2":          "",
		"mul.rn.f64 %fd1, %fd2, %fd3":    "",
		"cvt.rn.f32.s64 %f1, %rd2":       "",
		"mul.lo.s32 %r1, %r2, %r3":       "",
		"cvt.rn.f16.f32 %rs1, %f1":       "",
		"ld.param.u64 %rd1, [p_param_0]": "",
	} {
		for name, pattern := range forbidden {
			if pattern.MatchString(statement) != (name == what) {
				t.Errorf("%q: %s", statement, name)
			}
		}
	}
}
